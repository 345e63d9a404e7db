# SPDX-License-Identifier: Apache-2.0
"""Data sets in their publishers' own files, read from a folder or downloaded, and checked against SHA-256."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TypeGuard

from bnn_hw.datasets.cifar10 import CIFAR10_MIRRORS, download_cifar10, load_cifar10, load_cifar10_test
from bnn_hw.datasets.dataset import DataIdentity, Dataset, Split
from bnn_hw.datasets.idx import read_idx
from bnn_hw.datasets.likeness import unlike
from bnn_hw.datasets.mnist import MNIST_MIRRORS, download_mnist, load_mnist, load_mnist_test
from bnn_hw.datasets.own import dataset_name, is_own_dataset, load_own_dataset
from bnn_hw.datasets.svhn import SVHN_MIRRORS, download_svhn, load_svhn, load_svhn_test
from bnn_hw.errors import ArtefactError, UsageError

__all__ = [
    "CIFAR10_MIRRORS",
    "DATASETS",
    "MNIST_MIRRORS",
    "SVHN_MIRRORS",
    "DataIdentity",
    "Dataset",
    "Source",
    "Split",
    "dataset_name",
    "download_cifar10",
    "download_mnist",
    "download_svhn",
    "is_own",
    "is_own_dataset",
    "load_cifar10",
    "load_dataset",
    "load_mnist",
    "load_own_dataset",
    "load_svhn",
    "open_dataset",
    "open_test_images",
    "read_idx",
]


class Source(NamedTuple):
    """How a publisher's data set is read from a folder, and how its files get there; its test images alone need fewer files."""

    load: Callable[[Path], Dataset]
    load_test: Callable[[Path], Split]
    download: Callable[..., None]  # to a folder; with test_only=True only the files that `load_test` needs


DATASETS: Final[dict[str, Source]] = {
    "mnist": Source(load_mnist, load_mnist_test, download_mnist),
    "cifar10": Source(load_cifar10, load_cifar10_test, download_cifar10),
    "svhn": Source(load_svhn, load_svhn_test, download_svhn),
}


def open_dataset(
    name: str,
    data: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    own: bool = False,
    background: str = "white",
) -> Dataset:
    """Returns the data set that `--data` names: data of one's own if `data` holds such, else `name` in its publisher's files.

    `data` is one of

    - a folder of ``train/<class>/`` and ``test/<class>/`` with pictures, or an .npz file, which are data of one's own;
    - a folder of the publisher's files, or one of folders ``mnist``, ``cifar10`` and ``svhn`` with them;
    - None: they are downloaded to `cache` where they are absent.

    With `own`, a folder of IDX files under MNIST's names is data of one's own too. `classes`: the names of one's own classes,
    in the order of their labels; `background`: the colour behind transparent pictures. Raises `UsageError` if `classes` or
    `own` is given without data of one's own, and `ArtefactError` for files that are missing, wrong or cannot be downloaded.
    """
    data = None if data is None else Path(data)
    cache = Path(cache)
    if is_own(data, classes, own):
        return _compared(load_own_dataset(data, classes, background=background))
    return load_dataset(name, data, cache)


def open_test_images(
    name: str,
    data: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    own: bool = False,
    background: str = "white",
) -> Split:
    """Returns the test images of the data set that `open_dataset` opens; a publisher's training images may be absent."""
    data = None if data is None else Path(data)
    cache = Path(cache)
    if is_own(data, classes, own):
        return load_own_dataset(data, classes, background=background).test
    with _source(name, data, cache, test_only=True) as (source, folder):
        return source.load_test(folder)


def load_dataset(name: str, folder: str | os.PathLike[str] | None, cache: str | os.PathLike[str]) -> Dataset:
    """Returns the data set `name` from the user's `folder`; without one, from `cache`, downloading what is absent.

    Raises `ArtefactError` for an unknown name, and for files that are missing, altered or cannot be downloaded.
    """
    folder = None if folder is None else Path(folder)
    cache = Path(cache)
    with _source(name, folder, cache) as (source, place):
        return source.load(place)


def is_own(data: Path | None, classes: Sequence[str] = (), own: bool = False) -> TypeGuard[Path]:
    """Returns whether `data` is data of one's own. Raises `UsageError` if `classes` or `own` is given without it."""
    if data is not None and (own or is_own_dataset(data)):
        return True
    if own:
        raise UsageError("--own goes with a data set of your own, which --data must name")
    if classes:
        way_out = "which --data must name" if data is None else f"as which --own takes the IDX files in {data}"
        raise UsageError(f"--classes goes with a data set of your own, {way_out}")
    return False


def _compared(dataset: Dataset) -> Dataset:
    """Returns a data set, with a note if its test images are unlike its training images."""
    found = unlike(dataset.identity.pixels, dataset.test.images)
    return replace(dataset, notes=(*dataset.notes, f"test images: {found}")) if found else dataset


@contextmanager
def _source(name: str, folder: Path | None, cache: Path, *, test_only: bool = False) -> Iterator[tuple[Source, Path]]:
    """Gives a data set's reader and its folder; downloads missing files to the cache."""
    if name not in DATASETS:
        raise ArtefactError(f"data set must be one of {', '.join(DATASETS)}, not {name!r}")
    source = DATASETS[name]
    if folder is not None:
        yield source, folder
        return
    source.download(cache / name, test_only=test_only)
    try:
        yield source, cache / name
    except ArtefactError as error:
        raise ArtefactError(f"{error}; remove {cache / name}, and the files are downloaded anew") from error
