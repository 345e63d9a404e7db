# SPDX-License-Identifier: Apache-2.0
"""Data sets in their publishers' own files, read from a folder or downloaded, and checked against SHA-256."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bnn_hw.datasets.cifar10 import CIFAR10_MIRRORS, download_cifar10, load_cifar10
from bnn_hw.datasets.dataset import DataIdentity, Dataset, Split
from bnn_hw.datasets.idx import read_idx
from bnn_hw.datasets.mnist import MNIST_MIRRORS, download_mnist, load_mnist
from bnn_hw.datasets.own import dataset_name, is_own_dataset, load_own_dataset
from bnn_hw.datasets.svhn import SVHN_MIRRORS, download_svhn, load_svhn
from bnn_hw.errors import ArtefactError, UsageError

__all__ = [
    "CIFAR10_MIRRORS",
    "DATASETS",
    "MNIST_MIRRORS",
    "SVHN_MIRRORS",
    "DataIdentity",
    "Dataset",
    "Split",
    "dataset_name",
    "download_cifar10",
    "download_mnist",
    "download_svhn",
    "is_own_dataset",
    "load_cifar10",
    "load_dataset",
    "load_mnist",
    "load_own_dataset",
    "load_svhn",
    "open_dataset",
    "read_idx",
]

# How each data set is loaded from a folder, and how its files get there.
DATASETS: Final[dict[str, tuple[Callable[[Path], Dataset], Callable[[Path], None]]]] = {
    "mnist": (load_mnist, download_mnist),
    "cifar10": (load_cifar10, download_cifar10),
    "svhn": (load_svhn, download_svhn),
}


def open_dataset(name: str, data: Path | None, cache: Path, *, classes: Sequence[str] = (), own: bool = False) -> Dataset:
    """Returns the data set that `--data` names: data of one's own if it is such, else `name` in its publisher's files.

    `data` is one of

    - a folder of ``train/<class>/`` and ``test/<class>/`` with pictures, or an .npz file, which are data of one's own;
    - a folder of the publisher's files, or one of folders ``mnist``, ``cifar10`` and ``svhn`` with them;
    - None: they are downloaded to `cache` where they are absent.

    With `own`, a folder of IDX files under MNIST's names is data of one's own too. `classes`: the names of one's own classes,
    in the order of their labels. Raises `UsageError` where `classes` or `own` has no data of one's own to go with, and
    `ArtefactError` for files that are missing, wrong or cannot be downloaded.
    """
    if data is not None and (own or is_own_dataset(data)):
        return load_own_dataset(data, classes)
    if own:
        raise UsageError("--own goes with a data set of your own, which --data must name")
    if classes:
        raise UsageError("--classes goes with a data set of your own, which --data must name")
    return load_dataset(name, data, cache)


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
