# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: batches and archives of them, right and wrong, in a folder and from a server of the test's own."""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.datasets import Dataset, cifar10, download_cifar10, load_cifar10, open_test_images
from bnn_hw.errors import ArtefactError
from support.dataset_files import published, serve, write

ARCHIVE = "cifar-10-binary.tar.gz"
IMAGES = np.random.default_rng(10).integers(0, 256, (12, 32, 32, 3), np.uint8)
LABELS = [6, 9, 4, 1, 2, 7, 8, 3, 5, 0, 9, 3]


def batch(first: int, count: int = 2) -> bytes:
    """Returns a file of the images from `first` on, byte by byte as the publisher describes it."""
    content = []
    for index in range(first, first + count):
        content.append(LABELS[index])
        for channel in range(3):
            for row in range(32):
                for column in range(32):
                    content.append(int(IMAGES[index, row, column, channel]))
    return bytes(content)


BATCHES = {
    "data_batch_1.bin": batch(0),
    "data_batch_2.bin": batch(2),
    "data_batch_3.bin": batch(4),
    "data_batch_4.bin": batch(6),
    "data_batch_5.bin": batch(8),
    "test_batch.bin": batch(10),
}


def archive(members: Mapping[str, bytes | tarfile.TarInfo], folder: str = "cifar-10-batches-bin/") -> bytes:
    """Returns a gzipped tar archive as the publisher's: files in a folder, with others between them."""
    return gzip.compress(plain_archive(members, folder), mtime=0)


def plain_archive(
    members: Mapping[str, bytes | tarfile.TarInfo], folder: str = "cifar-10-batches-bin/", kind: int = tarfile.GNU_FORMAT
) -> bytes:
    content = []
    for name, member in {"batches.meta.txt": b"airplane\n", **members, "readme.html": b"<html>"}.items():
        info, data = (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(folder + name), member)
        info.size = len(data) or info.size
        content.append(info.tobuf(kind) + data + bytes(-len(data) % 512))
    return b"".join(content) + bytes(1024)


def special(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """Returns a member with no content of its own."""
    info = tarfile.TarInfo("cifar-10-batches-bin/" + name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def flushed(content: bytes) -> bytes:
    """Returns the gzipped beginning of a file, which more blocks can follow."""
    stream = zlib.compressobj(wbits=31)
    return stream.compress(content) + stream.flush(zlib.Z_FULL_FLUSH)


@pytest.fixture
def tiny_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `BATCHES` pass for CIFAR-10."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in BATCHES.items()}
    monkeypatch.setattr(cifar10, "_SHA256", digests)
    monkeypatch.setattr(cifar10, "_BATCH_BYTES", 2 * 3073)


def check(data: Dataset) -> None:
    """Checks that these are the images of `BATCHES`."""
    assert (data.name, data.classes) == ("cifar10", 10)
    for split, part in ((data.train, slice(0, 10)), (data.test, slice(10, 12))):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.uint8)
        assert split.images.flags.c_contiguous
        assert np.array_equal(split.images, IMAGES[part])
        assert split.labels.tolist() == LABELS[part]


# In a folder.


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize("place", ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_batches_in_a_folder(place: str, tmp_path: Path) -> None:
    for name, content in BATCHES.items():
        write(tmp_path / place, name, content)
    check(load_cifar10(tmp_path))


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize("place", ["", "cifar10"])
@pytest.mark.parametrize("folder", ["cifar-10-batches-bin/", "", "../", "/"])
def test_archive_in_a_folder(place: str, folder: str, tmp_path: Path) -> None:
    """Nothing is unpacked, wherever the members want to go."""
    path = write(tmp_path / "data" / place, ARCHIVE, archive(BATCHES, folder))
    check(load_cifar10(tmp_path / "data"))
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.usefixtures("tiny_cifar10")
def test_some_batches_beside_the_archive(tmp_path: Path) -> None:
    for name in list(BATCHES)[:3]:
        write(tmp_path, name, BATCHES[name])
    write(tmp_path, ARCHIVE, archive(BATCHES))
    check(load_cifar10(tmp_path))


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"{folder} must hold data_batch_3\.bin or cifar-10-binary\.tar\.gz of cifar10; name the folder with --data, .*"),
        (BATCHES["data_batch_3.bin"][:-1], r"{path} must hold 6,146 bytes, not 6,145; get a whole copy of it"),
        (BATCHES["data_batch_3.bin"] + b"\0", r"{path} must hold 6,146 bytes, not 6,147; get a whole copy of it"),
        (b"", r"{path} must hold 6,146 bytes, not 0; get a whole copy of it"),
        (
            BATCHES["data_batch_4.bin"],
            r"{path} is not the publisher's own file: SHA-256 must be \w{{64}}, not \w{{64}}; get a whole copy of it",
        ),
    ],
    ids=["missing", "truncated", "too long", "empty", "another"],
)
def test_wrong_batch(content: bytes | None, message: str, tmp_path: Path) -> None:
    for name in BATCHES:
        write(tmp_path, name, BATCHES[name])
    path = tmp_path / "data_batch_3.bin"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtefactError, match=f"^{message.format(folder=re.escape(str(tmp_path)), path=re.escape(str(path)))}$"):
        load_cifar10(tmp_path)


RIGHT, PLAIN = archive(BATCHES), plain_archive(BATCHES)
SPARSE = special("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})  # its map would be the next header
HEADERS = [at for at in range(0, len(PLAIN), 512) if PLAIN[at + 257 : at + 262] == b"ustar"]
BROKEN = r"{path} is truncated or no gzipped tar archive: .*; get a whole copy of it"
LACKS_TEST = r"{path} must hold data_batch_1\.bin, .*, test_batch\.bin, not lack test_batch\.bin; get a whole copy of it"
WRONG_SIZE = r"test_batch\.bin in {path} must hold 6,146 bytes, not %s; get a whole copy of it"
WRONG_ARCHIVES = {
    "empty": (b"", BROKEN),
    "a page": (b"<!DOCTYPE html>", BROKEN),
    "a plain tar": (PLAIN, BROKEN),
    "cut in the data": (RIGHT[: len(RIGHT) // 2], BROKEN),
    "altered": (RIGHT[:200] + bytes(20) + RIGHT[220:], r"(?:data_batch_1\.bin in )?{path} is .*; get a whole copy of it"),
    "no member": (archive({}), r"{path} must hold .*, not lack data_batch_1\.bin, .*; get a whole copy of it"),
    "a bad block": (flushed(PLAIN[:30000]) + b"\xff" * 100, BROKEN),
    "a bad checksum": (gzip.compress(PLAIN[:3000])[:-8] + bytes(8), BROKEN),
    "an endless name": (archive({"x": special("x", tarfile.GNUTYPE_LONGNAME, size=8**24), **BATCHES}), BROKEN),
    "a sparse member": (gzip.compress(plain_archive({"x": SPARSE, **BATCHES}, kind=tarfile.PAX_FORMAT)), BROKEN),
    "a member missing": (archive({name: BATCHES[name] for name in list(BATCHES)[:5]}), LACKS_TEST),
    "a folder": (archive({**BATCHES, "test_batch.bin": special("test_batch.bin", tarfile.DIRTYPE)}), LACKS_TEST),
    "a link": (
        archive({**BATCHES, "test_batch.bin": special("test_batch.bin", tarfile.SYMTYPE, linkname="data_batch_1.bin")}),
        LACKS_TEST,
    ),
    "a member cut": (archive({**BATCHES, "test_batch.bin": b"\3" * 6145}), WRONG_SIZE % "6,145"),
    "a huge member": (
        archive({**BATCHES, "test_batch.bin": special("test_batch.bin", size=8**11)}),
        WRONG_SIZE % "8,589,934,592",
    ),
    "a member altered": (
        archive({**BATCHES, "test_batch.bin": BATCHES["data_batch_1.bin"]}),
        r"test_batch\.bin in {path} is not the publisher's own file: SHA-256 must be \w{{64}}, not \w{{64}}; .*",
    ),
}


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize(("content", "message"), WRONG_ARCHIVES.values(), ids=WRONG_ARCHIVES)
def test_wrong_archive(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, ARCHIVE, content)
    with pytest.raises(ArtefactError, match=f"^{message.format(path=re.escape(str(path)))}$"):
        load_cifar10(tmp_path)


@pytest.mark.usefixtures("tiny_cifar10")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    zipped=st.booleans(),
    flips=st.lists(st.tuples(st.sampled_from(HEADERS), st.integers(0, 511), st.integers(1, 255)), max_size=3),
    end=st.integers(0, 2 * len(PLAIN)),
)
def test_archive_of_flipped_bytes(zipped: bool, flips: list[tuple[int, int, int]], end: int, tmp_path: Path) -> None:
    """Only the same images or `ArtefactError` comes out."""
    content = bytearray(RIGHT if zipped else PLAIN)
    for header, at, mask in flips:
        content[(header + at) % len(content)] ^= mask
    for header in HEADERS if not zipped else []:
        content[header + 148 : header + 156] = b" " * 8
        content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])  # so that the rest is read
    write(tmp_path, ARCHIVE, bytes(content[:end]) if zipped else gzip.compress(content[:end], 1))
    try:
        data = load_cifar10(tmp_path)
    except ArtefactError:
        return
    check(data)


@pytest.mark.usefixtures("tiny_cifar10")
def test_test_images_alone_need_only_their_batch(tmp_path: Path) -> None:
    write(tmp_path, "test_batch.bin", BATCHES["test_batch.bin"])
    write(tmp_path / "packed", ARCHIVE, archive(BATCHES))
    download_cifar10(tmp_path, [], test_only=True)  # from nowhere, since it is there
    for folder in (tmp_path, tmp_path / "packed"):
        test = open_test_images("cifar10", folder, tmp_path / "unused")
        assert np.array_equal(test.images, IMAGES[10:])
        assert test.labels.tolist() == LABELS[10:]
    with pytest.raises(ArtefactError, match=r"must hold data_batch_1\.bin or "):
        load_cifar10(tmp_path)


def test_the_real_cifar10() -> None:
    data = published("cifar10")
    assert (data.train.images.shape, data.test.images.shape) == ((50000, 32, 32, 3), (10000, 32, 32, 3))
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert data.train.images[0, 0, :2].tolist() == [[59, 62, 63], [43, 46, 45]]  # a frog


# Downloads.


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder that `mirror` serves."""
    write(tmp_path / "served", ARCHIVE, RIGHT)
    return tmp_path / "served"


@pytest.fixture
def mirror(served: Path) -> Iterator[str]:
    with serve(served) as url:
        yield url


@pytest.mark.usefixtures("tiny_cifar10")
def test_download(mirror: str, served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "cifar10"
    download_cifar10(folder, [mirror])
    assert [path.name for path in folder.iterdir()] == [ARCHIVE]
    check(load_cifar10(folder))
    (served / ARCHIVE).unlink()
    download_cifar10(folder, [mirror])  # what is there is not fetched again


@pytest.mark.usefixtures("tiny_cifar10")
def test_batches_spare_the_download(mirror: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for name, content in BATCHES.items():
        write(folder, name, content)
    download_cifar10(folder, [mirror])
    assert not (folder / ARCHIVE).exists()
    (folder / "test_batch.bin").unlink()
    download_cifar10(folder, [mirror])
    assert (folder / ARCHIVE).exists()


CANNOT = r"^cifar-10-binary\.tar\.gz of cifar10 cannot be downloaded \(http.*\); fetch it by hand and name its folder with --data$"


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize("content", [*(content for content, _ in WRONG_ARCHIVES.values()), None], ids=[*WRONG_ARCHIVES, "absent"])
def test_wrong_download_leaves_nothing(content: bytes | None, mirror: str, served: Path, tmp_path: Path) -> None:
    (served / ARCHIVE).unlink()
    if content is not None:
        write(served, ARCHIVE, content)
    with pytest.raises(ArtefactError, match=CANNOT):
        download_cifar10(tmp_path / "cache", [mirror])
    assert list((tmp_path / "cache").iterdir()) == []
