# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: arrays in .npz and IDX files, folders of images, names, and what is said of those that are none."""

import gzip
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnn_hw.datasets import Dataset, dataset_name, is_own_dataset, load_own_dataset, open_dataset
from bnn_hw.errors import ArtefactError, ToolError
from support.dataset_files import idx, write

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
NO_PIXELS = r"_images must have at least one row, column and channel, not the shape "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": GREY.astype(float)}, rf": train{IMAGES}\(9, 4, 5, 1\) float64"),
        ({"test_images": GREY[:3].astype(np.int64)}, rf": test{IMAGES}\(3, 4, 5, 1\) int64"),
        ({"train_images": GREY.reshape(9, 20)}, rf": train{IMAGES}\(9, 20\) uint8"),
        ({"test_images": COLOUR[:3, None]}, rf": test{IMAGES}\(3, 1, 4, 5, 3\) uint8"),
        ({"train_images": np.zeros((9, 0, 5), np.uint8)}, rf": train{NO_PIXELS}\(9, 0, 5, 1\)"),
        ({"test_images": np.zeros((3, 4, 5, 0), np.uint8)}, rf": test{NO_PIXELS}\(3, 4, 5, 0\)"),
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
    ids=range(17),
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


def test_classes_decide_order_and_which_folders_count(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
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
    rule = r".*{} must hold a folder {} with the pictures of that class; add it, or name the classes that count with --classes"
    refused(tmp_path, rule.format("train", "bird"), ("cat", "bird"))
    (tmp_path / "test" / "dog" / "0.png").unlink()
    (tmp_path / "test" / "dog").rmdir()
    refused(tmp_path, rule.format("test", "dog"))
    assert load_own_dataset(tmp_path, ("cat", "owl")).classes == 2


NO_PICTURE = r"{} cannot be read as a picture: {}; save it as PNG, or move it elsewhere"


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    path = tmp_path / "train/dog/1.png"
    whole = path.read_bytes()
    for content in (b"", b"no image", whole[:-30], whole[:40]):
        path.write_bytes(content)
        refused(tmp_path, NO_PICTURE.format(re.escape(str(path)), ".*"))


def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    refused(tmp_path, NO_PICTURE.format(r".*cat/0\.png", ".*decompression bomb.*"))


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    Image.fromarray(GREY[0, :3]).save(tmp_path / "test/owl/0.png")
    rule = r".*test/owl/0\.png must be of 4 rows and 5 columns as .*train/cat/0\.png, not 3 and 5"
    refused(tmp_path, rf"{rule}; scale all to one size, as ImageMagick does by mogrify -resize 5x4!")


def test_one_class_many_classes_and_no_images(tmp_path: Path) -> None:
    one = write_images(tmp_path / "one", GREY, ("cat",))
    refused(one, r".*one must have 2 to 256 classes, not 1")
    refused(write_images(tmp_path / "two", GREY, ("cat", "dog")), r"classes must differ, not dog, dog", ("dog", "dog"))
    for split in ("train", "test"):
        (tmp_path / "none" / split).mkdir(parents=True)
    refused(tmp_path / "none", r".*none must have 2 to 256 classes, not 0")
    (tmp_path / "many" / "test").mkdir(parents=True)
    for index in range(257):
        (tmp_path / "many" / "train" / str(index)).mkdir(parents=True)
    refused(tmp_path / "many", r".*many must have 2 to 256 classes, not 257")
    empty = write_images(tmp_path / "empty", GREY, ("cat", "dog"))
    for name in ("cat", "dog"):
        (empty / "test" / name / "0.png").unlink()
    refused(empty, r".*empty/test/cat must hold pictures of its class, not none; add some, or leave the class out with --classes")


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


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pictures", "pictures"),
        ("data/My Pictures (2)", "my-pictures-2"),
        ("mine.npz", "mine"),
        ("v1.2", "v1-2"),
        ("mnist", "mnist-own"),
        ("MNIST.npz", "mnist-own"),
        ("cifar10", "cifar10-own"),
        ("Früchte_äöü", "fruchte_aou"),
        ("2024", "data-2024"),
        ("猫", "own"),
        ("_-.", "own"),
        ("a" * 99, "a" * 64),
        ("7" * 99, "data-" + "7" * 59),
    ],
)
def test_a_data_set_is_named_after_its_folder(path: str, name: str) -> None:
    assert dataset_name(Path(path)) == name


def test_the_folder_here_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "pictures", GREY)
    monkeypatch.chdir(tmp_path / "pictures" / "train")
    assert load_own_dataset(Path("..")).name == "pictures"
    monkeypatch.chdir(tmp_path / "pictures")
    assert load_own_dataset(Path()).name == "pictures"


def test_blanks_are_no_part_of_names(tmp_path: Path) -> None:
    write_images(tmp_path, GREY)
    assert load_own_dataset(tmp_path, ["owl", " cat ", ""]).class_names == ("owl", "cat")
    refused(tmp_path, r"classes must differ, not cat, cat", ("cat", " cat"))


@pytest.mark.parametrize(
    ("classes", "names", "start"),
    [
        ((), ("1", "2", "3"), 1),
        (("a", "b", "c"), ("a", "b", "c"), 1),
        (("a", "b", "c", "d"), ("a", "b", "c", "d"), 0),  # of which a has no image
    ],
)
def test_labels_may_start_at_1(classes: tuple[str, ...], names: tuple[str, ...], start: int, tmp_path: Path) -> None:
    dataset = load_own_dataset(write_npz(tmp_path, train_labels=LABELS + 1, test_labels=LABELS[:3] + 1), classes)
    assert dataset.class_names == names
    assert dataset.train.labels.tolist() == (LABELS + 1 - start).tolist()
    assert dataset.notes == (
        (f"labels start at 1: class {names[0]} is label 1, and becomes 0",)
        if start
        else ("no training image is of class a", "no test image is of class a")
    )


def test_labels_with_a_0_start_at_0(tmp_path: Path) -> None:
    """A 0 among the test images alone counts too."""
    path = write_npz(tmp_path, train_labels=LABELS + 1)
    assert load_own_dataset(path).class_names == ("0", "1", "2", "3")
    refused(path, r".*own\.npz: train_labels\[2\] must be in 0\.\.2, not 3", ("a", "b", "c"))


def test_classes_without_images_are_told(tmp_path: Path) -> None:
    many = tuple(f"c{index}" for index in range(20))
    dataset = load_own_dataset(write_npz(tmp_path, test_labels=np.array([0, 1, 1])), many)
    assert dataset.notes == (
        "no training image is of class c3, c4, c5, c6, c7, c8, c9, c10 and 9 more",
        "no test image is of class c2, c3, c4, c5, c6, c7, c8, c9 and 10 more",
    )


FASHION = {
    "train-images-idx3-ubyte": idx(GREY),
    "train-labels-idx1-ubyte": idx(LABELS.astype(np.uint8)),
    "t10k-images-idx3-ubyte": idx(GREY[:3]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:3].astype(np.uint8)),
}


def write_idx(folder: Path, rename: Callable[[str], str] = str) -> Path:
    for name, content in FASHION.items():
        write(folder, rename(name), gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.mark.parametrize(
    "rename",
    [
        str,
        lambda name: f"{name}.gz",
        lambda name: f"emnist-letters-{name.replace('t10k', 'test')}.gz",
        lambda name: name.replace("-idx", ".idx"),
    ],
)
def test_idx_files(rename: Callable[[str], str], tmp_path: Path) -> None:
    write(tmp_path / "fashion", "readme.txt", b"")
    dataset = load_own_dataset(write_idx(tmp_path / "fashion", rename), ("shirt", "coat", "bag"))
    assert (dataset.name, dataset.class_names, dataset.notes) == ("fashion", ("shirt", "coat", "bag"), ())
    check(dataset, 3, GREY[..., None], LABELS.tolist(), GREY[:3, ..., None], [0, 1, 2])


def test_a_plain_idx_file_goes_before_its_gzipped_form(tmp_path: Path) -> None:
    write(write_idx(tmp_path), "train-images-idx3-ubyte.gz", gzip.compress(idx(255 - GREY)))
    assert np.array_equal(load_own_dataset(tmp_path).train.images[..., 0], GREY)


def test_hidden_idx_files_are_skipped(tmp_path: Path) -> None:
    write(write_idx(tmp_path, lambda name: f"emnist-{name}"), "._emnist-train-images-idx3-ubyte", b"\0\5\x16\7")
    assert load_own_dataset(tmp_path).classes == 3


def test_labels_of_qmnist_are_the_first_of_several_integers(tmp_path: Path) -> None:
    columns = np.stack([LABELS, LABELS + 300, -LABELS], 1).astype(">i4")
    for name, count in (("train", 9), ("test", 3)):
        write(tmp_path, f"qmnist-{name}-images-idx3-ubyte", idx(GREY[:count]))
        header = b"\0\0\x0c\2" + count.to_bytes(4, "big") + (3).to_bytes(4, "big")
        write(tmp_path, f"qmnist-{name}-labels-idx2-int", header + columns[:count].tobytes())
    assert load_own_dataset(tmp_path).train.labels.tolist() == LABELS.tolist()
    write(tmp_path, "qmnist-test-labels-idx2-int", header + columns[:2].tobytes())
    refused(tmp_path, r".*qmnist-test-labels-idx2-int must hold 48 bytes for shape \(3, 3\), not 36; get a whole copy of it")


def test_idx_files_of_several_data_sets_or_too_few_are_refused(tmp_path: Path) -> None:
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    refused(tmp_path, r".* must hold IDX files of train_images, train_labels, test_images, test_labels, not lack test_labels")
    write(tmp_path, "emnist-train-images-idx3-ubyte", idx(GREY))
    names = "train-images-idx3-ubyte and emnist-train-images-idx3-ubyte"
    refused(tmp_path, rf".* must hold the IDX files of one data set, not {names}; give each a folder of its own")


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    rule = r".* must be a folder of train/<class>/ and test/<class>/ with pictures, an \.npz file or a folder of IDX files"
    refused(tmp_path, rule)
    refused(tmp_path / "absent", rule)
    write_images(tmp_path / "deeper", GREY)
    refused(tmp_path, rf"{rule}; name .*/deeper for the pictures in it")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one that is only looked into for advice, this is nothing to tell."""
    write_images(tmp_path / "mine", GREY)

    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name in ("dog", "lost+found"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    refused(tmp_path / "mine", r".*mine/train/dog cannot be read: .*Permission denied; make it readable, or name another one")
    (tmp_path / "data" / "lost+found").mkdir(parents=True)
    with pytest.raises(ArtefactError, match=r"^.*data must hold train-images-idx3-ubyte .* of mnist; name the folder with --data"):
        open_dataset("mnist", tmp_path / "data", tmp_path)
