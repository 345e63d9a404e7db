# SPDX-License-Identifier: Apache-2.0
"""The user's files in a folder."""

from pathlib import Path
from typing import Final

from bnn_hw.errors import ArtefactError

__all__ = ["entries"]

_SYSTEM_FILES: Final = ("__macosx", "thumbs.db", "desktop.ini")  # of macOS and Windows


def entries(folder: Path) -> list[Path]:
    """Returns the entries of a folder, sorted by name, without hidden entries and those that systems create themselves.

    Raises `ArtefactError` for a folder that cannot be read.
    """
    try:
        every = sorted(folder.iterdir())
    except OSError as error:
        raise ArtefactError(f"{folder} cannot be read: {error}; make it readable, or name another one") from error
    return [entry for entry in every if not entry.name.startswith(".") and entry.name.lower() not in _SYSTEM_FILES]
