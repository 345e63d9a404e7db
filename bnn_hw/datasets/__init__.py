# SPDX-License-Identifier: Apache-2.0
"""Data sets in their publishers' own files, read from a folder or downloaded, and checked against SHA-256."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bnn_hw.datasets.cifar10 import CIFAR10_MIRRORS, download_cifar10, load_cifar10
from bnn_hw.datasets.dataset import DataIdentity, Dataset, Split
from bnn_hw.datasets.idx import read_idx
from bnn_hw.datasets.mnist import MNIST_MIRRORS, download_mnist, load_mnist
from bnn_hw.datasets.own import is_own_dataset, load_own_dataset
from bnn_hw.datasets.svhn import SVHN_MIRRORS, download_svhn, load_svhn
from bnn_hw.errors import ArtefactError

__all__ = [
    "CIFAR10_MIRRORS",
    "DATASETS",
    "MNIST_MIRRORS",
    "SVHN_MIRRORS",
    "DataIdentity",
    "Dataset",
    "Split",
    "download_cifar10",
    "download_mnist",
    "download_svhn",
    "is_own_dataset",
    "load_cifar10",
    "load_dataset",
    "load_mnist",
    "load_own_dataset",
    "load_svhn",
    "read_idx",
]

# How each data set is loaded from a folder, and how its files get there.
DATASETS: Final[dict[str, tuple[Callable[[Path], Dataset], Callable[[Path], None]]]] = {
    "mnist": (load_mnist, download_mnist),
    "cifar10": (load_cifar10, download_cifar10),
    "svhn": (load_svhn, download_svhn),
}


def load_dataset(name: str, folder: Path | None, cache: Path) -> Dataset:
    """Returns the data set `name` from the user's `folder`; without one, from `cache`, downloading what is absent.

    Raises `ArtefactError` for an unknown name, and for files that are missing, altered or cannot be downloaded.
    """
    if name not in DATASETS:
        raise ArtefactError(f"data set must be one of {', '.join(DATASETS)}, not {name!r}")
    load, download = DATASETS[name]
    if folder is None:
        folder = cache / name
        download(folder)
    return load(folder)
