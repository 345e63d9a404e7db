# SPDX-License-Identifier: Apache-2.0
"""Folders that are there as a whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["partial_folder", "replace_folder"]


@contextmanager
def partial_folder(build: Path, name: str) -> Iterator[Path]:
    """Gives a new folder of that name in a temporary folder beside `build`, from where it can be moved into it."""
    place = build.resolve()  # which may be "."
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as temporary:
        partial = Path(temporary) / name
        partial.mkdir()
        yield partial


def replace_folder(folder: str | os.PathLike[str], partial: str | os.PathLike[str]) -> None:
    """Moves `partial`, which lies in a temporary folder, to `folder`; what was there goes away with the temporary folder."""
    folder = Path(folder)
    partial = Path(partial)
    replaced = partial.parent / "replaced"
    if folder.exists():
        folder.rename(replaced)
    try:
        partial.rename(folder)
    except BaseException:  # an interrupt too
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
