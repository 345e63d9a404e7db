# SPDX-License-Identifier: Apache-2.0
"""Folders that are there as a whole or not at all."""

import os
from pathlib import Path

__all__ = ["replace_folder"]


def replace_folder(folder: str | os.PathLike[str], partial: str | os.PathLike[str]) -> None:
    """Moves `partial`, which lies in a temporary folder, to `folder`; what was there goes away with the temporary folder."""
    folder = Path(folder)
    partial = Path(partial)
    replaced = partial.parent / "replaced"
    if folder.exists():
        folder.rename(replaced)
    try:
        partial.rename(folder)
    except BaseException:  # an interrupt too
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
