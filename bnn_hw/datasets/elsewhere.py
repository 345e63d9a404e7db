# SPDX-License-Identifier: Apache-2.0
"""How to name the data in a folder without a publisher's files."""

from pathlib import Path

from bnn_hw.datasets.idx_names import idx_arrays
from bnn_hw.datasets.listing import entries
from bnn_hw.datasets.picture_folder import is_picture
from bnn_hw.errors import ArtefactError

__all__ = ["what_is_there"]


def what_is_there(folder: Path) -> str:
    """Returns how the data of one's own that a folder seems to hold are named, as a sentence; nothing where it holds none."""
    try:
        inside = [folder, *(entry for entry in entries(folder) if entry.is_dir())]
        pictures = any(is_picture(file) for place in inside for file in entries(place))
        if pictures and (folder.parent / "train").is_dir():
            return f"name {folder.parent} for the pictures in its train and test"
        for place in inside[1:]:
            if (place / "train").is_dir():
                return f"name {place} for the pictures in it"
        if pictures:
            return "put its pictures into folders train/<class> and test/<class> for data of your own"
        return "give --own to take its IDX files as data of your own" if len(idx_arrays(folder)) == 4 else ""
    except ArtefactError:  # of a folder that cannot be read
        return ""
