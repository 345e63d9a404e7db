# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, and what --data may name."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnn_hw import datasets
from bnn_hw.datasets import DATASETS, load_dataset, mnist, open_dataset
from bnn_hw.errors import ArtefactError, UsageError
from support.dataset_files import idx, write

FIRST_FILES = {
    "mnist": "train-images-idx3-ubyte or train-images-idx3-ubyte.gz",
    "cifar10": "data_batch_1.bin or cifar-10-binary.tar.gz",
    "svhn": "train_32x32.mat",
}


def test_another_data_set(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^data set must be one of mnist, cifar10, svhn, not 'minst'$"):
        load_dataset("minst", None, tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_without_the_files(name: str, tmp_path: Path) -> None:
    rule = re.escape(f"{tmp_path} must hold {FIRST_FILES[name]} of {name}")
    with pytest.raises(ArtefactError, match=f"^{rule}; name the folder with --data, or leave --data out to download$"):
        load_dataset(name, tmp_path, tmp_path / "unused")
    assert list(tmp_path.iterdir()) == []


IMAGES = np.random.default_rng(1).integers(0, 256, (6, 4, 5), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def write_fashion(folder: Path) -> Path:
    """Writes other data under MNIST's names."""
    for name, count in (("train", 6), ("t10k", 3)):
        write(folder, f"{name}-images-idx3-ubyte.gz", gzip.compress(idx(IMAGES[:count])))
        write(folder, f"{name}-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS[:count])))
    return folder


def test_other_data_under_the_names_of_mnist(tmp_path: Path) -> None:
    """They are not taken for MNIST, nor is it advised to remove them; they are data of one's own when these are asked for."""
    folder = write_fashion(tmp_path / "mnist")
    for data in (folder, tmp_path):
        rule = r"train-images-idx3-ubyte\.gz is not the publisher's own file: SHA-256 must be ba891046\w+, not \w{64}"
        way_out = (
            r"Fashion-MNIST, KMNIST and others have files of the same names: give --own to take the folder as data of your own"
        )
        with pytest.raises(ArtefactError, match=rf"^.*{rule}; {way_out}, or leave --data out to download MNIST$"):
            open_dataset("mnist", data, tmp_path / "unused")
    own = open_dataset("mnist", folder, tmp_path / "unused", own=True)
    assert (own.name, own.class_names) == ("mnist-own", ("0", "1", "2"))
    assert np.array_equal(own.train.images[..., 0], IMAGES)
    named = open_dataset("cifar10", folder, tmp_path / "unused", own=True, classes=["shirt", "coat", "bag"])
    assert named.class_names == ("shirt", "coat", "bag")
    assert own.sha256 != named.sha256


def test_the_official_files_are_found_in_their_folder_and_in_the_one_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    folder = write_fashion(tmp_path / "mnist")
    digests = {path.stem: hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(mnist, "_SHA256", dict(sorted(digests.items(), reverse=True)))
    found = [open_dataset("mnist", data, tmp_path / "unused") for data in (folder, tmp_path)]
    assert {data.name for data in found} == {"mnist"}
    own = open_dataset("mnist", folder, tmp_path / "unused", own=True, classes=mnist.DIGITS)
    assert own.sha256 == found[0].sha256 == found[1].sha256


def test_an_npz_file_and_a_folder_of_pictures_are_ones_own(tmp_path: Path) -> None:
    arrays = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES[:3], "test_labels": LABELS[:3]}
    np.savez(tmp_path / "mine.npz", **arrays)
    for own in (False, True):
        assert open_dataset("mnist", tmp_path / "mine.npz", tmp_path, own=own).name == "mine"


def test_transparent_pictures_are_laid_on_the_background(tmp_path: Path) -> None:
    for number, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("LA", (4, 4), (50 * number, 0)).save(tmp_path / place / "0.png")
    for background, level in (("white", 255), ("black", 0)):
        data = open_dataset("mnist", tmp_path, tmp_path, background=background)
        assert (data.train.images == level).all()
        assert data.notes == (f"4 of 4 pictures have transparent parts, which are laid on {background} (--background)",)


def test_options_of_ones_own_data_need_such(tmp_path: Path) -> None:
    cache = tmp_path / "unused"
    rule = " goes with a data set of your own, "
    with pytest.raises(UsageError, match=f"^--own{rule}which --data must name$"):
        open_dataset("mnist", None, cache, own=True)
    with pytest.raises(UsageError, match=f"^--classes{rule}which --data must name$"):
        open_dataset("mnist", None, cache, classes=["a", "b"])
    with pytest.raises(UsageError, match=f"^--classes{rule}as which --own takes the IDX files in {re.escape(str(tmp_path))}$"):
        open_dataset("mnist", tmp_path, cache, classes=["a", "b"])


def test_what_a_folder_holds_instead_is_said(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path / "fashion")
    rule = rf"^{re.escape(str(folder))} must hold data_batch_1\.bin or cifar-10-binary\.tar\.gz of cifar10"
    with pytest.raises(
        ArtefactError, match=f"{rule}; give --own to take its IDX files as data of your own, or leave --data out to download$"
    ):
        open_dataset("cifar10", folder, tmp_path / "unused")


def test_a_file_that_is_damaged_in_the_cache_may_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is ours; in a folder of the user's it is not."""
    write_fashion(tmp_path / "cache" / "mnist")
    monkeypatch.setitem(datasets.DATASETS, "mnist", DATASETS["mnist"]._replace(download=lambda folder, **which: None))
    way_out = f"; remove {tmp_path / 'cache' / 'mnist'}, and the files are downloaded anew"
    with pytest.raises(ArtefactError, match=rf"SHA-256 must be .*{re.escape(way_out)}$"):
        open_dataset("mnist", None, tmp_path / "cache")
