# SPDX-License-Identifier: Apache-2.0
"""The settings of a training, and the recipes of the packaged models."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from bnn_hw.network.network import Input
from bnn_training.augment import AffineRange
from bnn_training.model import Activation, BinaryNetwork
from bnn_training.optimizers import OptimizerName
from bnn_training.preprocess import PreprocessingName
from bnn_training.schedules import ScheduleName, learning_rate
from bnn_training.topology import Style, build_network

__all__ = ["Recipe", "recipe_input", "recipe_network", "recipe_rate"]


@dataclass(frozen=True)
class Recipe:
    """All settings that decide a training's result, except the data and the machine's arithmetic."""

    name: str
    dataset: str
    topology: str  # the hidden layers, as `bnn_training.topology` reads them
    epochs: int
    batch: int = 100  # images a step, of all processes
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3  # the first one, of biases and batch norm; weights get it times the papers' scale
    schedule: ScheduleName = "cosine"
    last_learning_rate: float = 0.0  # where an exponential decay ends
    halve_every: int = 0  # epochs, where the learning rate is halved
    stochastic_weights: bool = False  # binarize the weights of a training step by chance
    test_weights: Literal["binary", "real"] = "binary"  # with which validation and test images are classified
    activation: Activation = "sign"
    shift_batch_norm: bool = False
    batch_norm_epsilon: float = 1e-4
    batch_norm_momentum: float = 0.1  # the weight of a new batch in the running mean and variance
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    preprocessing: PreprocessingName = "pixels"
    input_dtype: Literal["bit", "uint8", "int8"] = "bit"  # of pixels; int8: pixels less 128
    pixel_threshold: int = 128  # for bits: pixels from here on are +1
    padding: int = 0  # rows and columns of true zeros around the input of each convolution
    augmentation: AffineRange = field(default_factory=AffineRange)
    validation: int = 0  # training images, evenly over classes, that choose the epoch; with 0 the last epoch is the result
    balanced_validation: bool = False  # as many of each class, instead of in proportion to its size
    bfloat16: bool = True  # multiply training products in bfloat16
    seed: int = 1


def recipe_network(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> BinaryNetwork:
    """Returns the untrained network of a recipe for images of that shape and that number of classes."""
    style = Style(
        padding=recipe.padding,
        product_dtype=torch.bfloat16 if recipe.bfloat16 else torch.float32,
        stochastic_weights=recipe.stochastic_weights,
        activation=recipe.activation,
        shift_batch_norm=recipe.shift_batch_norm,
        epsilon=recipe.batch_norm_epsilon,
        momentum=recipe.batch_norm_momentum,
        input_dropout=recipe.input_dropout,
        hidden_dropout=recipe.hidden_dropout,
    )
    network = build_network(recipe.topology, input_shape, classes, style)
    network.set_test_weights(recipe.test_weights)
    return network


def recipe_input(recipe: Recipe, input_shape: tuple[int, ...]) -> Input:
    """Returns the input of a recipe's network. Raises `ArtefactError` naming the field that is out of range."""
    return Input(input_shape, recipe.input_dtype, recipe.pixel_threshold if recipe.input_dtype == "bit" else None)


def recipe_rate(recipe: Recipe, progress: float) -> float:
    """Returns the learning rate of a recipe after `progress` epochs, which may be fractional."""
    first, last = recipe.learning_rate, recipe.last_learning_rate
    return learning_rate(recipe.schedule, first, last, recipe.halve_every, recipe.epochs, progress)
