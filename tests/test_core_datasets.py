# SPDX-License-Identifier: Apache-2.0
"""Data sets by name."""

import re
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.datasets import DATASETS, Split, load_dataset
from bnn_hw.datasets.sample import even_sample
from bnn_hw.errors import ArtefactError

FIRST_FILES = {
    "mnist": "train-images-idx3-ubyte or train-images-idx3-ubyte.gz",
    "cifar10": "data_batch_1.bin or cifar-10-binary.tar.gz",
    "svhn": "train_32x32.mat",
}


def test_another_data_set(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^data set must be one of mnist, cifar10, svhn, not 'minst'$"):
        load_dataset("minst", None, tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_without_the_files(name: str, tmp_path: Path) -> None:
    rule = re.escape(f"{tmp_path} must hold {FIRST_FILES[name]} of {name}")
    with pytest.raises(ArtefactError, match=f"^{rule}; name the folder with --data, or leave --data out to download$"):
        load_dataset(name, tmp_path, tmp_path / "unused")
    assert list(tmp_path.iterdir()) == []


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
