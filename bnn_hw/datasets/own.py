# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: a folder of images, or arrays in an .npz file."""

import re
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split
from bnn_hw.datasets.picture import SUFFIXES, read_picture
from bnn_hw.errors import ArtefactError
from bnn_hw.tools import require

__all__ = ["dataset_name", "is_own_dataset", "load_own_dataset"]

_SPLITS: Final = ("train", "test")
_MAX_CLASSES: Final = 256
_OFFICIAL: Final = ("mnist", "cifar10", "svhn")  # names that data of one's own never get
_NAME_LENGTH: Final = 64  # of a network


def is_own_dataset(path: Path) -> bool:
    """Returns whether `path` is an .npz file, or a folder that has a folder `train`."""
    return path.is_file() or (path / "train").is_dir()


def dataset_name(path: Path) -> str:
    """Returns the name of the data set in a file or folder, which is one that a network can have: [a-z][a-z0-9_-]{0,63}."""
    plain = unicodedata.normalize("NFKD", path.name.removesuffix(".npz")).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")
    if not slug[:1].isalpha():
        slug = f"data-{slug}" if slug else "own"
    return f"{slug}-own" if slug in _OFFICIAL else slug[:_NAME_LENGTH]


def load_own_dataset(path: Path, classes: Sequence[str] = ()) -> Dataset:
    """Returns a data set of one's own, named after its file or folder.

    - an .npz file holds ``train_images`` and ``test_images``, [images, rows, columns] or [images, rows, columns, channels]
      uint8, and ``train_labels`` and ``test_labels``, [images] integers from 0 on;
    - a folder holds ``train/<class>/`` and ``test/<class>/`` with image files of one size, grey or of three colours.

    `classes`: their names, in the order of the labels; without them a folder's classes are its subfolders, sorted, and a
    file's are as many as its greatest label wants. Raises `ArtefactError` naming the file or array that is wrong.
    """
    read = _read_npz if path.is_file() else _read_folder
    names = tuple(name.strip() for name in classes if name.strip())
    if len(set(names)) != len(names):
        raise ArtefactError(f"classes must differ, not {', '.join(names)}")
    splits, count = read(path, names)
    _check_count(path, count)
    for split_name, split in zip(_SPLITS, splits, strict=True):
        if not len(split.labels):
            raise ArtefactError(f"{path} has no images in {split_name}")
    shapes = [split.images.shape[1:] for split in splits]
    if shapes[0] != shapes[1]:
        raise ArtefactError(f"{path}: test images must be {shapes[0]} as those that train, not {shapes[1]}")
    return Dataset(dataset_name(path), names or tuple(map(str, range(count))), splits[0], splits[1])


def _check_count(path: Path, classes: int) -> None:
    if not 2 <= classes <= _MAX_CLASSES:
        raise ArtefactError(f"{path} must have 2 to {_MAX_CLASSES} classes, not {classes}")


def _read_npz(path: Path, classes: tuple[str, ...]) -> tuple[list[Split], int]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [(np.asarray(file[f"{split}_images"]), np.asarray(file[f"{split}_labels"])) for split in _SPLITS]
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # TypeError: an .npy
        raise ArtefactError(
            f"{path} must be an .npz file of train_images, train_labels, test_images and test_labels: {error}"
        ) from error
    found = [int(labels.max()) for _, labels in arrays if labels.size and np.issubdtype(labels.dtype, np.integer)]
    count = len(classes) or max(found, default=-1) + 1
    return [_checked(f"{path}: {name}", *pair, count) for name, pair in zip(_SPLITS, arrays, strict=True)], count


def _checked(what: str, images: np.ndarray, labels: np.ndarray, classes: int) -> Split:
    """Returns a split of arrays, once they are of the right dtypes, shapes and ranges."""
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ArtefactError(f"{what}_images must be [images, rows, columns(, channels)] uint8, not {images.shape} {images.dtype}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise ArtefactError(f"{what}_labels must be ({len(images)},) integers, not {labels.shape} {labels.dtype}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise ArtefactError(f"{what}_labels[{wrong[0]}] must be in 0..{classes - 1}, not {labels[wrong[0]]}")
    return Split(images, labels.astype(np.uint8))


def _read_folder(path: Path, classes: tuple[str, ...]) -> tuple[list[Split], int]:
    names = classes or tuple(sorted(folder.name for folder in (path / "train").iterdir() if folder.is_dir()))
    require("pillow")
    _check_count(path, len(names))  # before labels are made of them
    return [_read_images(path / split, names) for split in _SPLITS], len(names)


def _read_images(folder: Path, classes: tuple[str, ...]) -> Split:
    """Returns the images below a folder, class by class in the order of their names."""
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            raise ArtefactError(f"{folder} must hold a folder {name} with the images of that class")
        for file in sorted(entry for entry in (folder / name).iterdir() if entry.suffix.lower() in SUFFIXES):
            images.append(read_picture(file))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ArtefactError(f"{file} must be {_text(images[0])} as the first image, not {_text(images[-1])}")
    return Split(np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8), np.array(labels, np.uint8))


def _text(image: np.ndarray) -> str:
    return "x".join(map(str, image.shape))
