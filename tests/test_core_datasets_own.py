# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: arrays in an .npz file, folders of images, and what is said of those that are none."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnn_hw.datasets import Dataset, is_own_dataset, load_own_dataset
from bnn_hw.errors import ArtefactError, ToolError

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (9, 4, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (9, 4, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1, 2])


def write_npz(folder: Path, *without: str, **changes: Any) -> Path:
    """Writes a good file, but for changes."""
    arrays = {"train_images": GREY, "train_labels": LABELS, "test_images": GREY[:3], "test_labels": LABELS[:3], **changes}
    path = folder / "own.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if name not in without})
    return path


def write_images(folder: Path, images: np.ndarray, classes: tuple[str, ...] = ("cat", "dog", "owl"), suffix: str = "png") -> Path:
    """Writes a folder whose images are numbered: three of each class that train, and the first of these for the test."""
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(images[3 * label + index]).save(folder / split / name / f"{index}.{suffix}")
    return folder


def refused(path: Path, message: str, classes: tuple[str, ...] = ()) -> None:
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        load_own_dataset(path, classes)


def check(dataset: Dataset, classes: int, train: np.ndarray, labels: list[int], test: np.ndarray, test_labels: list[int]) -> None:
    assert dataset.classes == classes
    for split, images, truths in ((dataset.train, train, labels), (dataset.test, test, test_labels)):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.uint8)
        assert np.array_equal(split.images, images)
        assert split.labels.tolist() == truths


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint16"])
def test_arrays(dtype: str, tmp_path: Path) -> None:
    labels = LABELS.astype(dtype)
    path = write_npz(tmp_path, train_labels=labels, test_labels=labels[:3])
    dataset = load_own_dataset(path)
    assert dataset.name == "own"
    check(dataset, 3, GREY[..., None], LABELS.tolist(), GREY[:3, ..., None], [0, 1, 2])


def test_arrays_in_colour_and_of_more_classes_than_are_there(tmp_path: Path) -> None:
    path = write_npz(tmp_path, train_images=COLOUR, test_images=COLOUR[:3])
    check(load_own_dataset(path, ["a", "b", "c", "d"]), 4, COLOUR, LABELS.tolist(), COLOUR[:3], [0, 1, 2])


def test_the_greatest_label_may_be_in_the_test_images(tmp_path: Path) -> None:
    assert load_own_dataset(write_npz(tmp_path, test_labels=np.array([0, 7, 1]))).classes == 8


ARRAYS = r"must be an \.npz file of train_images, train_labels, test_images and test_labels: "


@pytest.mark.parametrize("missing", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_missing_array_is_named(missing: str, tmp_path: Path) -> None:
    refused(write_npz(tmp_path, missing), rf".*own\.npz {ARRAYS}.*{missing} .*")


def _text(path: Path) -> None:
    path.write_text("cat, dog")


def _npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, GREY)


def _objects(path: Path) -> None:
    write_npz(path.parent, train_labels=np.array([{}] * 9, object))


def _cut(path: Path) -> None:
    write_npz(path.parent)
    path.write_bytes(path.read_bytes()[:-30])


def _damaged(path: Path) -> None:
    write_npz(path.parent)
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)


def _raw_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            archive.writestr(name, b"bytes")


@pytest.mark.parametrize("write", [_text, _npy, _objects, _cut, _damaged, lambda path: path.touch()])
def test_another_file_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "own.npz")
    refused(tmp_path / "own.npz", rf".*own\.npz {ARRAYS}.*")


def test_members_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    _raw_members(tmp_path / "own.npz")
    refused(tmp_path / "own.npz", r".*own\.npz: train_images must be .* uint8, not \(\) \|S5")


IMAGES = r"_images must be \[images, rows, columns\(, channels\)\] uint8, not "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": GREY.astype(float)}, rf": train{IMAGES}\(9, 4, 5, 1\) float64"),
        ({"test_images": GREY[:3].astype(np.int64)}, rf": test{IMAGES}\(3, 4, 5, 1\) int64"),
        ({"train_images": GREY.reshape(9, 20)}, rf": train{IMAGES}\(9, 20\) uint8"),
        ({"test_images": COLOUR[:3, None]}, rf": test{IMAGES}\(3, 1, 4, 5, 3\) uint8"),
        ({"train_labels": LABELS[:8]}, r": train_labels must be \(9,\) integers, not \(8,\) int64"),
        ({"train_labels": LABELS[:, None]}, r": train_labels must be \(9,\) integers, not \(9, 1\) int64"),
        ({"test_labels": np.int64(0)}, r": test_labels must be \(3,\) integers, not \(\) int64"),
        ({"train_labels": LABELS.astype(float)}, r": train_labels must be \(9,\) integers, not \(9,\) float64"),
        ({"test_labels": np.array(["a", "b", "c"])}, r": test_labels must be \(3,\) integers, not \(3,\) <U1"),
        ({"test_labels": np.array([0, -1, 1])}, r": test_labels\[1\] must be in 0\.\.2, not -1"),
        ({"train_labels": LABELS * 128}, r" must have 2 to 256 classes, not 257"),
        ({"train_labels": LABELS * 0, "test_labels": LABELS[:3] * 0}, r" must have 2 to 256 classes, not 1"),
        ({"test_images": GREY[:0], "test_labels": LABELS[:0]}, r" has no images in test"),
        ({"train_images": GREY[:0], "train_labels": LABELS[:0]}, r" has no images in train"),
        (
            {"test_images": COLOUR[:3]},
            r": test images must be \(4, 5, 1\) as those that train, not \(4, 5, 3\)",
        ),
    ],
    ids=range(15),
)
def test_a_wrong_array_is_named(changes: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    refused(write_npz(tmp_path, **changes), rf".*own\.npz{message}")


def test_labels_must_be_of_the_classes_given(tmp_path: Path) -> None:
    path = write_npz(tmp_path)
    refused(path, r".*own\.npz: train_labels\[2\] must be in 0\.\.1, not 2", ("a", "b"))
    refused(path, r"classes must differ, not a, b, a", ("a", "b", "a"))


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "pgm"])
def test_grey_images(suffix: str, tmp_path: Path) -> None:
    dataset = load_own_dataset(write_images(tmp_path / "pictures", GREY, suffix=suffix))
    assert dataset.name == "pictures"
    check(dataset, 3, GREY[..., None], [0, 0, 0, 1, 1, 1, 2, 2, 2], GREY[::3, ..., None], [0, 1, 2])


@pytest.mark.parametrize("suffix", ["png", "ppm", "bmp"])
def test_images_in_colour(suffix: str, tmp_path: Path) -> None:
    dataset = load_own_dataset(write_images(tmp_path / "pictures", COLOUR, suffix=suffix))
    check(dataset, 3, COLOUR, [0, 0, 0, 1, 1, 1, 2, 2, 2], COLOUR[::3], [0, 1, 2])


def test_lossy_images_are_near(tmp_path: Path) -> None:
    flat = np.broadcast_to(RNG.integers(0, 256, (9, 1, 1), np.uint8), (9, 16, 16)).copy()
    dataset = load_own_dataset(write_images(tmp_path, flat, suffix="jpg"))
    assert dataset.train.images.shape == (9, 16, 16, 1)
    assert np.abs(dataset.train.images[..., 0].astype(int) - flat).max() <= 3


def test_images_of_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    """Pillow's own conversion cuts them off at 255."""
    deep = RNG.integers(0, 1 << 16, (9, 4, 5), np.uint16)
    dataset = load_own_dataset(write_images(tmp_path, deep))
    assert np.array_equal(dataset.train.images, (deep >> 8)[..., None])


def test_transparency_and_palettes(tmp_path: Path) -> None:
    write_images(tmp_path, COLOUR)
    Image.fromarray(np.concatenate([COLOUR[0], COLOUR[1][..., :1]], 2)).save(tmp_path / "train/cat/0.png")
    palette = Image.fromarray(COLOUR[1]).quantize(64)  # of 20 pixels, so that none changes
    palette.save(tmp_path / "train/cat/1.png")
    images = load_own_dataset(tmp_path).train.images
    assert np.array_equal(images[0], COLOUR[0])
    assert np.array_equal(images[1], np.asarray(palette.convert("RGB")))


def test_classes_decide_order_and_which_folders_count(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "list.csv").write_text("not a class")
    dataset = load_own_dataset(tmp_path, ["owl", "cat"])
    check(dataset, 2, GREY[[6, 7, 8, 0, 1, 2], ..., None], [0, 0, 0, 1, 1, 1], GREY[[6, 0], ..., None], [0, 1])
    assert load_own_dataset(tmp_path).classes == 3


def test_files_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    (tmp_path / "train/cat/0.png").rename(tmp_path / "train/cat/z.png")
    assert np.array_equal(load_own_dataset(tmp_path).train.images[:3, ..., 0], GREY[[1, 2, 0]])


def test_a_missing_class_folder_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    folder = r".*train must hold a folder {} with the images of that class"
    refused(tmp_path, folder.format("bird"), ("cat", "bird"))
    (tmp_path / "test" / "dog" / "0.png").unlink()
    (tmp_path / "test" / "dog").rmdir()
    refused(tmp_path, r".*test must hold a folder dog with the images of that class")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    path = tmp_path / "train/dog/1.png"
    whole = path.read_bytes()
    for content in (b"", b"no image", whole[:-30], whole[:40]):
        path.write_bytes(content)
        refused(tmp_path, rf"{re.escape(str(path))} is no image: .*")


def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    refused(tmp_path, r".*cat/0\.png is no image: .*decompression bomb.*")


def test_an_image_of_another_size_or_depth_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    Image.fromarray(GREY[0, :3]).save(tmp_path / "train/owl/0.png")
    refused(tmp_path, r".*owl/0\.png must be 4x5x1 as the first image, not 3x5x1")
    Image.fromarray(COLOUR[0]).save(tmp_path / "train/owl/0.png")
    refused(tmp_path, r".*owl/0\.png must be 4x5x1 as the first image, not 4x5x3")
    Image.fromarray(GREY[6]).save(tmp_path / "train/owl/0.png")
    for name in ("cat", "dog", "owl"):
        Image.fromarray(COLOUR[0]).save(tmp_path / "test" / name / "0.png")
    refused(tmp_path, r".*: test images must be \(4, 5, 1\) as those that train, not \(4, 5, 3\)")


def test_one_class_many_classes_and_no_images(tmp_path: Path) -> None:
    one = write_images(tmp_path / "one", GREY, ("cat",))
    refused(one, r".*one must have 2 to 256 classes, not 1")
    refused(write_images(tmp_path / "two", GREY, ("cat", "dog")), r"classes must differ, not dog, dog", ("dog", "dog"))
    (tmp_path / "none" / "train").mkdir(parents=True)
    refused(tmp_path / "none", r".*none must have 2 to 256 classes, not 0")
    for index in range(257):
        (tmp_path / "many" / "train" / str(index)).mkdir(parents=True)
    refused(tmp_path / "many", r".*many must have 2 to 256 classes, not 257")
    empty = write_images(tmp_path / "empty", GREY, ("cat", "dog"))
    for name in ("cat", "dog"):
        (empty / "test" / name / "0.png").unlink()
    refused(empty, r".*empty has no images in test")


def test_without_pillow_images_are_refused_and_arrays_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn_hw.tools.importlib.metadata.version", _absent)
    with pytest.raises(ToolError, match=r"^pillow, which reads images of your own, is not installed: pip install .*\[train\]"):
        load_own_dataset(write_images(tmp_path / "pictures", GREY))
    assert load_own_dataset(write_npz(tmp_path)).classes == 3


def _absent(name: str) -> str:
    import importlib.metadata

    raise importlib.metadata.PackageNotFoundError(name)


def test_what_counts_as_ones_own(tmp_path: Path) -> None:
    """The folder of a publisher's files has no folder `train`."""
    assert is_own_dataset(write_npz(tmp_path))
    assert not is_own_dataset(tmp_path)
    (tmp_path / "train").mkdir()
    assert is_own_dataset(tmp_path)
    assert not is_own_dataset(tmp_path / "absent")
