# SPDX-License-Identifier: Apache-2.0
"""MNIST: handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges, http://yann.lecun.com/exdb/mnist/)."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bnn_hw.datasets.dataset import Dataset, Split
from bnn_hw.datasets.files import download_file, find_file
from bnn_hw.datasets.idx import read_idx

__all__ = ["DIGITS", "MNIST_MIRRORS", "download_mnist", "load_mnist", "load_mnist_test"]

DIGITS: Final = tuple("0123456789")
MNIST_MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

_TRAIN: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST: Final = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
# SHA-256 of each file's content after decompression, so that a copy compressed by other means is accepted too.
_SHA256: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


_OTHER_DATA: Final = (
    "Fashion-MNIST, KMNIST and others have files of the same names: give --own to take the folder as data of your own, or leave "
    "--data out to download MNIST"
)


def load_mnist(folder: str | os.PathLike[str]) -> Dataset:
    """Returns MNIST from the four official files, plain or gzipped, in `folder` or in `folder`/mnist.

    Images are [60000 or 10000, 28, 28, 1] uint8. Raises `ArtefactError` for a file that is missing or truncated, and
    for one of other data, which are published under the same names.
    """
    folder = Path(folder)
    return Dataset(name="mnist", class_names=DIGITS, train=_split(folder, _TRAIN), test=load_mnist_test(folder))


def load_mnist_test(folder: str | os.PathLike[str]) -> Split:
    """Returns MNIST's test images alone, as `load_mnist` does, which needs only their two files."""
    folder = Path(folder)
    return _split(folder, _TEST)


def download_mnist(folder: str | os.PathLike[str], mirrors: Sequence[str] = MNIST_MIRRORS, *, test_only: bool = False) -> None:
    """Downloads the files of MNIST that `folder` lacks, each checked against its SHA-256 before it gets its name.

    `test_only`: those of the test images. Raises `ArtefactError` when no mirror gives the right content.
    """
    folder = Path(folder)
    for name in _TEST if test_only else (*_TRAIN, *_TEST):
        if not any((folder / file).exists() for file in (name, name + ".gz")):
            download_file(folder / (name + ".gz"), "mnist", mirrors, partial(read_idx, sha256=_SHA256[name]))


def _split(folder: Path, names: Sequence[str]) -> Split:
    """Returns the split whose images and labels are in the files of these names."""
    paths = {name: find_file(folder, "mnist", (name, name + ".gz")) for name in names}
    images, labels = (read_idx(path, _SHA256[name], _OTHER_DATA) for name, path in paths.items())
    return Split(images[..., None], labels)
