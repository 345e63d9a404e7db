# SPDX-License-Identifier: Apache-2.0
"""A loaded data set and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bnn_hw.datasets.pixels import PixelStatistics

__all__ = ["DataIdentity", "Dataset", "Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    `images`: [images, rows, columns, channels] uint8; `labels`: [images] uint8.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DataIdentity:
    """Which data a network was trained on: checkpoints and the provenance of networks keep it.

    Two data sets are the same where `sha256` is, whatever their names are.
    """

    name: str
    sha256: str  # of `Dataset.sha256`
    class_names: tuple[str, ...]  # in the order of the labels
    pixels: PixelStatistics  # of the training images

    def as_json(self) -> dict[str, Any]:
        """Returns the identity as JSON values."""
        return asdict(self) | {"class_names": list(self.class_names)}

    @classmethod
    def from_json(cls, value: object) -> "DataIdentity":
        """Returns the identity that `as_json` gave. Raises `ValueError` if `value` is not one."""
        match value:
            case {"name": str(name), "sha256": str(sha256), "class_names": [*names], "pixels": Mapping() as pixels} if all(
                isinstance(class_name, str) for class_name in names
            ):
                return cls(name, sha256, tuple(names), PixelStatistics.from_json(pixels))
        raise ValueError("a data identity must have name, sha256, class_names and pixels")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with the publisher's own division into training and test images.

    `class_names`: in the order of the labels. `notes`: likely mistakes that its reader found, a sentence each.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of class names, shapes, images and labels, in hexadecimal digits; the name has no part in it."""
        arrays = [array for split in (self.train, self.test) for array in (split.images, split.labels)]
        shapes = [array.shape for array in arrays]
        digest = hashlib.sha256(json.dumps([self.class_names, shapes]).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def identity(self) -> DataIdentity:
        """The identity that checkpoints and networks keep."""
        return DataIdentity(self.name, self.sha256, self.class_names, PixelStatistics.of(self.train.images))
