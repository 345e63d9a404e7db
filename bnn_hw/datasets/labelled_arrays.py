# SPDX-License-Identifier: Apache-2.0
"""Images and labels of one's own as arrays: in an .npz file, or in IDX files."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnn_hw.datasets.dataset import Split
from bnn_hw.datasets.idx import read_idx, read_idx_labels
from bnn_hw.datasets.idx_names import idx_files
from bnn_hw.errors import ArtefactError

__all__ = ["LabelledArrays", "label_range", "labelled_splits", "read_idx_folder", "read_npz"]


class LabelledArrays(NamedTuple):
    """The arrays of a data set: images, [images, rows, columns, channels] uint8, and labels, [images] integers of any range."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def read_npz(path: str | os.PathLike[str]) -> LabelledArrays:
    """Returns the arrays of an .npz file. Raises `ArtefactError` naming the array that is missing or wrong."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [np.asarray(file[name]) for name in LabelledArrays._fields]
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # TypeError: an .npy
        raise ArtefactError(
            f"{path} must be an .npz file of train_images, train_labels, test_images and test_labels: {error}"
        ) from error
    return _checked(path, *arrays)


def read_idx_folder(folder: str | os.PathLike[str]) -> LabelledArrays:
    """Returns the arrays of the IDX files in a folder. Raises `ArtefactError` naming the array that is missing or wrong."""
    folder = Path(folder)
    files = idx_files(folder)
    absent = [name for name in LabelledArrays._fields if name not in files]
    if absent:
        raise ArtefactError(f"{folder} must hold IDX files of {', '.join(LabelledArrays._fields)}, not lack {', '.join(absent)}")
    train, test = ((read_idx(files[f"{split}_images"]), read_idx_labels(files[f"{split}_labels"])) for split in ("train", "test"))
    return _checked(folder, *train, *test)


def _checked(path: Path, *arrays: np.ndarray) -> LabelledArrays:
    found = LabelledArrays(*arrays)
    train_images, test_images = _images(f"{path}: train", found.train_images), _images(f"{path}: test", found.test_images)
    _check_labels(f"{path}: train", found.train_labels, len(train_images))
    _check_labels(f"{path}: test", found.test_labels, len(test_images))
    return found._replace(train_images=train_images, test_images=test_images)


def _images(what: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ArtefactError(f"{what}_images must be [images, rows, columns(, channels)] uint8, not {images.shape} {images.dtype}")
    if 0 in images.shape[1:]:
        raise ArtefactError(f"{what}_images must have at least one row, column and channel, not the shape {images.shape}")
    return images


def _check_labels(what: str, labels: np.ndarray, count: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise ArtefactError(f"{what}_labels must be ({count},) integers, not {labels.shape} {labels.dtype}")


def label_range(arrays: LabelledArrays, classes: int) -> range:
    """Returns the labels that classes have, where there are `classes` of them, or 0 for as many as the greatest label implies.

    They go from 0 on, or from 1 on where no label is 0 and the greatest is that of the last class.
    """
    both = (arrays.train_labels, arrays.test_labels)
    least = min((int(labels.min()) for labels in both if labels.size), default=0)
    greatest = max([0, *(int(labels.max()) for labels in both if labels.size)])
    first = 1 if least == 1 and classes in (0, greatest) else 0
    return range(first, first + classes if classes else greatest + 1)


def labelled_splits(path: Path, arrays: LabelledArrays, allowed: range) -> tuple[Split, Split]:
    """Returns the training and the test split, with labels from 0 on. Raises `ArtefactError` naming a label not `allowed`."""
    splits = []
    for name, images, labels in (
        ("train_labels", arrays.train_images, arrays.train_labels),
        ("test_labels", arrays.test_images, arrays.test_labels),
    ):
        wrong = np.flatnonzero((labels < allowed.start) | (labels >= allowed.stop))
        if wrong.size:
            raise ArtefactError(
                f"{path}: {name}[{wrong[0]}] must be in {allowed.start}..{allowed.stop - 1}, not {labels[wrong[0]]}"
            )
        splits.append(Split(images, (labels - allowed.start).astype(np.uint8)))
    return splits[0], splits[1]
