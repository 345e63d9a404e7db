# SPDX-License-Identifier: Apache-2.0
"""Data sets by name."""

import re
from pathlib import Path

import pytest

from bnn_hw.datasets import DATASETS, load_dataset
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
