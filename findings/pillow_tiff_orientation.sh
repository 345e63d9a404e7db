#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An uncompressed TIFF that is to be turned by a quarter (orientation 5 to 8), opened by its name, comes out of Pillow with other pixels
# than the same bytes opened as a file object, which is right: by name its rows are read with width and height exchanged, then turned.
# Seen with Pillow 13.0.0 and 4x2 pixels 0..7, orientation 6: by name (4, 2) [6, 4, 2, 0, 7, 5, 3, 1], as a file object (2, 4)
# [4, 0, 5, 1, 6, 2, 7, 3]. Orientations 1 to 4 are the same both ways.
# Photographs that are read by name have their pixels shuffled, without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pillow==13.0.0

cat > read.py << 'END'
import io
from pathlib import Path

from PIL import Image

ORIENTATION = 274
stored = Image.new("L", (4, 2))
stored.putdata(range(8))
differ = []
for orientation in range(1, 9):
    stored.save("picture.tif", tiffinfo={ORIENTATION: orientation})
    read = []
    for source in ("picture.tif", io.BytesIO(Path("picture.tif").read_bytes())):
        with Image.open(source) as image:
            pixels = list(image.tobytes())
            read.append((image.size, pixels))
    print(orientation, "by name:", *read[0], " as a file object:", *read[1])
    if read[0] != read[1]:
        differ.append(orientation)
assert differ == [5, 6, 7, 8], differ
END
venv/bin/python read.py
