# SPDX-License-Identifier: Apache-2.0
"""Whether images look like those that a network was trained on: in scale, and not as negatives."""

from typing import Final

import numpy as np

from bnn_hw.datasets.pixels import PixelStatistics

__all__ = ["unlike"]

_SCALE: Final = 8  # times as far as the others reach: each photograph of CIFAR-10 reaches a quarter of the range at least
_DEVIATIONS: Final = 8  # of the images' means: no image of MNIST or CIFAR-10 is more than 6.2 off
_LEAST_SHARE: Final = 1 / 16  # of the range, where the images of the training are all alike


def unlike(trained: PixelStatistics, images: np.ndarray) -> str | None:
    """Returns how images differ strongly from those of the training, and the remedy; None if they do not.

    `images`: [images, rows, columns, channels] uint8.
    """
    if not images.size:
        return None
    found = PixelStatistics.of(images)
    return _other_scale(trained, found) or _other_way_round(trained, found) or _other_brightness(trained, found)


def _other_scale(trained: PixelStatistics, found: PixelStatistics) -> str | None:
    """Finds masks of 0 and 1 or pixels of 4 bits where 8 bits are expected, and 8 bits where fewer are."""
    reach = f"the images' values reach to {found.greatest:.0f}, those of the training to {trained.greatest:.0f}"
    if 0 < _SCALE * found.greatest <= trained.greatest:
        return f"{reach}: if they are of fewer bits, images * {int(trained.greatest) // _full_scale(found.greatest)} helps"
    if 0 < _SCALE * trained.greatest < found.greatest:
        return f"{reach}: if that was of fewer bits, images // {255 // _full_scale(trained.greatest)} helps"
    return None


def _other_way_round(trained: PixelStatistics, found: PixelStatistics) -> str | None:
    """Finds negatives of images on a plain background, which is in the outer quarters of the range in the training.

    Their borders are at least twice as near to those of the training's negatives, and so is their mean.
    """
    ends = trained.least + trained.greatest
    plain = 2 * abs(2 * trained.border_mean - ends) > trained.greatest - trained.least
    border = 2 * abs(found.border_mean - (ends - trained.border_mean)) < abs(found.border_mean - trained.border_mean)
    if plain and border and abs(found.mean - (ends - trained.mean)) < abs(found.mean - trained.mean):
        return (
            f"the images are the other way round: the mean at their borders is {found.border_mean:.0f}, in the training it was "
            f"{trained.border_mean:.0f}; {ends:.0f} - images helps"
        )
    return None


def _other_brightness(trained: PixelStatistics, found: PixelStatistics) -> str | None:
    far = max(_DEVIATIONS * trained.image_deviation, _LEAST_SHARE * (trained.greatest - trained.least))
    if abs(found.mean - trained.mean) > far:
        return (
            f"the images' mean is {found.mean:.0f}, that of the training {trained.mean:.0f}, with a deviation of "
            f"{trained.image_deviation:.0f} from image to image: prepare them as the training's were"
        )
    return None


def _full_scale(greatest: float) -> int:
    """Returns the greatest value with as many bits as `greatest`: 15 for 8 to 15."""
    return (1 << int(greatest).bit_length()) - 1
