# SPDX-License-Identifier: Apache-2.0
"""Which data set a user named."""

import os
from dataclasses import dataclass
from pathlib import Path

from bnn_hw.datasets import Dataset, Split, is_own, open_dataset, open_test_images

__all__ = ["ChosenData", "class_names"]


@dataclass(frozen=True)
class ChosenData:
    """What the options that name a data set say, as `bnn_hw.datasets.open_dataset` takes them.

    `asked_for`: whether they stand in the command, as opposed to a path from BNN_HW_DATA, which only says where data lie.
    """

    path: Path | None = None
    classes: tuple[str, ...] = ()
    own: bool = False
    background: str = "white"
    asked_for: bool = False

    @property
    def is_own(self) -> bool:
        """Whether it is data of one's own, so that it needs no name."""
        return is_own(self.path, self.classes, self.own)

    def open(self, name: str, cache: str | os.PathLike[str]) -> Dataset:
        """Returns the data set; `name` says which where it is a published one."""
        return open_dataset(name, self.path, cache, classes=self.classes, own=self.own, background=self.background)

    def open_test(self, name: str, cache: str | os.PathLike[str]) -> Split:
        """Returns its test images; a publisher's training images need not be there."""
        return open_test_images(name, self.path, cache, classes=self.classes, own=self.own, background=self.background)


def class_names(text: str) -> tuple[str, ...]:
    """Returns the names that a text lists, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
