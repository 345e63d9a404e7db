# SPDX-License-Identifier: Apache-2.0
"""An estimate of a training's time and memory, made before it starts."""

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

_STEPS: Final = 3  # timed steps, after as many untimed ones
_FLOAT32_BYTES: Final = 4


@dataclass(frozen=True)
class Forecast:
    """A training's cost; the time holds for the machine and the moment of its measurement."""

    parameters: int
    binary_weights: int
    multiply_accumulates: int  # of one image's inference
    memory_bytes: int  # of parameters, gradients, the optimizer's state, images, and the tensors a step keeps for its gradients
    steps_per_epoch: int
    epoch_s: float


def forecast(recipe: Recipe, dataset: Dataset, device: torch.device) -> Forecast:
    """Returns the cost of a recipe's training on a data set; it runs some steps and discards them."""
    training = prepare(recipe, dataset, device)
    parameters = sum(parameter.numel() for parameter in training.network.parameters())
    copies = 2 + len(OPTIMIZER_STATE[recipe.optimizer])  # the values, their gradients and the optimizer's state for each
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
        loss.item()  # waits for a GPU to finish
    return (time.perf_counter() - started) / _STEPS
