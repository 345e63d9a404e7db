# SPDX-License-Identifier: Apache-2.0
"""The images of a training, on the device where it runs: preprocessed, and divided into those that train and validation."""

from dataclasses import dataclass

import numpy as np
import torch

from bnn_hw.datasets import Dataset, Split
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

    Held out are the last `recipe.validation`, all where there are fewer, or as many of each class if it wants them balanced.
    """
    pixels, labels = dataset.train.images, dataset.train.labels
    held_out = np.zeros(len(labels), bool)
    if recipe.balanced_validation:
        for label in range(dataset.classes):
            held_out[np.flatnonzero(labels == label)[::-1][: recipe.validation // dataset.classes]] = True
    else:
        held_out[max(len(labels) - recipe.validation, 0) :] = True
    splits = [Split(pixels[~held_out], labels[~held_out]), Split(pixels[held_out], labels[held_out]), dataset.test]
    fit, validation, test = (torch.from_numpy(split.images.copy()).to(device) for split in splits)
    if recipe.preprocessing != "pixels":
        preprocess = fit_preprocessing(recipe.preprocessing, fit)
        fit, validation, test = preprocess(fit), preprocess(validation), preprocess(test)
    truths = [torch.from_numpy(split.labels.astype("int64")).to(device) for split in splits]
    return Images(fit, truths[0]), Images(validation, truths[1]), Images(test, truths[2])
