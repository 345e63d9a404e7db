# SPDX-License-Identifier: Apache-2.0
"""What a folder holds that is not a publisher's files, and how it is named."""

from pathlib import Path

from bnn_hw.datasets.idx_names import idx_arrays
from bnn_hw.datasets.picture_folder import is_picture

__all__ = ["what_is_there"]


def what_is_there(folder: Path) -> str:
    """Returns how the data of one's own that a folder seems to hold are named, as a sentence; nothing where it holds none."""
    if not folder.is_dir():
        return ""
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if (folder.parent / "train").is_dir() and _holds_pictures([folder, *inside]):
        return f"name {folder.parent} for the pictures in its train and test"
    for entry in inside:
        if (entry / "train").is_dir():
            return f"name {entry} for the pictures in it"
    if _holds_pictures([folder, *inside]):
        return "put its pictures into folders train/<class> and test/<class> for data of your own"
    return "give --own to take its IDX files as data of your own" if len(idx_arrays(folder)) == 4 else ""


def _holds_pictures(folders: list[Path]) -> bool:
    return any(is_picture(file) for folder in folders for file in folder.iterdir())
