# SPDX-License-Identifier: Apache-2.0
"""MNIST in a folder, and downloads from a server of the test's own."""

import gzip
import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bnn_hw import datasets
from bnn_hw.datasets import download_mnist, load_dataset, load_mnist, mnist, open_dataset, open_test_images
from bnn_hw.errors import ArtefactError
from support.dataset_files import idx, published, serve, serve_cut, write

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
ZIPPED = gzip.compress(idx(IMAGES))
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
    monkeypatch.setattr(mnist, "_SHA256", digests)


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
    hint = " of mnist; name the folder with --data, or leave --data out to download$"
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(tmp_path))} must hold {path.name} or {path.name}\.gz{hint}"):
        load_mnist(tmp_path)


def test_the_real_mnist() -> None:
    data = published("mnist")
    assert (data.train.images.shape, data.test.images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


# Downloads.


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder that `mirror` serves, with the files compressed."""
    for name, content in FILES.items():
        write(tmp_path / "served", name + ".gz", gzip.compress(content))
    return tmp_path / "served"


@pytest.fixture
def mirror(served: Path) -> Iterator[str]:
    with serve(served) as url:
        yield url


@pytest.fixture
def cut_mirror() -> Iterator[str]:
    with serve_cut() as url:
        yield url


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
    monkeypatch.setitem(datasets.DATASETS, "mnist", datasets.DATASETS["mnist"]._replace(download=download))
    assert load_dataset("mnist", None, tmp_path / "cache").test.labels.tolist() == [9]
    assert (tmp_path / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()


@pytest.mark.usefixtures("tiny_mnist")
def test_test_images_alone_need_only_their_files(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download = partial(download_mnist, mirrors=[mirror])
    monkeypatch.setitem(datasets.DATASETS, "mnist", datasets.DATASETS["mnist"]._replace(download=download))
    test = open_test_images("mnist", None, tmp_path)
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == [
        f"t10k-{what}.gz" for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    assert (test.images[..., 0].tolist(), test.labels.tolist()) == (IMAGES[:1].tolist(), [9])
    assert open_test_images("mnist", tmp_path, tmp_path / "unused").labels.tolist() == [9]
    with pytest.raises(ArtefactError, match="must hold train-images-idx3-ubyte "):
        open_dataset("mnist", tmp_path, tmp_path / "unused")


CANNOT = r"^train-images-idx3-ubyte\.gz of mnist cannot be downloaded \(http.*\); fetch it by hand and name its folder with --data$"


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
    with pytest.raises(
        ArtefactError, match=r"^train-images-idx3-ubyte\.gz of mnist cannot be downloaded \(http://127\.0\.0\.1:1/: "
    ):
        download_mnist(tmp_path / "cache", ["http://127.0.0.1:1/"])
