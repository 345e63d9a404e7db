# SPDX-License-Identifier: Apache-2.0
"""A part of a split that stands for all of it."""

import numpy as np
import pytest

from bnn_hw.datasets import Split
from bnn_hw.datasets.sample import even_sample


@pytest.mark.parametrize("order", ["sorted", "in turn", "at random"])
def test_an_even_sample_has_its_share_of_each_class(order: str) -> None:
    """Also where every tenth image is of one class, or the first ones are."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), 100)
    labels = {
        "sorted": labels,
        "in turn": labels.reshape(10, 100).T.ravel(),
        "at random": np.random.default_rng(1).permutation(labels),
    }[order]
    split = Split(np.arange(1000).reshape(1000, 1, 1, 1), labels)
    for count in (10, 100, 250):
        sample = even_sample(split, count)
        assert np.bincount(sample.labels).tolist() == [count // 10] * 10
        assert np.all(np.diff(sample.images.ravel()) > 0)
        assert np.array_equal(sample.labels, labels[sample.images.ravel()])
    assert np.ptp(np.bincount(even_sample(split, 7).labels, minlength=10)) == 1
    for count in (1000, 5000):
        assert np.array_equal(even_sample(split, count).images, split.images)


def test_an_even_sample_of_few_images() -> None:
    assert even_sample(Split(np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.uint8)), 3).images.shape == (0, 2, 2, 1)
    assert even_sample(Split(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.uint8)), 1).images.shape == (1, 2, 2, 1)
