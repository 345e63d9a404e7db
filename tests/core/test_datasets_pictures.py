# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures as people have them: each row of the table in docs/training.md is made here and has the outcome it names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from bnn_hw.datasets import Dataset, open_dataset
from bnn_hw.datasets.pixels import pixel_notes
from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import Input

SIZE = 12
CLASSES = ("lying", "standing")
SPLITS = {"train": 4, "test": 2}  # pictures of each class


def bars() -> np.ndarray:
    """Returns grey pictures, [pictures, rows, columns] uint8, in the order of the folders: bright bars that lie or stand."""
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 100, (len(CLASSES) * sum(SPLITS.values()), SIZE, SIZE), np.uint8)
    number = 0
    for count in SPLITS.values():
        for label in range(len(CLASSES)):
            for _ in range(count):
                picture = pictures[number]
                (picture.T if label else picture)[number % 9 + 1] = 230
                number += 1
    return pictures


BARS = bars()
TRAIN = SPLITS["train"] * len(CLASSES)


class Case(NamedTuple):
    """A folder as it is made; the pixels that must come of each of `BARS`; the part of the folder that --data names."""

    make: Callable[[Path], None]
    pixels: Callable[[np.ndarray], np.ndarray] = lambda grey: grey[..., None]
    named: str = ""


def folder(save: Callable[[np.ndarray, Path], None], suffix: str = ".png") -> Callable[[Path], None]:
    """Returns what makes a folder in which each picture is saved in that way."""

    def make(root: Path) -> None:
        number = 0
        for split, count in SPLITS.items():
            for name in CLASSES:
                (root / split / name).mkdir(parents=True)
                for index in range(count):
                    save(BARS[number], root / split / name / f"{index}{suffix}")
                    number += 1

    return make


def saved(picture: Callable[[np.ndarray], Image.Image], suffix: str = ".png", **options: Any) -> Callable[[Path], None]:
    return folder(lambda grey, path: picture(grey).save(path, **options), suffix)


GREY = saved(Image.fromarray)


def changed(change: Callable[[Path], object], make: Callable[[Path], None] = GREY) -> Callable[[Path], None]:
    """Returns what makes a good folder and then changes something in it."""

    def both(root: Path) -> None:
        make(root)
        change(root)

    return both


def coloured(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey, 255 - grey, grey // 2], 2)


def inks(grey: np.ndarray) -> Image.Image:
    """Returns a picture in black ink."""
    none = np.zeros_like(grey)
    return Image.fromarray(np.stack([none, none, none, 255 - grey], 2), "CMYK")


def bright(grey: np.ndarray) -> np.ndarray:
    return np.where(grey == 230, 255, 0).astype(np.uint8)


def shape_on_white(grey: np.ndarray) -> np.ndarray:
    return 255 - bright(grey)


def layered(grey: np.ndarray, level: int = 0) -> Image.Image:
    """Returns a shape of one level on nothing, in mode LA."""
    return Image.merge("LA", [Image.new("L", (SIZE, SIZE), level), Image.fromarray(bright(grey))])


def palette(grey: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    """Returns the bar in the second of two colours, in mode P."""
    image = Image.fromarray((grey == 230).astype(np.uint8))
    image.putpalette([level for colour in colours for level in colour])
    return image


def two_colours(grey: np.ndarray, colours: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(colours, np.uint8)[(grey == 230).astype(int)]


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, 2)


def turned(grey: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the left: a viewer turns the picture to the right
    Image.fromarray(grey).save(path, exif=exif)


def animated(grey: np.ndarray, path: Path) -> None:
    Image.fromarray(grey).save(path, save_all=True, append_images=[Image.fromarray(255 - grey)])


def bilevel_transparent(grey: np.ndarray, path: Path) -> None:
    """Writes what PNG optimizers make of black shapes on transparency: one bit a pixel, of which white is transparent."""
    Image.fromarray(shape_on_white(grey)).convert("1").save(path, transparency=1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damaged_in_class(root: Path) -> Path:
    return root / "train" / "standing" / "2.png"


def linked(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")
    (root / "train").mkdir()
    for name in CLASSES:
        (root / "train" / name).symlink_to(Path("..", "elsewhere", name))
    (root / "test" / "lying" / "0.png").rename(root / "kept.png")
    (root / "test" / "lying" / "0.png").symlink_to(Path("..", "..", "kept.png"))


def hidden(root: Path) -> None:
    for place in (root / "train", root / "test", root / "train" / "lying"):
        (place / ".ipynb_checkpoints").mkdir()
        (place / "__MACOSX").mkdir()
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
            (place / name).write_bytes(b"\0\5\x16\7")


def without_files(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()


def deeper(root: Path) -> None:
    for place in [*root.glob("*/*")]:
        files = [*place.iterdir()]
        (place / "2024").mkdir()
        for file in files:
            file.rename(place / "2024" / file.name)


def loose(root: Path) -> None:
    for file in root.glob("train/lying/*"):
        file.rename(root / "train" / f"lying-{file.name}")


def without(place: Path) -> None:
    without_files(place)
    place.rmdir()


def other_class(place: Path) -> None:
    place.mkdir()
    Image.fromarray(BARS[0]).save(place / "0.png")


def flat(root: Path) -> None:
    for name in CLASSES:
        (root / "train" / name).rename(root / name)
        without(root / "test" / name)
    (root / "train").rmdir()
    (root / "test").rmdir()


def mixed(root: Path) -> None:
    Image.fromarray(coloured(BARS[0])).save(root / "train" / "lying" / "0.png")


def one_shape(root: Path) -> None:
    without(root / "train" / "standing")
    without(root / "test" / "standing")


def dimmed(grey: np.ndarray) -> np.ndarray:
    """Returns those pictures darker whose first pixel is dark."""
    return grey // 4 if grey[0, 0] < 50 else grey


RED, BLUE = (255, 0, 0), (0, 0, 255)
GREYS = [(0, 0, 0), (128, 128, 128)]

CASES = {
    "grey (mode L)": Case(GREY),
    "black and white (1)": Case(saved(lambda a: Image.fromarray(bright(a)).convert("1")), lambda a: bright(a)[..., None]),
    "colours (RGB)": Case(saved(lambda a: Image.fromarray(coloured(a))), coloured),
    "a palette of colours (P)": Case(saved(lambda a: palette(a, [RED, BLUE])), lambda a: two_colours(a, [RED, BLUE])),
    "a palette of greys (P)": Case(saved(lambda a: palette(a, GREYS)), lambda a: two_colours(a, GREYS)[..., :1]),
    "inks (CMYK)": Case(saved(inks, ".tif"), rgb),
    "black shapes on transparency (RGBA)": Case(saved(lambda a: layered(a).convert("RGBA")), lambda a: rgb(shape_on_white(a))),
    "the same in grey (LA)": Case(saved(layered), lambda a: shape_on_white(a)[..., None]),
    "the same with a palette (P)": Case(
        saved(lambda a: palette(a, [RED, GREYS[0]]), transparency=0), lambda a: shape_on_white(a)[..., None]
    ),
    "the same in one bit a pixel (1)": Case(folder(bilevel_transparent), lambda a: shape_on_white(a)[..., None]),
    "one grey is transparent (L)": Case(
        saved(lambda a: Image.fromarray(np.where(a == 230, a, 7).astype(np.uint8)), transparency=7),
        lambda a: np.where(a == 230, a, 255).astype(np.uint8)[..., None],
    ),
    "one colour is transparent (RGB)": Case(
        saved(lambda a: Image.fromarray(two_colours(a, [RED, BLUE])), transparency=RED),
        lambda a: two_colours(a, [(255, 255, 255), BLUE]),
    ),
    "white shapes on transparency": Case(saved(lambda a: layered(a, 255))),
    "RGBA of which nothing is transparent": Case(saved(lambda a: Image.fromarray(coloured(a)).convert("RGBA")), coloured),
    "16 bits a pixel (I;16)": Case(saved(lambda a: Image.fromarray(a.astype(np.uint16) * 257))),
    "16 bits from a camera of 12": Case(saved(lambda a: Image.fromarray(a.astype(np.uint16) * 16)), lambda a: (a >> 4)[..., None]),
    "real numbers (F)": Case(saved(lambda a: Image.fromarray(a.astype(np.float32)), ".tif")),
    "grey among colours": Case(changed(mixed), lambda a: coloured(a) if np.array_equal(a, BARS[0]) else rgb(a)),
    "a turned camera (EXIF)": Case(folder(turned), lambda a: np.rot90(a, -1)[..., None]),
    "GIF": Case(saved(Image.fromarray, ".gif")),
    "GIF that moves": Case(folder(animated, ".gif")),
    "WebP without losses": Case(saved(lambda a: Image.fromarray(coloured(a)), ".webp", lossless=True), coloured),
    "TIFF": Case(saved(Image.fromarray, ".tiff")),
    "upper-case suffixes": Case(saved(Image.fromarray, ".PNG")),
    "hidden files and folders, `__MACOSX`, `Thumbs.db`, `desktop.ini`": Case(changed(hidden)),
    "links to files and folders": Case(changed(linked)),
    "a link that leads nowhere": Case(changed(lambda root: (root / "train" / "lying" / "9.png").symlink_to("absent.png"))),
    "a link that leads back to itself": Case(changed(lambda root: (root / "train" / "more").symlink_to("more"))),
    "a link to the folder above": Case(changed(lambda root: (root / "train" / "lying" / "up").symlink_to(".."))),
    "a class without pictures": Case(changed(lambda root: without_files(root / "train" / "standing"))),
    "a class that only train has": Case(changed(lambda root: other_class(root / "train" / "leaning"))),
    "a class that only test has": Case(changed(lambda root: other_class(root / "test" / "leaning"))),
    "one class": Case(changed(one_shape)),
    "no folder test": Case(changed(lambda root: (root / "test").rename(root / "tests"))),
    "pictures one folder deeper": Case(changed(deeper)),
    "pictures in no class": Case(changed(loose)),
    "a whole data set one folder deeper": Case(lambda root: GREY(root / "pictures")),
    "`--data pictures/train`": Case(GREY, named="train"),
    "classes without train and test": Case(changed(flat)),
    "pictures of several sizes": Case(changed(lambda root: Image.fromarray(BARS[0, :9]).save(root / "test" / "lying" / "1.png"))),
    "a file that was cut short": Case(changed(lambda root: cut(damaged_in_class(root)))),
    "a file of no bytes": Case(changed(lambda root: damaged_in_class(root).write_bytes(b""))),
    "another file with a picture's name": Case(changed(lambda root: damaged_in_class(root).write_text("<html>"))),
    "a file of another kind": Case(changed(lambda root: (root / "train" / "lying" / "IMG_1.HEIC").write_bytes(b"ftypheic"))),
    "dark pictures, for bits": Case(saved(lambda a: Image.fromarray(a // 4))),
    "pixels of 0 and 1, for bits": Case(saved(lambda a: Image.fromarray((a == 230).astype(np.uint8)))),
    "some dark pictures, for bits": Case(saved(lambda a: Image.fromarray(dimmed(a))), lambda a: dimmed(a)[..., None]),
}


def table() -> dict[str, str]:
    """Returns the table's rows: a folder and its outcome."""
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    _, _, rows = text.partition("\n| pictures | what comes of them |\n|---|---|\n")
    return dict(row.strip("| ").split(" | ") for row in rows.partition("\n\n")[0].splitlines())


TABLE = table()


def test_the_table_and_the_folders_are_the_same() -> None:
    assert list(TABLE) == list(CASES)


def outcome(path: Path, *, bits: bool) -> tuple[Dataset | None, str]:
    """Returns what is read of a folder, with what is told of it, or nothing and why it is refused."""
    try:
        dataset = open_dataset("mnist", path, path / "unused")
        notes = pixel_notes(dataset, Input((SIZE, SIZE, 1), "bit", 128)) if bits else ()
    except ArtefactError as error:
        return None, str(error)
    return dataset, " ".join((*dataset.notes, *notes))


@pytest.mark.parametrize("row", CASES)
def test_a_folder_of_pictures_comes_to_what_the_table_says(row: str, tmp_path: Path) -> None:
    case, root = CASES[row], tmp_path / "mine"
    case.make(root)
    dataset, told = outcome(root / case.named, bits=row.endswith("for bits"))
    if dataset is None:
        said = re.fullmatch(r"refused: `(.+)`", TABLE[row])
        assert said, told
        assert said[1] in told
        return
    shape = "x".join(map(str, dataset.train.images.shape[1:]))
    said = re.fullmatch(rf"read as {shape}(?:, told: `(.+)`)?", TABLE[row])
    assert said, (shape, told)
    assert said[1] in told if said[1] else not told
    assert (dataset.name, dataset.class_names, dataset.train.labels.tolist()) == ("mine", CLASSES, [0] * 4 + [1] * 4)
    right = np.stack([case.pixels(grey) for grey in BARS])
    assert np.array_equal(dataset.train.images, right[:TRAIN])
    assert np.array_equal(dataset.test.images, right[TRAIN:])
