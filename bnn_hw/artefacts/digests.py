# SPDX-License-Identifier: Apache-2.0
"""SHA-256, by which what was made is known again."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

__all__ = ["NAME_DIGITS", "file_digest", "folder_digests"]

NAME_DIGITS: Final = 8  # of a digest that is part of a name


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    path = Path(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_digests(folder: str | os.PathLike[str], left_out: Collection[str] = ()) -> dict[str, str]:
    """Returns the SHA-256 of every file by its path from the folder, but of what is `left_out` of the folder's own entries."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder): path for path in paths}
    return {name.as_posix(): file_digest(path) for name, path in names.items() if name.parts[0] not in left_out}
