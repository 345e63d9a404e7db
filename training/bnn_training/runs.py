# SPDX-License-Identifier: Apache-2.0
"""A run: a training with the network's name and folder, from its first step to the plots."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from bnn_hw.datasets import Dataset
from bnn_hw.datasets.pixels import pixel_notes
from bnn_hw.errors import UsageError
from bnn_hw.tools import require
from bnn_training.catalogue import network_name
from bnn_training.curves import plot_curves
from bnn_training.distributed import rank
from bnn_training.model import BinaryNetwork
from bnn_training.recipes import Recipe, recipe_input
from bnn_training.run_folder import CURVES, LOG
from bnn_training.tensorboard import tensorboard_log
from bnn_training.trainer import EpochReport, Start, train

__all__ = ["Run", "Watch", "plan_run", "run_notes", "run_start", "train_run"]

_RUNS: Final = Path("runs")


@dataclass(frozen=True, eq=False)
class Run:
    """A recipe, the data to train on and the output folder; `name` is the network's."""

    recipe: Recipe
    dataset: Dataset
    name: str
    folder: Path


@dataclass(frozen=True)
class Watch:
    """The reports of a running training, as `bnn_training.trainer.train` describes them."""

    on_start: Callable[[str], None] = lambda message: None
    on_epoch: Callable[[EpochReport, BinaryNetwork], None] = lambda report, network: None
    on_step: Callable[[int, int, int], None] = lambda epoch, done, steps: None


def plan_run(recipe: Recipe, dataset: Dataset, name: str | None = None, folder: Path | None = None) -> Run:
    """Returns the run of a recipe on a data set; the names and the folder have defaults."""
    recipe = replace(recipe, dataset=dataset.name)
    default = network_name(recipe, dataset.identity)
    own = default if default == recipe.name else f"{default}-{recipe.name}"
    return Run(recipe, dataset, name or default, folder if folder is not None else _RUNS / (name or own))


def run_start(extend: bool, restart: bool, environment: Mapping[str, str]) -> Start:
    """Returns how a run begins in a folder that holds one. `environment`: the variables that `torchrun` sets."""
    if extend and restart:
        raise UsageError("--extend and --restart exclude each other: one goes on, the other begins anew")
    if restart and int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)):
        return "resume"  # torchrun has started the processes again, after they had begun anew
    return "restart" if restart else "extend" if extend else "resume"


def run_notes(run: Run) -> tuple[str, ...]:
    """Returns the likely mistakes in the data for this recipe."""
    notes = run.dataset.notes
    if run.recipe.preprocessing == "pixels":
        notes += pixel_notes(run.dataset, recipe_input(run.recipe, run.dataset.train.images.shape[1:]))
    return notes


def train_run(
    run: Run,
    start: Start,
    device: torch.device,
    watch: Watch,
    *,
    compiled: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Trains, writes TensorBoard's events if they are wanted, and plots the epochs; returns the best checkpoint.

    In a distributed training the first process alone writes events and plots. Raises `ToolError`, before it trains, where a
    package for these is missing.
    """
    require("matplotlib")
    hooks = [watch.on_epoch]
    with ExitStack() as stack:
        if tensorboard and rank() == 0:
            require("tensorboard")
            hooks.append(stack.enter_context(tensorboard_log(run.folder)))

        def on_epoch(report: EpochReport, network: BinaryNetwork) -> None:
            for hook in hooks:
                hook(report, network)

        best = train(
            run.recipe,
            run.dataset,
            run.folder,
            name=run.name,
            start=start,
            device=device,
            compiled=compiled,
            on_start=watch.on_start,
            on_epoch=on_epoch,
            on_step=watch.on_step,
        )
    if rank() == 0:
        plot_curves(run.folder / LOG, run.folder / CURVES)
    return best
