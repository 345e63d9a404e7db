# SPDX-License-Identifier: Apache-2.0
"""The recipes of the packaged models, as frozen values."""

from dataclasses import dataclass, field
from typing import Final, Literal

import torch

from bnn_hw.network import Input
from bnn_training.augment import AffineRange
from bnn_training.network import BinaryNetwork
from bnn_training.topology import build_network

__all__ = ["RECIPES", "Recipe", "recipe_input", "recipe_network"]


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training, but for the data and the arithmetic of the machine."""

    name: str
    dataset: str
    topology: str  # the hidden layers, as `bnn_training.topology` reads them
    epochs: int
    batch: int = 100
    learning_rate: float = 1e-3  # of biases and batch norm; weights get it times the papers' scale; cosine decay to 0
    input_dtype: Literal["bit", "uint8", "int8"] = "bit"  # int8: pixels less 128
    pixel_threshold: int = 128  # for bits: pixels from here on are +1
    padding: int = 0  # rows and columns of true zeros around the input of each convolution
    augmentation: AffineRange = field(default_factory=AffineRange)
    validation: int = 0  # so many of the last training images choose the epoch; with 0 the last epoch is the result
    bfloat16: bool = True  # multiply training products in bfloat16
    seed: int = 1


def recipe_network(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> BinaryNetwork:
    """Returns the untrained network of a recipe for images of that shape and so many classes."""
    product_dtype = torch.bfloat16 if recipe.bfloat16 else torch.float32
    return build_network(recipe.topology, input_shape, classes, padding=recipe.padding, product_dtype=product_dtype)


def recipe_input(recipe: Recipe, input_shape: tuple[int, ...]) -> Input:
    """Returns what the network of a recipe takes. Raises `ArtefactError` naming the field that is out of its range."""
    return Input(input_shape, recipe.input_dtype, recipe.pixel_threshold if recipe.input_dtype == "bit" else None)


_MNIST_SMALL: Final = AffineRange(5, 0.05, 0.05, 1, border="zeros")
_MNIST: Final = AffineRange(10, 0.1, 0.1, 1.5, border="zeros")
_CIFAR10_SHIFT: Final = AffineRange(shift_pixels=3, whole_pixels=True, mirror=True)
# Umuroglu et al. 2017, FINN.
_CNV: Final = "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-512-512"
# Hubara et al. 2016: CIFAR-10's network, and SVHN's with half the channels.
_BNN_CIFAR10: Final = "128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024-1024"
_BNN_SVHN: Final = "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-MP2-1024-1024"

RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("mnist-tiny", "mnist", "64-64-64", epochs=200, augmentation=AffineRange(shift_pixels=1, border="zeros")),
        Recipe("mnist-small", "mnist", "256-256-256", epochs=300, augmentation=_MNIST_SMALL),
        Recipe("mnist", "mnist", "1024-1024-1024", epochs=150, batch=200, augmentation=_MNIST),
        Recipe("cifar10", "cifar10", _CNV, epochs=70, input_dtype="int8", augmentation=_CIFAR10_SHIFT),
        Recipe("svhn", "svhn", _CNV, epochs=40, input_dtype="int8"),
        Recipe("cifar10-paper", "cifar10", _BNN_CIFAR10, epochs=500, batch=50, input_dtype="int8", padding=1, validation=5_000),
        Recipe("svhn-paper", "svhn", _BNN_SVHN, epochs=200, batch=50, input_dtype="int8", padding=1, validation=6_000),
    )
}
