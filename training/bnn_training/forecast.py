# SPDX-License-Identifier: Apache-2.0
"""What a training will take, before it starts."""

import time
from dataclasses import dataclass
from typing import Final

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from bnn_hw.datasets import Dataset
from bnn_training.distributed import processes
from bnn_training.optimizers import OPTIMIZER_STATE
from bnn_training.recipes import Recipe, recipe_network
from bnn_training.trainer import Training, prepare, run_step

__all__ = ["Forecast", "forecast"]

_STEPS: Final = 3  # to be timed, after as many that are not
_FLOAT32_BYTES: Final = 4


@dataclass(frozen=True)
class Forecast:
    """What a training will take; the time is of the machine and the moment where it was measured."""

    parameters: int
    binary_weights: int
    multiply_accumulates: int  # of one image's inference
    memory_bytes: int  # of parameters, gradients, the optimizer's state, images, and what a step keeps for its gradients
    steps_per_epoch: int
    epoch_s: float


def forecast(recipe: Recipe, dataset: Dataset, device: torch.device) -> Forecast:
    """Returns what a recipe's training on a data set will take, for which some steps are made and forgotten."""
    training = prepare(recipe, dataset, device)
    parameters = sum(parameter.numel() for parameter in training.network.parameters())
    copies = 2 + len(OPTIMIZER_STATE[recipe.optimizer])  # the values, their gradients and what the optimizer keeps of them
    operations, kept_bytes = _of_a_batch(recipe, training)
    steps = len(training.fit.labels) // recipe.batch
    return Forecast(
        parameters,
        sum(block.product.weight.numel() for block in training.network.stages),
        operations // 2 // recipe.batch,
        copies * parameters * _FLOAT32_BYTES + training.fit.pixels.nbytes + kept_bytes,
        steps,
        steps * _step_s(training),
    )


def _of_a_batch(recipe: Recipe, training: Training) -> tuple[int, int]:
    """Returns the operations of a batch's products, and the bytes kept for its gradients; nothing is computed for it."""
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.device("meta"):
        network = recipe_network(recipe, training.shape, len(training.data.class_names))
        rows, columns, channels = training.shape
        images = torch.empty(recipe.batch // processes(), channels, rows, columns)
        with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
            network(images)
    return counter.get_total_flops() * processes(), kept


def _step_s(training: Training) -> float:
    """Returns the time of a step."""
    generator = torch.Generator(training.fit.labels.device).manual_seed(0)
    indices = torch.arange(training.recipe.batch // processes(), device=training.fit.labels.device)
    training.forward.train()
    started = 0.0
    for step in range(2 * _STEPS):
        if step == _STEPS:
            started = time.perf_counter()
        loss, _ = run_step(training, indices, training.recipe.learning_rate, generator)
        loss.item()  # so that a GPU comes to an end
    return (time.perf_counter() - started) / _STEPS
