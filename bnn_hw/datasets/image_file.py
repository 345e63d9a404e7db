# SPDX-License-Identifier: Apache-2.0
"""A user's own images to be classified: pictures, folders of them, or a file of many images."""

import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from bnn_hw.datasets.idx import read_idx
from bnn_hw.datasets.picture import SUFFIXES, read_pictures
from bnn_hw.datasets.picture_folder import is_picture, visible
from bnn_hw.errors import ArtefactError
from bnn_hw.network.images import as_batch
from bnn_hw.network.layers import Input

__all__ = ["read_images"]


def read_images(paths: Sequence[Path], input_: Input, background: str = "white") -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns images as a batch, as `bnn_hw.network.images.as_batch` does, and the name of each.

    `paths`: pictures and folders of them, including their subfolders; or one .npy file, or an IDX file under any other
    name. Transparent pictures are laid on the `background`. Raises `ArtefactError` naming the file that is none of these or
    does not fit `input_`, `ToolError` where there are pictures and Pillow is missing.
    """
    files = [file for path in paths for file in (_pictures(path) if path.is_dir() else [path])]
    if len(files) == 1 and not is_picture(files[0]):
        batch, _ = as_batch(_read_array(files[0]), input_)
        return batch, tuple(f"{files[0].name}[{index}]" for index in range(len(batch)))
    others = [file for file in files if not is_picture(file)]
    if others:
        raise ArtefactError(f"{others[0]} must be a picture ({' '.join(SUFFIXES)}) as the others; give a file of many images alone")
    pictures = read_pictures(files, background)
    fitted = [_fitted(file, picture.pixels, input_) for file, picture in zip(files, pictures, strict=True)]
    return as_batch(np.stack(fitted), input_)[0], tuple(map(str, files))


def _read_array(path: Path) -> np.ndarray:
    if path.suffix != ".npy":
        return read_idx(path)
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(images, np.ndarray):
        raise ArtefactError(f"{path} must hold one array, not a {type(images).__name__}; save it with numpy.save")
    return images


def _pictures(folder: Path) -> list[Path]:
    """Returns the pictures in a folder and in those within, sorted."""
    files = [file for entry in visible(folder) for file in (_pictures(entry) if entry.is_dir() else [entry])]
    if not files:
        raise ArtefactError(f"{folder} must hold pictures ({' '.join(SUFFIXES)}), but holds none")
    return files


def _fitted(path: Path, pixels: np.ndarray, input_: Input) -> np.ndarray:
    """Returns a picture [rows, columns, 1 or 3] in the input's shape: grey ones with three channels, where these are equal."""
    shape = input_.shape if len(input_.shape) == 3 else pixels.shape
    if pixels.shape[:2] == shape[:2] and pixels.shape[2] != shape[2]:
        if pixels.shape[2] == 1 and shape[2] == 3:
            pixels = np.repeat(pixels, 3, axis=2)
        elif shape[2] == 1 and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., :1]
    if pixels.shape != shape or pixels.size != prod(input_.shape):
        wanted, found = ("x".join(map(str, each)) for each in (input_.shape, pixels.shape))
        cure = "save it in grey" if pixels.shape[:2] == shape[:2] else "crop it and scale it as the pictures that trained"
        raise ArtefactError(f"{path} must be of {wanted} as the network's images, not {found}; {cure}")
    return pixels.reshape(input_.shape)
