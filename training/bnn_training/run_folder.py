# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: its files, and how it is cleared for another."""

import os
from pathlib import Path
from typing import Final

__all__ = ["BEST", "CURVES", "LAST", "LOG", "NETWORK", "clear", "shorten_log"]

BEST: Final = "best.safetensors"
LAST: Final = "last.safetensors"
LOG: Final = "log.jsonl"
CURVES: Final = "curves.png"
NETWORK: Final = "network.safetensors"
# In the order of their removal: without the last checkpoint no training can go on.
_WRITTEN: Final = (LAST, BEST, NETWORK, LOG, CURVES, "events.out.tfevents.*")


def clear(folder: str | os.PathLike[str]) -> str:
    """Removes a training's files and returns what they were, or nothing. Other files in the folder stay."""
    folder = Path(folder)
    log = folder / LOG
    epochs = len(log.read_text().splitlines()) if log.exists() else 0
    found = [path for pattern in _WRITTEN for path in sorted(folder.glob(pattern))]
    for path in found:
        path.unlink()
    return f"{epochs:,} epochs in {', '.join(path.name for path in found)}" if found else ""


def shorten_log(path: str | os.PathLike[str], epochs: int) -> None:
    """Cuts a log to the given number of epochs: a killed training may have logged an epoch that it did not save."""
    path = Path(path)
    if path.exists():
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:epochs]))
