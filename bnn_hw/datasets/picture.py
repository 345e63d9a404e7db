# SPDX-License-Identifier: Apache-2.0
"""One picture file as pixels."""

from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError

__all__ = ["SUFFIXES", "read_picture"]

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})


def read_picture(path: Path) -> np.ndarray:
    """Returns a picture [rows, columns, channels] uint8, of one channel if it is grey, else of three."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut off at 255
                return (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)[..., None]
            grey = image.mode in ("1", "L", "LA")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise ArtefactError(f"{path} is no image: {error}") from error
    return pixels[..., None] if grey else pixels
