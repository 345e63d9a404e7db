# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: photographs of ten kinds of things (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

This is the binary version of https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split
from bnn_hw.datasets.files import GET_WHOLE, check_sha256, download_file, find_file, read_file
from bnn_hw.errors import ArtefactError

__all__ = ["CIFAR10_MIRRORS", "download_cifar10", "load_cifar10", "load_cifar10_test"]

_CLASS_NAMES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # batches.meta.txt
CIFAR10_MIRRORS: Final = ("https://www.cs.toronto.edu/~kriz/",)

_ARCHIVE: Final = "cifar-10-binary.tar.gz"
_UNPACKED: Final = "cifar-10-batches-bin"  # the archive's own folder
_CHANNELS, _ROWS, _COLUMNS = 3, 32, 32
_RECORD_BYTES: Final = 1 + _CHANNELS * _ROWS * _COLUMNS  # the label, then a plane of pixels for each of red, green, blue
_BATCH_BYTES: Final = 10_000 * _RECORD_BYTES

_TEST: Final = "test_batch.bin"
# SHA-256 of each batch, the same in the archive and beside it, so that an archive made by other means is accepted too.
_SHA256: Final = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    _TEST: "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def load_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """Returns CIFAR-10 from the six official batches or the official archive of them.

    They lie in `folder`, `folder`/cifar10, or the folder cifar-10-batches-bin in one of these, as the archive unpacks;
    the archive itself is read as it is. Images are [50000 or 10000, 32, 32, 3] uint8, the channels red, green and blue.
    Raises `ArtefactError` for a batch that is missing, truncated or altered.
    """
    folder = Path(folder)
    *train, test = _batches(folder, _SHA256)
    return Dataset(name="cifar10", class_names=_CLASS_NAMES, train=_split(train), test=_split([test]))


def load_cifar10_test(folder: str | os.PathLike[str]) -> Split:
    """Returns CIFAR-10's test images alone, as `load_cifar10` does, which needs only their batch, or the archive."""
    folder = Path(folder)
    return _split(_batches(folder, [_TEST]))


def download_cifar10(folder: str | os.PathLike[str], mirrors: Sequence[str] = CIFAR10_MIRRORS, *, test_only: bool = False) -> None:
    """Downloads the archive of CIFAR-10 where `folder` lacks it and one of its batches; `test_only`: that of the test images.

    Each batch in it is checked against its SHA-256 before the archive gets its name. Raises `ArtefactError` when no mirror
    gives the right content.
    """
    folder = Path(folder)
    wanted = [_TEST] if test_only else _SHA256
    if not (folder / _ARCHIVE).exists() and not all((folder / name).exists() for name in wanted):
        download_file(folder / _ARCHIVE, "cifar10", mirrors, _read_archive)


def _batches(folder: Path, names: Iterable[str]) -> list[bytes]:
    """Returns the batches of these names."""
    batches: dict[str, bytes] = {}
    for name in names:
        if name not in batches:
            path = find_file(folder, "cifar10", (name, _ARCHIVE), (_UNPACKED, f"cifar10/{_UNPACKED}"))
            batches |= _read_archive(path) if path.name == _ARCHIVE else {name: _read_batch(path)}
    return [batches[name] for name in names]


def _read_batch(path: Path) -> bytes:
    batch = read_file(path)
    _check_size(path, len(batch))
    check_sha256(path, batch, _SHA256[path.name])
    return batch


def _read_archive(path: Path) -> dict[str, bytes]:
    """Returns the batches of an archive by name. Nothing is unpacked to the disk, so the members' paths have no effect."""
    batches: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in _SHA256 and member.isfile():
                    _check_size(f"{name} in {path}", member.size)  # before the member is read
                    content = archive.extractfile(member)
                    assert content is not None  # as it is for every file
                    batches[name] = content.read()
                    check_sha256(f"{name} in {path}", batches[name], _SHA256[name])
    except (OSError, EOFError, OverflowError, ValueError, zlib.error, tarfile.TarError) as error:  # tarfile lets all of them out
        raise ArtefactError(f"{path} is truncated or no gzipped tar archive: {error}; {GET_WHOLE}") from error
    absent = [name for name in _SHA256 if name not in batches]
    if absent:
        raise ArtefactError(f"{path} must hold {', '.join(_SHA256)}, not lack {', '.join(absent)}; {GET_WHOLE}")
    return batches


def _check_size(what: object, size: int) -> None:
    if size != _BATCH_BYTES:
        raise ArtefactError(f"{what} must hold {_BATCH_BYTES:,} bytes, not {size:,}; {GET_WHOLE}")


def _split(batches: Sequence[bytes]) -> Split:
    records = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, _RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, _CHANNELS, _ROWS, _COLUMNS)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.ascontiguousarray(records[:, 0]))
