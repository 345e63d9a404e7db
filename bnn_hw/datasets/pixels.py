# SPDX-License-Identifier: Apache-2.0
"""How pixels are spread, by which images that are unlike those of the training are found."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bnn_hw.layers import Input

if TYPE_CHECKING:
    from bnn_hw.datasets.dataset import Dataset

__all__ = ["PixelStatistics", "pixel_notes"]


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
        numbers = [float(value[name]) for name in names if isinstance(value.get(name), int | float)]
        if len(numbers) < len(names) or not all(0 <= number <= 255 for number in numbers):
            raise ValueError(f"pixels must have the numbers {', '.join(names)}, each 0..255")
        return cls(*numbers)


def pixel_notes(dataset: "Dataset", input_: Input) -> tuple[str, ...]:
    """Returns what is likely to be a mistake in giving a network with that input the images that train, a sentence each."""
    return ()
