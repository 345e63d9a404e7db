# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures: a folder a class below train, and the same below test."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Split
from bnn_hw.datasets.listing import entries
from bnn_hw.datasets.picture import SUFFIXES, Picture, read_pictures
from bnn_hw.errors import ArtefactError

__all__ = ["class_folders", "is_picture", "read_picture_folder", "visible"]

_SPLITS: Final = ("train", "test")
_DARK_BITS: Final = 14  # 16-bit pictures that use at most this many bits get a note


def visible(folder: Path) -> list[Path]:
    """Returns the `entries` of a folder. Raises `ArtefactError` for a link that leads nowhere too."""
    found = entries(folder)
    for entry in found:
        if not entry.is_file() and not entry.is_dir():
            raise ArtefactError(f"{entry} must be a file or a folder, not a link that leads nowhere; mend it or move it elsewhere")
    return found


def is_picture(path: Path) -> bool:
    """Returns whether a file's name ends as a picture's."""
    return path.suffix.lower() in SUFFIXES


def class_folders(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Returns the names of the classes that have a folder below `path`/train or `path`/test, sorted.

    Raises `ArtefactError` where one of these two is absent, and for a picture that lies outside the folders of classes.
    """
    path = Path(path)
    names = set()
    for split in _SPLITS:
        if not (path / split).is_dir():
            raise ArtefactError(f"{path} must hold train/<class>/ and test/<class>/ with pictures, not lack {split}")
        for entry in visible(path / split):
            if entry.is_dir():
                names.add(entry.name)
            elif is_picture(entry):
                raise ArtefactError(f"{entry} must lie in the folder of its class, {path / split}/<class>/; move it there")
    return tuple(sorted(names))


def read_picture_folder(
    path: str | os.PathLike[str], classes: Sequence[str], background: str
) -> tuple[Split, Split, tuple[str, ...]]:
    """Returns the pictures below `path`/train and `path`/test, class by class and in the order of their names, and notes.

    Labels are the places in `classes`. Raises `ArtefactError` naming a class without pictures, a file that is not a picture, and
    a picture of another size; `read_pictures` says what else it refuses.
    """
    path = Path(path)
    folders = [path / split / name for split in _SPLITS for name in classes]
    files = [_files(folder) for folder in folders]
    paths = [file for those in files for file in those]
    pictures = read_pictures(paths, background)
    _check_sizes(paths, pictures)
    images = _stacked(pictures)
    labels = np.concatenate([np.full(len(those), place % len(classes), np.uint8) for place, those in enumerate(files)])
    train = sum(map(len, files[: len(classes)]))
    return Split(images[:train], labels[:train]), Split(images[train:], labels[train:]), _notes(pictures, background)


def _files(folder: Path) -> list[Path]:
    """Returns the picture files in the folder of a class."""
    if not folder.is_dir():
        raise ArtefactError(
            f"{folder.parent} must hold a folder {folder.name} with the pictures of that class; "
            "add it, or name the classes that count with --classes"
        )
    files = visible(folder)
    for file in files:
        if file.is_dir():
            raise ArtefactError(f"{file} is a folder in that of a class; pictures must lie in {folder} itself, so move them there")
        if not is_picture(file):
            raise ArtefactError(f"{file} must be a picture ({' '.join(SUFFIXES)}); save it as one, or move it elsewhere")
    if not files:
        raise ArtefactError(f"{folder} must hold pictures of its class, not none; add some, or leave the class out with --classes")
    return files


def _check_sizes(paths: Sequence[Path], pictures: Sequence[Picture]) -> None:
    size = pictures[0].pixels.shape[:2]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.pixels.shape[:2] != size:
            raise ArtefactError(
                f"{path} must be of {size[0]} rows and {size[1]} columns as {paths[0]}, not {picture.pixels.shape[0]} and "
                f"{picture.pixels.shape[1]}; scale all to one size, as ImageMagick does by mogrify -resize {size[1]}x{size[0]}!"
            )


def _stacked(pictures: Sequence[Picture]) -> np.ndarray:
    """Returns pictures of one size as [pictures, rows, columns, channels] uint8; grey ones among others get three channels."""
    channels = max(picture.pixels.shape[2] for picture in pictures)
    images = np.empty((len(pictures), *pictures[0].pixels.shape[:2], channels), np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:] = picture.pixels
    return images


def _notes(pictures: Sequence[Picture], background: str) -> tuple[str, ...]:
    """Returns the changes to pictures that their owner may not expect, a sentence each."""
    count = len(pictures)
    transparent = sum(picture.transparent for picture in pictures)
    turned = sum(picture.turned for picture in pictures)
    grey = sum(picture.pixels.shape[2] == 1 for picture in pictures)
    greatest = max(picture.greatest for picture in pictures)
    bits = greatest.bit_length()
    notes = (
        (
            transparent,
            f"{transparent:,} of {count:,} pictures have transparent parts, which are laid on {background} (--background)",
        ),
        (turned, f"{turned:,} of {count:,} pictures are turned as their EXIF data say"),
        (grey % count, f"{grey:,} of {count:,} pictures are grey and read as coloured, since the others are"),
        (
            0 < bits <= _DARK_BITS,
            f"pictures of 16 bits a pixel go up to {greatest:,} only, of which the upper 8 bits are 0..{greatest >> 8}: "
            f"multiply their pixels by {1 << 16 - bits} to keep what is fine in them",
        ),
    )
    return tuple(note for holds, note in notes if holds)
