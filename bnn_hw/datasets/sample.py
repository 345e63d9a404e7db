# SPDX-License-Identifier: Apache-2.0
"""A part of a data set's images that stands for all of them."""

import numpy as np

from bnn_hw.datasets.dataset import Split

__all__ = ["even_sample"]


def even_sample(split: Split, count: int) -> Split:
    """Returns `count` images of a split, or all where it has no more: as large a share of each class, evenly spaced in it.

    They keep their order. The choice is deterministic.
    """
    images = len(split.labels)
    by_class = np.argsort(split.labels, kind="stable")
    chosen = np.sort(by_class[np.arange(min(count, images)) * images // max(1, min(count, images))])
    return Split(split.images[chosen], split.labels[chosen])
