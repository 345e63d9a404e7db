# SPDX-License-Identifier: Apache-2.0
"""IDX files in a folder by their names, which are MNIST's, with or without a prefix."""

import re
from pathlib import Path
from typing import Final

from bnn_hw.errors import ArtefactError

__all__ = ["idx_arrays", "idx_files"]

_NAME: Final = re.compile(r"(?P<prefix>(?:.+-)?)(?P<split>train|t10k|test)-(?P<kind>images|labels)[-.]idx\d-(?:ubyte|int)(?:\.gz)?")


def idx_arrays(folder: Path) -> set[str]:
    """Returns which of train_images, train_labels, test_images and test_labels a folder holds as IDX files."""
    return {_array(match) for _, match in _matches(folder)}


def idx_files(folder: Path) -> dict[str, Path]:
    """Returns the IDX files in a folder by the names of their arrays: those of `idx_arrays`.

    They are called as MNIST's, train-images-idx3-ubyte, plain or gzipped; a prefix may stand before all four, and t10k may be
    test: emnist-letters-test-labels-idx1-ubyte.gz. Raises `ArtefactError` where there are several prefixes.
    """
    matches = _matches(folder)
    prefixes = sorted({match["prefix"] for _, match in matches})
    if len(prefixes) > 1:
        names = " and ".join(f"{prefix}train-images-idx3-ubyte" for prefix in prefixes)
        raise ArtefactError(f"{folder} must hold the IDX files of one data set, not {names}; give each a folder of its own")
    return {_array(match): file for file, match in matches}


def _matches(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """Returns the IDX files in a folder, a plain one after its gzipped form."""
    files = sorted(folder.iterdir(), reverse=True)
    return [(file, match) for file in files if (match := _NAME.fullmatch(file.name))]


def _array(match: re.Match[str]) -> str:
    return f"{'train' if match['split'] == 'train' else 'test'}_{match['kind']}"
