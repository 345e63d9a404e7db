# SPDX-License-Identifier: Apache-2.0
"""The division of a data set: which images train, which are held out, and what is preprocessed from which."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
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
DATASET = Dataset("numbered", ("cat", "dog", "owl"), numbered(LABELS), numbered([2, 1]))


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


def sizes(part: list[int]) -> list[int]:
    """Returns how many of these images are of each class."""
    return np.bincount([LABELS[number] for number in part], minlength=3).tolist()


@pytest.mark.parametrize(("validation", "each"), [(0, [0, 0, 0]), (3, [1, 1, 1]), (5, [2, 2, 1]), (7, [3, 3, 1]), (11, [5, 4, 2])])
def test_images_are_held_out_in_proportion_to_their_classes(validation: int, each: list[int]) -> None:
    """There are 6, 5 and 3 of them; 5 of 14 are 2.1, 1.8 and 1.1 of these, 7 are 3, 2.5 and 1.5, and 11 are 4.7, 3.9 and 2.4."""
    fit, held, test = divided(validation=validation)
    assert sizes(held) == each
    assert sorted(fit + held) == list(range(14))
    assert (fit, held, test) == (sorted(fit), sorted(held), [0, 1])


LEAVES = "validation must leave each class an image that trains,"
SMALLER = "; give a smaller --validation, or 0"


def test_each_class_has_an_image_held_out() -> None:
    """A class of 2 in 302 too, of which 6 are no whole image."""
    labels = np.repeat(np.arange(3, dtype=np.uint8), (100, 2, 200))
    dataset = Dataset("few", tuple("abc"), Split(np.zeros((302, 1, 1, 1), np.uint8), labels), DATASET.test)
    for validation in range(3, 200):
        fit, held, _ = divided_images(dataset, replace(RECIPE, validation=validation), CPU)
        counts = np.bincount(held.labels)
        assert (counts.sum(), counts[1], len(fit.labels)) == (validation, 1, 302 - validation)
        assert abs(counts[0] - validation / 302 * 100) <= 1
    with pytest.raises(ArtefactError, match=f"^{LEAVES} not hold out 250 of 302, with all 2 of class b{SMALLER}$"):
        divided_images(dataset, replace(RECIPE, validation=250), CPU)


def test_the_seed_draws_what_is_held_out() -> None:
    """Each image is held out by some of 40 seeds, which chance misses by one in a million; the same seed draws the same ones."""
    draws = [divided(validation=7, seed=seed)[1] for seed in range(40)]
    assert draws == [divided(validation=7, seed=seed)[1] for seed in range(40)]
    assert {number for draw in draws for number in draw} == set(range(14))


def test_as_many_of_each_class_are_held_out() -> None:
    """Seven divide by three as six do."""
    for validation, each in ((3, 1), (5, 1), (6, 2), (7, 2), (8, 2)):
        fit, held, _ = divided(validation=validation, balanced_validation=True)
        assert sizes(held) == [each] * 3
        assert sorted(fit + held) == list(range(14))
    assert len({tuple(divided(validation=3, balanced_validation=True, seed=seed)[1]) for seed in range(9)}) > 1


@pytest.mark.parametrize(
    ("validation", "balanced", "message"),
    [
        (1, False, "validation must be 0 or at least the 3 classes, an image of each, not 1"),
        (2, True, "validation must be 0 or at least the 3 classes, an image of each, not 2"),
        (14, False, f"{LEAVES} not hold out 14 of 14, with all 6 of class cat{SMALLER}"),
        (10_000, False, f"{LEAVES} not hold out 10,000 of 14, with all 6 of class cat{SMALLER}"),
        (9, True, f"{LEAVES} not hold out 9 of 14, with all 3 of class owl{SMALLER}"),
    ],
)
def test_a_class_without_images_is_refused(validation: int, balanced: bool, message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{re.escape(message)}$"):
        divided(validation=validation, balanced_validation=balanced)


def test_a_class_that_no_image_is_of_has_none_held_out() -> None:
    dataset = replace(DATASET, class_names=("cat", "dog", "owl", "yak"))
    for balanced in (False, True):
        fit, held, _ = divided_images(dataset, replace(RECIPE, validation=6, balanced_validation=balanced), CPU)
        assert (len(fit.labels), np.bincount(held.labels, minlength=4).tolist()[3]) == (8, 0)


def test_pixels_stay_bytes() -> None:
    assert {part.pixels.dtype for part in divided_images(DATASET, RECIPE, CPU)} == {torch.uint8}


def test_whitening_is_taken_from_the_images_that_train() -> None:
    """Not from those held out, nor from the test images, which go through it all the same."""
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 256, (40, 3, 3, 1), np.uint8), rng.integers(0, 3, 40, np.uint8))
    test = Split(rng.integers(0, 256, (7, 3, 3, 1), np.uint8), rng.integers(0, 3, 7, np.uint8))
    recipe = replace(RECIPE, validation=10, preprocessing="gcn_zca")
    parts = divided_images(Dataset("noise", tuple("012"), split, test), recipe, CPU)
    raw = [
        part.pixels
        for part in divided_images(Dataset("noise", tuple("012"), split, test), replace(recipe, preprocessing="pixels"), CPU)
    ]
    preprocess = fit_preprocessing("gcn_zca", raw[0])
    for part, pixels in zip(parts, raw, strict=True):
        assert part.pixels.dtype == torch.float32
        assert torch.allclose(part.pixels, preprocess(pixels), atol=1e-5)
