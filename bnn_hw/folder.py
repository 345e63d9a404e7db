# SPDX-License-Identifier: Apache-2.0
"""A folder that is made whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(folder: Path, beside: Path) -> Iterator[Path]:
    """Gives an empty folder that takes the place of `folder` when the block is done.

    It lies beside `beside` until then, in a temporary folder; where the block fails or is interrupted, what was in `folder` stays.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{beside.name}-", dir=beside.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        yield partial
        _replace(folder, partial)


def _replace(folder: Path, partial: Path) -> None:
    """Moves `partial` to `folder`; what was there goes away with the temporary folder that holds `partial`."""
    replaced = partial.parent / "replaced"
    if folder.exists():
        folder.rename(replaced)
    try:
        partial.rename(folder)
    except BaseException:  # an interrupt too
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
