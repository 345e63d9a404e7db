# SPDX-License-Identifier: Apache-2.0
"""What was read of a data set, for people."""

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split

__all__ = ["summary"]


def summary(dataset: Dataset) -> list[tuple[str, str]]:
    """Returns what a data set holds: the images of each class in each split, their shape and range, a row each."""
    pixels = dataset.identity.pixels
    return [
        ("training images", _images(dataset.train, dataset.class_names)),
        ("test images", _images(dataset.test, dataset.class_names)),
        ("shape", "x".join(map(str, dataset.train.images.shape[1:]))),
        ("pixels that train", f"{pixels.least:.0f}..{pixels.greatest:.0f}, mean {pixels.mean:.1f}"),
    ]


def _images(split: Split, class_names: tuple[str, ...]) -> str:
    counts = np.bincount(split.labels, minlength=len(class_names))
    each = ", ".join(f"{name} {count:,}" for name, count in zip(class_names, counts.tolist(), strict=True))
    return f"{len(split.labels):,} ({each})"
