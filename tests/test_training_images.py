# SPDX-License-Identifier: Apache-2.0
"""The division of a data set: which images train, which are held out, and what is preprocessed from which."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_training.images import Images, divided_images
from bnn_training.preprocess import fit_preprocessing
from bnn_training.recipes import Recipe

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "numbered", "4", epochs=1)
CPU = torch.device("cpu")


def numbered(labels: list[int]) -> Split:
    """Returns images of 1x2 that hold their own numbers, and these labels."""
    numbers = np.arange(len(labels), dtype=np.uint8)
    return Split(np.stack([numbers, numbers], 1).reshape(-1, 1, 2, 1), np.array(labels, np.uint8))


LABELS = [0, 1, 2, 0, 0, 1, 2, 1, 0, 2, 1, 0, 0, 1]
DATASET = Dataset("numbered", tuple("012"), numbered(LABELS), numbered([2, 1]))


def numbers(images: Images) -> list[int]:
    assert images.labels.dtype == torch.int64
    return images.pixels[:, 0, 0, 0].tolist()


def divided(**changes: object) -> tuple[list[int], list[int], list[int]]:
    parts = divided_images(DATASET, replace(RECIPE, **changes), CPU)  # type: ignore[arg-type]
    for part in parts[:2]:
        assert part.labels.tolist() == [LABELS[number] for number in numbers(part)]
    assert parts[2].labels.tolist() == [2, 1]
    fit, validation, test = map(numbers, parts)
    return fit, validation, test


@pytest.mark.parametrize(("validation", "train"), [(0, 14), (1, 13), (5, 9), (14, 0), (99, 0)])
def test_the_last_images_are_held_out(validation: int, train: int) -> None:
    assert divided(validation=validation) == (list(range(train)), list(range(train, 14)), [0, 1])


def test_as_many_of_each_class_are_held_out() -> None:
    """The last two of each class: 11 and 12 of class 0, 10 and 13 of 1, 6 and 9 of 2; seven divide by three as six do."""
    for validation in (6, 7, 8):
        fit, held_out, _ = divided(validation=validation, balanced_validation=True)
        assert held_out == [6, 9, 10, 11, 12, 13]
        assert fit == [0, 1, 2, 3, 4, 5, 7, 8]


def test_a_class_of_few_images_is_held_out_whole() -> None:
    fit, held_out, _ = divided(validation=12, balanced_validation=True)
    assert [LABELS[number] for number in held_out].count(2) == 3
    assert [LABELS[number] for number in held_out].count(0) == 4
    assert fit == [0, 1, 3]


def test_pixels_stay_bytes() -> None:
    assert {part.pixels.dtype for part in divided_images(DATASET, RECIPE, CPU)} == {torch.uint8}


def test_whitening_is_taken_from_the_images_that_train() -> None:
    """Not from those held out, nor from the test images, which go through it all the same."""
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 256, (40, 3, 3, 1), np.uint8), rng.integers(0, 3, 40, np.uint8))
    test = Split(rng.integers(0, 256, (7, 3, 3, 1), np.uint8), rng.integers(0, 3, 7, np.uint8))
    recipe = replace(RECIPE, validation=10, preprocessing="gcn_zca")
    parts = divided_images(Dataset("noise", tuple("012"), split, test), recipe, CPU)
    preprocess = fit_preprocessing("gcn_zca", torch.from_numpy(split.images[:30]))
    for part, pixels in zip(parts, (split.images[:30], split.images[30:], test.images), strict=True):
        assert part.pixels.dtype == torch.float32
        assert torch.allclose(part.pixels, preprocess(torch.from_numpy(pixels)), atol=1e-5)
