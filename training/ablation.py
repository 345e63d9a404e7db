# SPDX-License-Identifier: Apache-2.0
"""The papers' choices against each other: the same network and epochs, one choice changed at a time.

python training/ablation.py --data DIR --out DIR [--epochs N] [--width N] [--seeds N] [--threads N]

Trains each form from each seed, folds it where it folds, and prints a table of test errors. What is in the folder already goes
on from there.
"""

import statistics
from dataclasses import replace
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from bnn_hw.cli import main as run_command
from bnn_hw.datasets import load_dataset
from bnn_training.catalogue import RECIPES
from bnn_training.folding import export_checkpoint
from bnn_training.trainer import train

_BASE = replace(RECIPES["mnist-bnn-torch7-fast"], activation="sign", shift_batch_norm=False, optimizer="adam", learning_rate=3e-3)
_CONNECT = RECIPES["mnist-binaryconnect"]
FORMS = {
    "BNN: deterministic, plain batch norm, Adam": _BASE,
    "BNN: stochastic activations": replace(_BASE, activation="stochastic_sign"),
    "BNN: shift-based batch norm": replace(_BASE, shift_batch_norm=True),
    "BNN: AdaMax": replace(_BASE, optimizer="adamax", learning_rate=2**-6),
    "BNN: shift-based AdaMax": replace(_BASE, optimizer="shift_adamax", learning_rate=2**-6),
    "BNN: stochastic activations, shift-based batch norm and AdaMax (Torch7)": RECIPES["mnist-bnn-torch7-fast"],
    "BNN: stochastic weights": replace(_BASE, stochastic_weights=True),
    "BinaryConnect: deterministic, small affine maps": _CONNECT,
    "BinaryConnect: stochastic, small affine maps, tested with real weights": replace(
        _CONNECT, stochastic_weights=True, test_weights="real"
    ),
}


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, envvar="BNN_HW_DATA")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--epochs", default=20, show_default=True)
@click.option("--width", default=512, show_default=True, help="Neurons of each of the three hidden layers.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1))
def main(data: Path, out: Path, epochs: int, width: int, seeds: int, threads: int | None) -> None:
    """Train the papers' choices against each other on MNIST."""
    if threads:
        torch.set_num_threads(threads)
    dataset = load_dataset("mnist", data, out)
    table = Table("form", "test error, each seed", "mean", "folded: decisions that differ")
    for number, (form, recipe) in enumerate(FORMS.items()):
        errors, differing = [], []
        for seed in range(1, seeds + 1):
            folder = out / f"{number}-{seed}"
            changed = replace(recipe, topology=f"{width}-{width}-{width}", epochs=epochs, batch=100, validation=0, seed=seed)
            _, agreement = export_checkpoint(train(changed, dataset, folder), dataset.test)
            assert agreement is not None
            errors.append(100 * (1 - (agreement.real_weights_accuracy or agreement.folded_accuracy)))
            differing.append(agreement.differing_decisions)
        cells = ", ".join(f"{error:.2f}" for error in errors)
        table.add_row(form, cells, f"{statistics.mean(errors):.2f} %", ", ".join(map(str, differing)))
    Console(width=132).print(table)


if __name__ == "__main__":
    run_command(main)
