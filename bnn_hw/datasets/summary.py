# SPDX-License-Identifier: Apache-2.0
"""A readable summary of a loaded data set."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split

__all__ = ["summary"]

_LISTED_CLASSES: Final = 12


def summary(dataset: Dataset) -> list[tuple[str, str]]:
    """Returns a data set's content as names and values: the images of each class, their shape and their pixels."""
    pixels = dataset.identity.pixels
    return [
        ("training images", _images(dataset.train, dataset.class_names)),
        ("test images", _images(dataset.test, dataset.class_names)),
        ("image", "x".join(map(str, dataset.train.images.shape[1:]))),
        ("pixels", f"{pixels.least:.0f}..{pixels.greatest:.0f}, {pixels.mean:.1f} in the mean of the training images"),
    ]


def _images(split: Split, class_names: Sequence[str]) -> str:
    counts = np.bincount(split.labels, minlength=len(class_names)).tolist()
    if len(counts) <= _LISTED_CLASSES:
        each = ", ".join(f"{name}: {count:,}" for name, count in zip(class_names, counts, strict=True))
    elif min(counts) == max(counts):
        each = f"{counts[0]:,} of each of {len(counts)} classes"
    else:
        fewest, most = (class_names[counts.index(count)] for count in (min(counts), max(counts)))
        each = f"{len(counts)} classes, from {min(counts):,} of {fewest} to {max(counts):,} of {most}"
    return f"{len(split.labels):,} ({each})"
