# SPDX-License-Identifier: Apache-2.0
"""Types of options and arguments that click has not: each refuses a value before any work begins."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from bnn_hw.artefacts.formats import has_format
from bnn_hw.network.file import NETWORK_FORMAT

__all__ = ["CHECKPOINT", "NEW_FILE", "NEW_FOLDER", "CountOrWord", "FiniteFloat"]


class FiniteFloat(click.FloatRange):
    """A number in a range, as click's, but neither NaN nor infinite, which that lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number that a text stands for."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class CountOrWord(click.ParamType):
    """One of some words, or a number from 1 on."""

    name = "count"

    def __init__(self, *words: str) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Returns the word, or the number that a text stands for."""
        if value in self._words:
            return str(value)
        try:
            return click.IntRange(min=1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be {', '.join(self._words)} or a number from 1 on, not {value!r}.", param, ctx)


class _NewPath(click.ParamType):
    """The path of a file or a folder to write, where nothing of the other kind is."""

    name = "path"

    def __init__(self, wanted: str, other: str, is_other: Callable[[str], bool]) -> None:
        self._wanted, self._other, self._is_other = wanted, other, is_other

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path."""
        if not os.fspath(value):
            self.fail(f"must be the path of {self._wanted}, not empty.", param, ctx)
        if self._is_other(value):
            self.fail(f"{os.fspath(value)!r} is {self._other}; name {self._wanted}.", param, ctx)
        return Path(value)


class _Checkpoint(click.ParamType):
    """The path of a checkpoint, which is there."""

    name = "checkpoint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path."""
        path = Path(value)
        if not path.is_file() or has_format(path, NETWORK_FORMAT):
            what = "a folder" if path.is_dir() else "no file" if not path.exists() else "a network file already"
            self.fail(f"{str(path)!r} is {what}; name a checkpoint, as runs/mnist/best.safetensors.", param, ctx)
        return path


NEW_FILE: Final = _NewPath("a file", "a folder", os.path.isdir)
NEW_FOLDER: Final = _NewPath("a folder", "a file", os.path.isfile)
CHECKPOINT: Final = _Checkpoint()
