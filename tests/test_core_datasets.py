# SPDX-License-Identifier: Apache-2.0
"""Data sets: IDX files right and wrong, MNIST in a folder, and downloads from a server of the test's own."""

import gzip
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw import datasets
from bnn_hw.datasets import download_mnist, load_dataset, load_mnist, read_idx
from bnn_hw.errors import ArtefactError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    """Returns an IDX file of unsigned bytes."""
    extents = b"".join(extent.to_bytes(4, "big") for extent in array.shape)
    return bytes([0, 0, 8, array.ndim]) + extents + array.tobytes()


FILES = {
    "train-images-idx3-ubyte": idx(IMAGES),
    "train-labels-idx1-ubyte": idx(np.array([7, 3], np.uint8)),
    "t10k-images-idx3-ubyte": idx(IMAGES[:1]),
    "t10k-labels-idx1-ubyte": idx(np.array([9], np.uint8)),
}


@pytest.fixture
def tiny_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `FILES` pass for MNIST."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(datasets, "_MNIST_SHA256", digests)


def write(folder: Path, name: str = "file-idx", content: bytes = FILES["train-images-idx3-ubyte"]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


# IDX files.


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for shape in ((24,), (4, 6), (2, 3, 4), (2, 3, 2, 2), (0, 3)):
        array = IMAGES.reshape(-1)[: int(np.prod(shape))].reshape(shape)
        found = read_idx(write(tmp_path, content=compress(idx(array))))
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)


def test_idx_digest_is_of_the_plain_content(tmp_path: Path) -> None:
    plain = idx(IMAGES)
    digest = hashlib.sha256(plain).hexdigest()
    for content in (plain, gzip.compress(plain, 1), gzip.compress(plain, 9)):
        assert np.array_equal(read_idx(write(tmp_path, content=content), digest), IMAGES)


PLAIN = idx(IMAGES)
ZIPPED = gzip.compress(PLAIN)
NO_IDX = r" must be an IDX file of unsigned bytes \(it starts 00 00 08\), not "
WRONG_SIZE = r" must hold {} bytes for shape {}, not {}; remove it and fetch it again"
BROKEN = r" (?:cannot be read: .*; remove it and fetch it again|is truncated.*; remove it and fetch it again)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", NO_IDX),
        (b"\0\0\x08", NO_IDX + "00 00 08"),
        (b"\0\0\x0d\x03" + PLAIN[4:], NO_IDX + "00 00 0d 03"),
        (b"\x01" + PLAIN[1:], NO_IDX + "01 00 08 03"),
        (b"<!DOCTYPE html>", NO_IDX + "3c 21 44 4f"),
        (PLAIN[:-1], WRONG_SIZE.format(40, r"\(2, 3, 4\)", 39)),
        (PLAIN + b"\0", WRONG_SIZE.format(40, r"\(2, 3, 4\)", 41)),
        (PLAIN[:9], WRONG_SIZE.format(16, r"\(2, 0, 0\)", 9)),
        (bytes([0, 0, 8, 1]) + b"\xff" * 4, WRONG_SIZE.format("4,294,967,303", r"\(4294967295,\)", 8)),
        (
            bytes([0, 0, 8, 4]) + b"\0\x01\0\0" * 4,
            r" must hold 18,446,744,073,709,551,636 bytes for shape .*, not 20; remove it and fetch it again",
        ),
        (bytes([0, 0, 8, 255]), r" must hold 1,024 bytes for shape .*, not 4; remove it and fetch it again"),
        (ZIPPED[:-12], BROKEN),
        (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], BROKEN),
        (ZIPPED[:3], BROKEN),
        (ZIPPED[:12] + bytes(byte ^ 255 for byte in ZIPPED[12:24]) + ZIPPED[24:], BROKEN),
        (ZIPPED + b"junk", BROKEN),
        (gzip.compress(b"other"), NO_IDX + "6f 74 68 65"),
    ],
    ids=range(17),
)
def test_idx_refuses(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content=content)
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))}{message}$"):
        read_idx(path)


def test_idx_altered(tmp_path: Path) -> None:
    path = write(tmp_path, content=PLAIN[:-1] + b"\xff")
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(path))} .*SHA-256.*{hashlib.sha256(PLAIN).hexdigest()}.*"):
        read_idx(path, hashlib.sha256(PLAIN).hexdigest())


def test_idx_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))} cannot be read: .*; remove it and fetch it again$"):
            read_idx(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(zipped=st.booleans(), flips=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 255)), min_size=1, max_size=3))
def test_idx_of_flipped_bytes(zipped: bool, flips: list[tuple[int, int]], tmp_path: Path) -> None:
    """Only the same array or `ArtefactError` comes out."""
    content = bytearray(gzip.compress(PLAIN, mtime=0) if zipped else PLAIN)
    for at, mask in flips:
        content[at % len(content)] ^= mask
    try:
        found = read_idx(write(tmp_path, content=bytes(content)), hashlib.sha256(PLAIN).hexdigest())
    except ArtefactError:
        return
    assert np.array_equal(found, IMAGES)


# MNIST in a folder.


@pytest.mark.usefixtures("tiny_mnist")
@pytest.mark.parametrize("place", ["", "mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_in_a_folder(place: str, suffix: str, tmp_path: Path) -> None:
    for name, content in FILES.items():
        write(tmp_path / place, name + suffix, gzip.compress(content) if suffix else content)
    for data in (load_mnist(tmp_path), load_dataset("mnist", tmp_path, tmp_path / "unused")):
        assert (data.name, data.classes) == ("mnist", 10)
        assert (data.train.images.shape, data.test.images.shape) == ((2, 3, 4, 1), (1, 3, 4, 1))
        assert np.array_equal(data.train.images[..., 0], IMAGES)
        assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([7, 3], [9])
    assert not (tmp_path / "unused").exists()


@pytest.mark.usefixtures("tiny_mnist")
def test_mnist_with_a_file_missing_or_altered(tmp_path: Path) -> None:
    for name, content in FILES.items():
        write(tmp_path, name, content)
    path = write(tmp_path, "t10k-labels-idx1-ubyte", idx(np.array([8], np.uint8)))
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))} .*SHA-256"):
        load_mnist(tmp_path)
    path.unlink()
    hint = "; name the folder with --data, or leave --data out to download$"
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(tmp_path))} must hold {path.name} or {path.name}\.gz{hint}"):
        load_mnist(tmp_path)


def test_another_data_set(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^data set must be one of mnist.*, not 'minst'$"):
        load_dataset("minst", None, tmp_path)


@pytest.mark.skipif("BNN_HW_DATA" not in os.environ, reason="BNN_HW_DATA does not name a folder that holds mnist/")
def test_the_real_mnist() -> None:
    data = load_mnist(Path(os.environ["BNN_HW_DATA"]))
    assert (data.train.images.shape, data.test.images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


# Downloads.


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Cut(BaseHTTPRequestHandler):
    """Promises more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"\x1f\x8b")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder that `mirror` serves, with the files compressed."""
    for name, content in FILES.items():
        write(tmp_path / "served", name + ".gz", gzip.compress(content))
    return tmp_path / "served"


@pytest.fixture
def mirror(served: Path) -> Iterator[str]:
    yield from serve(partial(_Quiet, directory=str(served)))


@pytest.fixture
def cut_mirror() -> Iterator[str]:
    yield from serve(_Cut)


@pytest.mark.usefixtures("tiny_mnist")
def test_download(mirror: str, served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "mnist"
    download_mnist(folder, [mirror])
    assert sorted(path.name for path in folder.iterdir()) == sorted(name + ".gz" for name in FILES)
    assert np.array_equal(load_mnist(folder).train.images[..., 0], IMAGES)
    for path in served.iterdir():
        path.unlink()
    download_mnist(folder, [mirror])  # what is there is not fetched again


@pytest.mark.usefixtures("tiny_mnist")
def test_download_takes_only_what_is_absent(mirror: str, tmp_path: Path) -> None:
    kept = write(tmp_path / "c", "train-images-idx3-ubyte", FILES["train-images-idx3-ubyte"])
    download_mnist(tmp_path / "c", [mirror])
    assert len(list((tmp_path / "c").iterdir())) == 4
    assert kept.exists()


@pytest.mark.usefixtures("tiny_mnist")
def test_load_downloads_to_the_cache(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download = partial(download_mnist, mirrors=[mirror])
    monkeypatch.setitem(datasets.DATASETS, "mnist", (load_mnist, download))
    assert load_dataset("mnist", None, tmp_path / "cache").test.labels.tolist() == [9]
    assert (tmp_path / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()


CANNOT = r"^train-images-idx3-ubyte\.gz cannot be downloaded \(http.*\); fetch it by hand and name its folder with --data$"


@pytest.mark.usefixtures("tiny_mnist")
@pytest.mark.parametrize(
    "content",
    [gzip.compress(idx(IMAGES[::-1])), ZIPPED[:-9], ZIPPED[:12] + bytes(12) + ZIPPED[24:], b"<html>not here</html>", b"", None],
    ids=["other images", "truncated", "altered", "a page", "empty", "absent"],
)
def test_wrong_download_leaves_nothing(content: bytes | None, mirror: str, served: Path, tmp_path: Path) -> None:
    (served / "train-images-idx3-ubyte.gz").unlink()
    if content is not None:
        write(served, "train-images-idx3-ubyte.gz", content)
    with pytest.raises(ArtefactError, match=CANNOT):
        download_mnist(tmp_path / "cache", [mirror])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("tiny_mnist")
def test_download_cut_short(cut_mirror: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=CANNOT):
        download_mnist(tmp_path / "cache", [cut_mirror])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("tiny_mnist")
def test_the_second_mirror_helps(mirror: str, tmp_path: Path) -> None:
    download_mnist(tmp_path / "cache", ["http://127.0.0.1:1/", mirror + "absent/", mirror])
    assert len(list((tmp_path / "cache").iterdir())) == 4


@pytest.mark.usefixtures("tiny_mnist")
def test_no_mirror_helps(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^train-images-idx3-ubyte\.gz cannot be downloaded \(http://127\.0\.0\.1:1/: "):
        download_mnist(tmp_path / "cache", ["http://127.0.0.1:1/"])
