# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: a folder of pictures, arrays in an .npz file, or a folder of IDX files."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split
from bnn_hw.datasets.elsewhere import what_is_there
from bnn_hw.datasets.idx_names import idx_arrays
from bnn_hw.datasets.labelled_arrays import label_range, labelled_splits, read_idx_folder, read_npz
from bnn_hw.datasets.picture_folder import class_folders, read_picture_folder
from bnn_hw.errors import ArtefactError

__all__ = ["dataset_name", "is_own_dataset", "load_own_dataset"]

_MAX_CLASSES: Final = 256
_SHOWN_CLASSES: Final = 8
_OFFICIAL_NAMES: Final = ("mnist", "cifar10", "svhn")
_NAME_LENGTH: Final = 64


def dataset_name(path: str | os.PathLike[str]) -> str:
    """Returns the name of the data set of one's own in a file or folder, [a-z][a-z0-9_-]{0,63} as a network's is.

    It is made of the last part of `path`, and never that of a published data set.
    """
    path = Path(path)
    plain = unicodedata.normalize("NFKD", path.name.removesuffix(".npz")).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")
    if not slug[:1].isalpha():
        slug = f"data-{slug}" if slug else "own"
    return f"{slug}-own" if slug in _OFFICIAL_NAMES else slug[:_NAME_LENGTH]


def is_own_dataset(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` is a file, as an .npz file is, or a folder that has a folder `train`."""
    path = Path(path)
    return path.is_file() or (path / "train").is_dir()


def load_own_dataset(path: str | os.PathLike[str], classes: Sequence[str] = (), *, background: str = "white") -> Dataset:
    """Returns a data set of one's own, named after its file or folder.

    - an .npz file holds ``train_images`` and ``test_images``, [images, rows, columns] or [images, rows, columns, channels]
      uint8, and ``train_labels`` and ``test_labels``, [images] integers from 0 on, or from 1 on;
    - a folder holds ``train/<class>/`` and ``test/<class>/`` with pictures of one size, grey or of three colours; transparent
      pixels are laid on the `background`;
    - or a folder holds IDX files under MNIST's names.

    `classes`: their names, in the order of the labels; without them a folder's classes are its subfolders, sorted, and those of
    arrays are named by their labels. Raises `ArtefactError` naming the file or array that is wrong.
    """
    path = Path(path)
    names = tuple(stripped for name in classes if (stripped := name.strip()))
    if len(set(names)) != len(names):
        raise ArtefactError(f"classes must differ, not {', '.join(names)}")
    if (path / "train").is_dir():
        return _of_pictures(path, names, background)
    if path.is_file() or (path.is_dir() and idx_arrays(path)):
        return _of_arrays(path, names)
    rule = f"{path} must be a folder of train/<class>/ and test/<class>/ with pictures, an .npz file or a folder of IDX files"
    raise ArtefactError("; ".join(filter(None, (rule, what_is_there(path)))))


def _of_pictures(path: Path, classes: tuple[str, ...], background: str) -> Dataset:
    names = classes or class_folders(path)
    _check_count(path, len(names))
    train, test, notes = read_picture_folder(path, names, background)
    return Dataset(dataset_name(_last_part(path)), names, train, test, notes)


def _of_arrays(path: Path, classes: tuple[str, ...]) -> Dataset:
    arrays = read_npz(path) if path.is_file() else read_idx_folder(path)
    labels = label_range(arrays, len(classes))
    train, test = labelled_splits(path, arrays, labels)
    _check_count(path, len(labels))
    names = classes or tuple(map(str, labels))
    for split_name, split in (("train", train), ("test", test)):
        if not len(split.labels):
            raise ArtefactError(f"{path} has no images in {split_name}")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ArtefactError(
            f"{path}: test images must be {train.images.shape[1:]} as those that train, not {test.images.shape[1:]}"
        )
    notes = [f"labels start at 1: class {names[0]} is label 1, and becomes 0"] if labels.start else []
    notes += [note for what, split in (("training", train), ("test", test)) if (note := _absent(what, split, names))]
    return Dataset(dataset_name(_last_part(path)), names, train, test, tuple(notes))


def _last_part(path: Path) -> Path:
    """Returns a path that ends in a name, which . and .. are not."""
    return path if path.name.strip(".") else path.resolve()


def _check_count(path: Path, classes: int) -> None:
    if not 2 <= classes <= _MAX_CLASSES:
        raise ArtefactError(f"{path} must have 2 to {_MAX_CLASSES} classes, not {classes:,}")


def _absent(what: str, split: Split, names: Sequence[str]) -> str:
    """Returns a note of the classes without images in a split, or nothing."""
    absent = [name for name, count in zip(names, np.bincount(split.labels, minlength=len(names)), strict=True) if not count]
    more = f" and {len(absent) - _SHOWN_CLASSES} more" if len(absent) > _SHOWN_CLASSES else ""
    return f"no {what} image is of class {', '.join(absent[:_SHOWN_CLASSES])}{more}" if absent else ""
