# SPDX-License-Identifier: Apache-2.0
"""Data sets in their publishers' own files, read from a folder or downloaded, and checked against SHA-256."""

import gzip
import hashlib
import http.client
import math
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError

__all__ = ["DATASETS", "MNIST_MIRRORS", "Dataset", "Split", "download_mnist", "load_dataset", "load_mnist", "read_idx"]

MNIST_MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# SHA-256 of each file's content after decompression, so that a copy compressed by other means is accepted too.
_MNIST_SHA256: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_DOWNLOAD_TIMEOUT_S: Final = 60


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    `images`: [images, rows, columns, channels] uint8; `labels`: [images] uint8.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with the publisher's own division into training and test images."""

    name: str
    classes: int
    train: Split
    test: Split


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Returns the array of an IDX file of unsigned bytes (LeCun's format), plain or gzipped.

    The result is uint8, of the shape in the file's header. Raises `ArtefactError` when the file is truncated, no IDX
    file of unsigned bytes, or not the content that `sha256` names.
    """
    raw = _read(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != 0x08:
        raise ArtefactError(f"{path} must be an IDX file of unsigned bytes (it starts 00 00 08), not {raw[:4].hex(' ')}")
    header_bytes = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, header_bytes, 4))
    expected_bytes = header_bytes + math.prod(shape)
    if len(raw) != expected_bytes:
        raise ArtefactError(
            f"{path} must hold {expected_bytes:,} bytes for shape {shape}, not {len(raw):,}; remove it and fetch it again"
        )
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256:
        raise ArtefactError(f"{path} is altered: SHA-256 must be {sha256}, not {found}; remove it and fetch it again")
    return np.frombuffer(raw, np.uint8, offset=header_bytes).reshape(shape)


def load_mnist(folder: Path) -> Dataset:
    """Returns MNIST (LeCun, Cortes, Burges) from the four official files in `folder` or in `folder`/mnist.

    Images are [60000 or 10000, 28, 28, 1] uint8. Raises `ArtefactError` for a file that is missing, truncated or
    altered.
    """
    arrays = {name: read_idx(_find(folder, name), sha256) for name, sha256 in _MNIST_SHA256.items()}
    return Dataset(
        name="mnist",
        classes=10,
        train=Split(arrays["train-images-idx3-ubyte"][..., None], arrays["train-labels-idx1-ubyte"]),
        test=Split(arrays["t10k-images-idx3-ubyte"][..., None], arrays["t10k-labels-idx1-ubyte"]),
    )


def download_mnist(folder: Path, mirrors: Sequence[str] = MNIST_MIRRORS) -> None:
    """Downloads the files of MNIST that `folder` lacks, each checked against its SHA-256 before it gets its name.

    Raises `ArtefactError` when no mirror gives the right content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, sha256 in _MNIST_SHA256.items():
        if not any((folder / file).exists() for file in (name, name + ".gz")):
            _download(folder / (name + ".gz"), sha256, mirrors)


DATASETS: Final[dict[str, tuple[Callable[[Path], Dataset], Callable[[Path], None]]]] = {
    "mnist": (load_mnist, download_mnist),
}


def load_dataset(name: str, folder: Path | None, cache: Path) -> Dataset:
    """Returns the data set `name` from the user's `folder`; without one, from `cache`, downloading what is absent."""
    if name not in DATASETS:
        raise ArtefactError(f"data set must be one of {', '.join(DATASETS)}, not {name!r}")
    load, download = DATASETS[name]
    if folder is None:
        folder = cache / name
        download(folder)
    return load(folder)


def _find(folder: Path, name: str) -> Path:
    for place in (folder, folder / "mnist"):
        for file in (place / name, place / (name + ".gz")):
            if file.is_file():
                return file
    raise ArtefactError(f"{folder} must hold {name} or {name}.gz; name the folder with --data, or leave --data out to download")


def _read(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except OSError as error:  # gzip.BadGzipFile is one too
        raise ArtefactError(f"{path} cannot be read: {error}; remove it and fetch it again") from error
    except (EOFError, zlib.error) as error:
        raise ArtefactError(f"{path} is truncated or damaged: {error}; remove it and fetch it again") from error


def _download(path: Path, sha256: str, mirrors: Sequence[str]) -> None:
    partial = path.with_suffix(".partial")
    failures = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + path.name, timeout=_DOWNLOAD_TIMEOUT_S) as response:
                partial.write_bytes(response.read())
            read_idx(partial, sha256)
        except (OSError, http.client.HTTPException, ArtefactError) as error:  # URLError is an OSError
            partial.unlink(missing_ok=True)
            failures.append(f"{mirror}: {error}")
        else:
            partial.replace(path)
            return
    raise ArtefactError(
        f"{path.name} cannot be downloaded ({'; '.join(failures)}); fetch it by hand and name its folder with --data"
    )
