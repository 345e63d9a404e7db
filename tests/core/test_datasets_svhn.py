# SPDX-License-Identifier: Apache-2.0
"""SVHN: MATLAB files, right and wrong, in a folder and from a server of the test's own."""

import hashlib
import importlib.metadata
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.datasets import download_svhn, load_svhn, open_test_images, svhn
from bnn_hw.errors import ArtefactError, ToolError
from support.dataset_files import serve, write

IMAGES = np.random.default_rng(32).integers(0, 256, (9, 32, 32, 3), np.uint8)
LABELS = [1, 9, 0, 2, 3, 0, 5, 6, 7]


def matlab(images: np.ndarray, labels: list[int], compressed: bool = True) -> bytes:
    """Returns a MATLAB file in the publisher's format, filled number by number."""
    x, y = np.zeros((32, 32, 3, len(images)), np.uint8), np.zeros((len(images), 1), np.uint8)
    for index, label in enumerate(labels):
        x[:, :, :, index] = images[index]
        y[index, 0] = 10 if label == 0 else label
    return saved({"X": x, "y": y}, compressed)


def saved(arrays: dict[str, object], compressed: bool = True) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


FILES = {
    "train_32x32.mat": matlab(IMAGES[:4], LABELS[:4]),
    "test_32x32.mat": matlab(IMAGES[4:6], LABELS[4:6], compressed=False),
    "extra_32x32.mat": matlab(IMAGES[6:], LABELS[6:]),
}
TRAIN = FILES["train_32x32.mat"]


def accept(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Makes these files pass for SVHN."""
    monkeypatch.setattr(svhn, "_SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


@pytest.fixture
def tiny_svhn(monkeypatch: pytest.MonkeyPatch) -> None:
    accept(monkeypatch, FILES)


@pytest.fixture
def no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_scipy(name: str) -> str:
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_scipy)


# In a folder.


@pytest.mark.usefixtures("tiny_svhn")
@pytest.mark.parametrize("place", ["", "svhn"])
def test_svhn_in_a_folder(place: str, tmp_path: Path) -> None:
    for name in ("train_32x32.mat", "test_32x32.mat"):
        write(tmp_path / place, name, FILES[name])
    data = load_svhn(tmp_path)
    assert (data.name, data.classes) == ("svhn", 10)
    for split, part in ((data.train, slice(0, 4)), (data.test, slice(4, 6))):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.uint8)
        assert split.images.flags.c_contiguous
        assert np.array_equal(split.images, IMAGES[part])
        assert split.labels.tolist() == LABELS[part]


@pytest.mark.usefixtures("tiny_svhn")
def test_extra_images_train_too(tmp_path: Path) -> None:
    for name, content in FILES.items():
        write(tmp_path / "svhn", name, content)
    data = load_svhn(tmp_path)
    assert np.array_equal(data.train.images, IMAGES[[0, 1, 2, 3, 6, 7, 8]])
    assert data.train.labels.tolist() == LABELS[:4] + LABELS[6:]
    assert data.test.labels.tolist() == LABELS[4:6]
    extra = write(tmp_path / "svhn", "extra_32x32.mat", TRAIN)
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(extra))} is not the publisher's own file: SHA-256 must be "):
        load_svhn(tmp_path)


@pytest.mark.usefixtures("tiny_svhn")
def test_svhn_with_a_file_missing(tmp_path: Path) -> None:
    write(tmp_path, "train_32x32.mat", TRAIN)
    hint = "; name the folder with --data, or leave --data out to download$"
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(tmp_path))} must hold test_32x32\.mat of svhn{hint}"):
        load_svhn(tmp_path)


X, Y = IMAGES[:2].transpose(1, 2, 3, 0), np.array([[1], [10]], np.uint8)
WRONG: dict[str, bytes] = {
    "empty": b"",
    "truncated": TRAIN[:-1],
    "longer": TRAIN + b"\0",
    "a page": b"<!DOCTYPE html>",
    "MATLAB 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF\r\n\x1a\n",
    "no X": saved({"y": Y}),
    "no y": saved({"X": X}),
    "images first": saved({"X": IMAGES[:2], "y": Y}),
    "labels in a row": saved({"X": X, "y": Y.T}),
    "a label missing": saved({"X": X, "y": Y[:1]}),
    "images of fractions": saved({"X": X / 255, "y": Y}),
    "a label 0": saved({"X": X, "y": Y - 1}),
    "a label 11": saved({"X": X, "y": Y + 1}),
    "the test images": FILES["test_32x32.mat"],
}


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("scipy must not read a file before its SHA-256 is right")

    monkeypatch.setattr(scipy.io, "loadmat", read)


ALTERED = r"is not the publisher's own file: SHA-256 must be \w{64}, not \w{64}; get a whole copy of it"


@pytest.mark.usefixtures("tiny_svhn", "no_reading")
@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_wrong_file(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, "train_32x32.mat", content)
    write(tmp_path, "test_32x32.mat", FILES["test_32x32.mat"])
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))} {ALTERED}$"):
        load_svhn(tmp_path)


@pytest.mark.usefixtures("tiny_svhn", "no_reading")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, len(TRAIN) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte(at: int, mask: int, tmp_path: Path) -> None:
    write(tmp_path, "train_32x32.mat", TRAIN[:at] + bytes([TRAIN[at] ^ mask]) + TRAIN[at + 1 :])
    write(tmp_path, "test_32x32.mat", FILES["test_32x32.mat"])
    with pytest.raises(ArtefactError, match=f"{ALTERED}$"):
        load_svhn(tmp_path)


@pytest.mark.usefixtures("no_scipy")
@pytest.mark.parametrize("use", [load_svhn, lambda folder: download_svhn(folder, ["http://127.0.0.1:1/"])])
def test_without_scipy(use: Callable[[Path], object], tmp_path: Path) -> None:
    hint = r'pip install -c constraints\.txt -e "\.\[train\]"'
    with pytest.raises(ToolError, match=f"^scipy, which reads the data set SVHN, is not installed: {hint}$"):
        use(tmp_path)


@pytest.mark.usefixtures("tiny_svhn")
def test_test_images_alone_need_only_their_file(tmp_path: Path) -> None:
    write(tmp_path, "test_32x32.mat", FILES["test_32x32.mat"])
    download_svhn(tmp_path, [], test_only=True)  # from nowhere, since it is there
    test = open_test_images("svhn", tmp_path, tmp_path / "unused")
    assert np.array_equal(test.images, IMAGES[4:6])
    assert test.labels.tolist() == LABELS[4:6]
    with pytest.raises(ArtefactError, match=r"must hold train_32x32\.mat of svhn"):
        load_svhn(tmp_path)


REAL = Path(os.environ.get("BNN_HW_DATA", ""), "svhn", "svhn_train_first1083.npz")


@pytest.mark.skipif(not REAL.is_file(), reason=f"BNN_HW_DATA names no folder that holds svhn/{REAL.name}")
def test_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 1,083 training images, put back into the publisher's format."""
    with np.load(REAL) as file:
        images, labels = file["X"], file["y"]
    train, test = matlab(images[:1000], labels[:1000].tolist()), matlab(images[1000:], labels[1000:].tolist())
    accept(monkeypatch, {"train_32x32.mat": train, "test_32x32.mat": test})
    write(tmp_path, "train_32x32.mat", train)
    write(tmp_path, "test_32x32.mat", test)
    data = load_svhn(tmp_path)
    assert (data.train.images.shape, data.test.images.shape) == ((1000, 32, 32, 3), (83, 32, 32, 3))
    assert np.array_equal(np.concatenate([data.train.images, data.test.images]), images)
    assert np.array_equal(np.concatenate([data.train.labels, data.test.labels]), labels)


# Downloads.


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder that `mirror` serves."""
    for name, content in FILES.items():
        write(tmp_path / "served", name, content)
    return tmp_path / "served"


@pytest.fixture
def mirror(served: Path) -> Iterator[str]:
    with serve(served) as url:
        yield url


@pytest.mark.usefixtures("tiny_svhn")
def test_download_leaves_extra_out(mirror: str, served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "svhn"
    download_svhn(folder, [mirror])
    assert sorted(path.name for path in folder.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    assert load_svhn(folder).train.labels.tolist() == LABELS[:4]
    for path in served.iterdir():
        path.unlink()
    download_svhn(folder, [mirror])  # what is there is not fetched again


@pytest.mark.usefixtures("tiny_svhn")
@pytest.mark.parametrize("content", [TRAIN[:-1], FILES["test_32x32.mat"], b"<html>not here</html>", b"", None])
def test_wrong_download_leaves_nothing(content: bytes | None, mirror: str, served: Path, tmp_path: Path) -> None:
    (served / "train_32x32.mat").unlink()
    if content is not None:
        write(served, "train_32x32.mat", content)
    cannot = r"^train_32x32\.mat of svhn cannot be downloaded \(http.*\); fetch it by hand and name its folder with --data$"
    with pytest.raises(ArtefactError, match=cannot):
        download_svhn(tmp_path / "cache", [mirror])
    assert list((tmp_path / "cache").iterdir()) == []
