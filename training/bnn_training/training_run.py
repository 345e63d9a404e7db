# SPDX-License-Identifier: Apache-2.0
"""A training as a whole, from a recipe and data to the network file, and the export of a checkpoint alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bnn_hw.datasets import Dataset, Split, open_dataset
from bnn_hw.errors import UsageError
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Network
from bnn_training.catalogue import RECIPES
from bnn_training.devices import find_device
from bnn_training.folding import Agreement, Ties, export_checkpoint, folding_obstacle
from bnn_training.model import BinaryNetwork
from bnn_training.recipes import Recipe
from bnn_training.run_folder import NETWORK
from bnn_training.trainer import EpochReport, Start
from bnn_training.trainer import train as train_epochs

__all__ = ["Trained", "export", "train"]


@dataclass(frozen=True)
class Trained:
    """The results of a training; `network` and `agreement` are None where the recipe's network does not fold into integers."""

    checkpoint: Path  # the one with the best validation accuracy
    network: Network | None  # as in the folder's network.safetensors
    agreement: Agreement | None  # on the test images


def train(
    recipe: str | Recipe,
    data: Dataset | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    start: Start = "resume",
    device: str | torch.device | None = None,
    compiled: bool = False,
    ties: Ties = "torch",
    on_start: Callable[[str], None] = lambda message: None,
    on_epoch: Callable[[EpochReport, BinaryNetwork], None] = lambda report, network: None,
    on_step: Callable[[int, int, int], None] = lambda epoch, done, steps: None,
) -> Trained:
    """Trains a recipe, given itself or by name, in `folder`, folds its network and measures both on the test images.

    `data`: a data set, or where it lies: a folder of its publisher's files or data of one's own, as `bnn_hw train --data` takes.
    `device` is by default a GPU, if there is one. The rest, errors included, is as for `bnn_training.trainer.train` and `export`.
    Raises `UsageError` for an unknown recipe or device. For a single process only: use `torchrun` with
    `python -m bnn_training`.
    """
    folder = Path(folder)
    recipe = _recipe(recipe)
    dataset = data if isinstance(data, Dataset) else _dataset(recipe, Path(data))
    recipe = replace(recipe, dataset=dataset.name)
    best = train_epochs(
        recipe,
        dataset,
        folder,
        name=name,
        start=start,
        device=device if isinstance(device, torch.device) else find_device(device),
        compiled=compiled,
        on_start=on_start,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    if folding_obstacle(recipe) is not None:
        return Trained(best, None, None)
    network, agreement = export(best, folder / NETWORK, test=dataset.test, name=name, ties=ties)
    return Trained(best, network, agreement)


def export(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    test: Split | None = None,
    name: str | None = None,
    ties: Ties = "torch",
) -> tuple[Network, Agreement | None]:
    """Folds a checkpoint as `bnn_training.folding.export_checkpoint` does, and writes the network file `out`, if one is named."""
    network, agreement = export_checkpoint(checkpoint, test, name=name, ties=ties)
    if out is not None:
        save_network(network, out)
    return network, agreement


def _recipe(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise UsageError(f"recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")
    return RECIPES[recipe]


def _dataset(recipe: Recipe, path: Path) -> Dataset:
    return open_dataset(recipe.dataset, path, path)  # given a path, nothing is downloaded or cached
