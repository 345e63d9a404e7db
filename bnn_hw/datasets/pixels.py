# SPDX-License-Identifier: Apache-2.0
"""Pixel statistics, used to find images unlike those of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import Input

if TYPE_CHECKING:
    from bnn_hw.datasets.dataset import Dataset

__all__ = ["PixelStatistics", "notes_for_threshold", "pixel_notes"]

_NARROW: Final = 64  # of 256 levels
_BLANK_SHARE: Final = 0.05  # share of images; MNIST has none


@dataclass(frozen=True)
class PixelStatistics:
    """Statistics of 8-bit images, each rounded to 3 decimals so that they are the same on every machine."""

    least: float  # of all pixels
    greatest: float
    mean: float
    image_deviation: float  # the standard deviation of the images' means
    border_mean: float  # of the outermost rows and columns

    @classmethod
    def of(cls, images: np.ndarray) -> "PixelStatistics":
        """Returns the statistics of `images`: [images, rows, columns, channels] uint8, at least one."""
        count = len(images)
        means = images.reshape(count, -1).mean(axis=1, dtype=np.float64)
        edges = (images[:, [0, -1]], images[:, :, [0, -1]])
        border = sum(float(edge.sum(dtype=np.float64)) for edge in edges) / sum(edge.size for edge in edges)
        values = (images.min(), images.max(), means.mean(), means.std(), border)
        return cls(*(round(float(value), 3) for value in values))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PixelStatistics":
        """Returns the statistics of JSON values. Raises `ValueError` where a field is not a number of 0 to 255."""
        names = [field.name for field in fields(cls)]
        numbers: list[Any] = [value.get(name) for name in names]
        if not all(isinstance(number, int | float) and 0 <= number <= 255 for number in numbers):
            raise ValueError(f"pixels must have the numbers {', '.join(names)}, each 0..255")
        return cls(*map(float, numbers))


def pixel_notes(dataset: "Dataset", input_: Input) -> tuple[str, ...]:
    """Returns the likely mistakes in training a network with that input on these pixels, a sentence each.

    Raises `ArtefactError` if all training images look the same to the network, so that there is nothing to learn.
    """
    images = dataset.train.images
    if (images == images[:1]).all():
        raise ArtefactError(f"{dataset.name} must have training images that differ, but all {len(images):,} are the same")
    if input_.pixel_threshold is not None:
        return notes_for_threshold(images, input_.pixel_threshold)
    least, greatest = int(images.min()), int(images.max())
    if greatest - least >= _NARROW:
        return ()
    return (
        f"pixels of the training images are {least}..{greatest}, a small part of 0..255, and so must be those to be classified",
    )


def notes_for_threshold(images: np.ndarray, threshold: int) -> tuple[str, ...]:
    """Returns a note where many images are black or white all over at a pixel threshold.

    `images`: [images, rows, columns, channels] uint8. Raises `ArtefactError` where the threshold makes all of them the same.
    """
    flat = images.reshape(len(images), -1)
    if ((flat.min(axis=0) >= threshold) | (flat.max(axis=0) < threshold)).all():
        raise ArtefactError(
            f"all {len(images):,} training images become the same at pixel threshold {threshold}: {_way_out(flat, threshold)}"
        )
    blank = int(((flat.min(axis=1) >= threshold) | (flat.max(axis=1) < threshold)).sum())
    if blank < _BLANK_SHARE * len(images):
        return ()
    found = f"{blank:,} of {len(images):,} training images are black or white all over at pixel threshold {threshold}"
    return (f"{found}: {_way_out(flat, threshold)}",)


def _way_out(pixels: np.ndarray, threshold: int) -> str:
    parting = _parting_threshold(pixels)
    advice = "no threshold parts" if parting == threshold else f"--pixel-threshold {parting} parts"
    return f"their pixels are {pixels.min()}..{pixels.max()}, and {advice} dark from bright better"


def _parting_threshold(pixels: np.ndarray) -> int:  # [images, pixels] uint8
    """Returns the threshold that parts dark pixels from bright ones with the greatest variance between the two (Otsu 1979)."""
    counts = np.zeros(256)
    for image in pixels:
        counts += np.bincount(image, minlength=256)
    levels = np.arange(256)
    below, sums = counts.cumsum()[:-1], (counts * levels).cumsum()[:-1]
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num(below * above * (sums / below - ((counts * levels).sum() - sums) / above) ** 2)
    best = np.flatnonzero(between == between.max())  # several where no pixel lies between them
    return int(best[0] + best[-1]) // 2 + 1
