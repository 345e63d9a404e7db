# SPDX-License-Identifier: Apache-2.0
"""SVHN: house numbers in photographs of streets (Y. Netzer et al., Reading Digits in Natural Images, 2011).

These are the cropped digits, format 2 of http://ufldl.stanford.edu/housenumbers/, where the publisher allows
non-commercial use only.
"""

import io
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets.dataset import Dataset, Split
from bnn_hw.datasets.files import download_file, find_file, read_file
from bnn_hw.datasets.mnist import DIGITS
from bnn_hw.tools import require

__all__ = ["SVHN_MIRRORS", "download_svhn", "load_svhn", "load_svhn_test"]

SVHN_MIRRORS: Final = ("http://ufldl.stanford.edu/housenumbers/",)

_TRAIN, _TEST, _EXTRA = "train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"
# As TensorFlow Datasets and torchvision's prototypes record them; the publisher names none.
_SHA256: Final = {
    _TRAIN: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    _TEST: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    _EXTRA: "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
}


def load_svhn(folder: str | os.PathLike[str]) -> Dataset:
    """Returns SVHN's cropped digits from the official files train_32x32.mat and test_32x32.mat.

    They lie in `folder` or in `folder`/svhn. Where extra_32x32.mat lies beside train_32x32.mat, its images follow the
    training images, since the papers train with both: fetch it by hand for that, move it away to train without it. Images
    are [73257 (604388 with extra) or 26032, 32, 32, 3] uint8, the channels red, green and blue; label 0 is digit 0. Raises
    `ArtefactError` for a file that is missing, truncated or altered, and `ToolError` where scipy is missing.
    """
    folder = Path(folder)
    require("scipy")
    train = find_file(folder, "svhn", (_TRAIN,))
    extra = train.with_name(_EXTRA)
    parts = [_read(path) for path in ((train, extra) if extra.is_file() else (train,))]
    return Dataset(
        name="svhn",
        class_names=DIGITS,
        train=Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])),
        test=load_svhn_test(folder),
    )


def load_svhn_test(folder: str | os.PathLike[str]) -> Split:
    """Returns SVHN's test images alone, as `load_svhn` does, which needs only their file."""
    folder = Path(folder)
    require("scipy")
    return _read(find_file(folder, "svhn", (_TEST,)))


def download_svhn(folder: str | os.PathLike[str], mirrors: Sequence[str] = SVHN_MIRRORS, *, test_only: bool = False) -> None:
    """Downloads train_32x32.mat and test_32x32.mat where `folder` lacks them; extra_32x32.mat, 1.3 GB, is left to the user.

    Each is checked against its SHA-256 before it gets its name. `test_only`: only the second. Raises `ArtefactError` when no
    mirror gives the right content, and `ToolError` where scipy, which reads the files, is missing.
    """
    folder = Path(folder)
    require("scipy")
    for name in (_TEST,) if test_only else (_TRAIN, _TEST):
        if not (folder / name).exists():
            download_file(folder / name, "svhn", mirrors, partial(read_file, sha256=_SHA256[name]))


def _read(path: Path) -> Split:
    """Returns the images and labels of a MATLAB file: X, [32, 32, 3, images] uint8, and y, [images, 1], 10 for digit 0."""
    from scipy.io import loadmat

    content = read_file(path, _SHA256[path.name])  # checked first: a damaged file can crash scipy, and Python with it
    arrays = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    images = np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2))
    return Split(images, (arrays["y"][:, 0] % 10).astype(np.uint8))
