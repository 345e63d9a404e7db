# SPDX-License-Identifier: Apache-2.0
"""The images of a training, on the device where it runs: preprocessed, and divided into training and validation images."""

from dataclasses import dataclass

import numpy as np
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_training.preprocess import fit_preprocessing
from bnn_training.recipes import Recipe

__all__ = ["Images", "divided_images"]


@dataclass(frozen=True, eq=False)
class Images:
    """`pixels`: [images, rows, columns, channels], uint8 or preprocessed float32; `labels`: [images] int64."""

    pixels: torch.Tensor
    labels: torch.Tensor


def divided_images(dataset: Dataset, recipe: Recipe, device: torch.device) -> tuple[Images, Images, Images]:
    """Returns the images that train, those that a recipe holds out of them, and the test images.

    Held out are `recipe.validation` images, drawn by the recipe's seed from each class in proportion to its size, or equally
    many of each if the recipe balances them. Raises `ArtefactError` if a class would have none held out, or none left to train.
    """
    pixels, labels = dataset.train.images, dataset.train.labels
    held_out = _held_out(dataset, recipe)
    splits = [Split(pixels[~held_out], labels[~held_out]), Split(pixels[held_out], labels[held_out]), dataset.test]
    fit, validation, test = (torch.from_numpy(split.images.copy()).to(device) for split in splits)
    if recipe.preprocessing != "pixels":
        preprocess = fit_preprocessing(recipe.preprocessing, fit)
        fit, validation, test = preprocess(fit), preprocess(validation), preprocess(test)
    truths = [torch.from_numpy(split.labels.astype("int64")).to(device) for split in splits]
    return Images(fit, truths[0]), Images(validation, truths[1]), Images(test, truths[2])


def _held_out(dataset: Dataset, recipe: Recipe) -> np.ndarray:
    """Returns which training images are held out: [images] bool."""
    labels = dataset.train.labels
    held_out = np.zeros(len(labels), bool)
    if recipe.validation:
        sizes = np.bincount(labels, minlength=dataset.classes)
        counts = _counts(sizes, recipe)
        for name, size, count in zip(dataset.class_names, sizes, counts, strict=True):
            if 0 < size <= count:
                raise ArtefactError(
                    f"validation must leave each class an image that trains, not hold out {recipe.validation:,} of "
                    f"{len(labels):,}, with all {size:,} of class {name}; give a smaller --validation, or 0"
                )
        order = np.random.default_rng(recipe.seed).permutation(len(labels))
        for label, count in enumerate(counts):
            held_out[order[labels[order] == label][:count]] = True
    return held_out


def _counts(sizes: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Returns how many images of each class are held out, for the `sizes` of the classes: both [classes] int64."""
    present = sizes > 0
    classes = int(present.sum())
    if recipe.validation < classes:
        raise ArtefactError(f"validation must be 0 or at least the {classes} classes, an image of each, not {recipe.validation}")
    if recipe.balanced_validation:
        return present * (recipe.validation // classes)
    wanted = min(recipe.validation, sizes.sum())
    exact = wanted * sizes / sizes.sum()
    counts = present.astype(np.int64)
    for _ in range(wanted - classes):
        counts[np.argmax(exact - counts)] += 1
    return counts
