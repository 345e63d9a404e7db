# SPDX-License-Identifier: Apache-2.0
"""What every data set is once it is loaded."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Dataset", "Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    `images`: [images, rows, columns, channels] uint8; `labels`: [images] uint8.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with the publisher's own division into training and test images."""

    name: str
    classes: int
    train: Split
    test: Split
