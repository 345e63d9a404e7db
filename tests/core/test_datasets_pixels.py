# SPDX-License-Identifier: Apache-2.0
"""Pixels of a data set: their statistics, what is told of those that a threshold hides, and the summary for people."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from bnn_hw.datasets import Dataset, Split
from bnn_hw.datasets.pixels import PixelStatistics, pixel_notes
from bnn_hw.datasets.summary import summary
from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import Input

BITS = Input((4, 5, 1), "bit", 128)


def dataset(images: np.ndarray) -> Dataset:
    """Returns a data set of these images, [images, 4, 5, 1]."""
    labels = (np.arange(len(images)) % 2).astype(np.uint8)
    return Dataset("mine", ("cat", "dog"), Split(images, labels), Split(images[:3], labels[:3]))


def noise(least: int, greatest: int, images: int = 40) -> np.ndarray:
    """Returns images with each of the two pixels `least` and `greatest`, and those in between at random."""
    pixels = np.random.default_rng(2).integers(least, greatest + 1, (images, 4, 5, 1), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = least, greatest
    return pixels


def test_statistics_are_those_of_the_naive_formulas() -> None:
    images = noise(3, 200)
    means = [float(sum(image.reshape(-1).tolist()) / 20) for image in images]
    places = [(row, column) for row in range(4) for column in range(5) if row in (0, 3) or column in (0, 4)]
    edge = [int(image[row, column, 0]) for image in images for row, column in places]
    corners = [int(image[row, column, 0]) for image in images for row in (0, 3) for column in (0, 4)]
    found = PixelStatistics.of(images)
    mean = sum(means) / len(means)
    assert (found.least, found.greatest) == (3, 200)
    assert found.mean == pytest.approx(mean, abs=1e-3)
    assert found.image_deviation == pytest.approx((sum((m - mean) ** 2 for m in means) / len(means)) ** 0.5, abs=1e-3)
    assert found.border_mean == pytest.approx((sum(edge) + sum(corners)) / (len(edge) + len(corners)), abs=1e-3)  # a corner twice


@pytest.mark.parametrize("input_", [BITS, Input((4, 5, 1), "uint8"), Input((4, 5, 1), "int8"), Input((4, 5, 1), "bit")])
def test_of_common_pixels_nothing_is_told(input_: Input) -> None:
    assert pixel_notes(dataset(noise(0, 255)), input_) == ()
    assert pixel_notes(dataset(noise(100, 163 + 1)), input_) == ()


@pytest.mark.parametrize("input_", [BITS, Input((4, 5, 1), "uint8")])
def test_images_that_are_all_the_same_are_refused(input_: Input) -> None:
    images = np.repeat(noise(0, 255, 1), 7, axis=0)
    with pytest.raises(ArtefactError, match=r"^mine must have training images that differ, but all 7 are the same$"):
        pixel_notes(dataset(images), input_)


@pytest.mark.parametrize(
    ("least", "greatest", "parting"), [(0, 60, range(25, 36)), (0, 1, range(1, 2)), (200, 255, range(222, 234))]
)
def test_a_threshold_that_makes_all_images_the_same_is_refused(least: int, greatest: int, parting: Sequence[int]) -> None:
    """The advice parts the pixels that are there, and then nothing is told."""
    data = dataset(noise(least, greatest))
    rule = rf"^all 40 training images become the same at pixel threshold 128: their pixels are {least}\.\.{greatest}, and "
    with pytest.raises(ArtefactError, match=rf"{rule}--pixel-threshold (\d+) parts dark from bright better$") as refusal:
        pixel_notes(data, BITS)
    advice = int(re.findall(r"--pixel-threshold (\d+)", str(refusal.value))[0])
    assert advice in parting
    assert pixel_notes(data, Input((4, 5, 1), "bit", advice)) == ()


def test_the_advice_lies_between_two_levels() -> None:
    images = np.where(noise(0, 1) == 1, 50, 20).astype(np.uint8)
    with pytest.raises(ArtefactError, match=r"--pixel-threshold 35 parts"):
        pixel_notes(dataset(images), BITS)


@pytest.mark.parametrize(("dark", "told"), [(0, False), (1, False), (2, True), (39, True)])
def test_images_that_a_threshold_makes_blank_are_told(dark: int, told: bool) -> None:
    """From a twentieth of them on."""
    images = noise(0, 255)
    images[:dark] //= 4
    notes = pixel_notes(dataset(images), BITS)
    assert len(notes) == told
    if told:
        found = rf"{dark} of 40 training images are black or white all over at pixel threshold 128: their pixels are 0\.\.255, and "
        assert re.fullmatch(rf"{found}--pixel-threshold \d+ parts dark from bright better", notes[0])


def test_no_advice_where_the_threshold_is_the_best() -> None:
    images = np.where(noise(0, 1) == 1, 255, 0).astype(np.uint8)
    images[:20] = 255
    (note,) = pixel_notes(dataset(images), BITS)
    assert note.endswith("their pixels are 0..255, and no threshold parts dark from bright better")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_pixels_of_a_small_range_are_told(dtype: str) -> None:
    input_ = Input((4, 5, 1), dtype)  # type: ignore[arg-type]
    rule = "pixels of the training images are 0..15, a small part of 0..255, and so must be those to be classified"
    assert pixel_notes(dataset(noise(0, 15)), input_) == (rule,)
    assert len(pixel_notes(dataset(noise(50, 113)), input_)) == 1


def test_summary() -> None:
    assert summary(dataset(noise(3, 200))) == [
        ("training images", "40 (cat: 20, dog: 20)"),
        ("test images", "3 (cat: 2, dog: 1)"),
        ("image", "4x5x1"),
        ("pixels", f"3..200, {noise(3, 200).mean():.1f} in the mean of the training images"),
    ]


def test_summary_of_many_classes() -> None:
    images = noise(0, 255, 42)
    labels = np.arange(42, dtype=np.uint8) % 14
    names = tuple(f"c{index}" for index in range(14))
    rows = dict(summary(Dataset("many", names, Split(images, labels), Split(images[:16], labels[:16]))))
    assert rows["training images"] == "42 (3 of each of 14 classes)"
    assert rows["test images"] == "16 (14 classes, from 1 of c2 to 2 of c0)"
