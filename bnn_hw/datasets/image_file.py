# SPDX-License-Identifier: Apache-2.0
"""A user's own images in one file."""

import zipfile
from pathlib import Path

import numpy as np

from bnn_hw.datasets.idx import read_idx
from bnn_hw.errors import ArtefactError

__all__ = ["read_images"]


def read_images(path: Path) -> np.ndarray:
    """Returns the array of a .npy file, or of an IDX file where the name does not end so.

    Raises `ArtefactError` where it is neither.
    """
    if path.suffix != ".npy":
        return read_idx(path)
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(images, np.ndarray):
        raise ArtefactError(f"{path} must hold one array, not a {type(images).__name__}; save it with numpy.save")
    return images
