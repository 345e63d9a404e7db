# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnn_hw.cli.data import data_options
from bnn_hw.cli.export import fold_options, save_folded
from bnn_hw.cli.parameters import NEW_FOLDER, FiniteFloat
from bnn_hw.cli.show import cache_folder, console, json_option, percent, print_json, table, warn
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.datasets.summary import summary
from bnn_hw.tools import require

if TYPE_CHECKING:
    import torch

    from bnn_training.folding import Ties
    from bnn_training.model import BinaryNetwork
    from bnn_training.runs import Run, Watch
    from bnn_training.trainer import EpochReport

__all__ = ["train"]


@click.command()
@click.option("--recipe", "--model", "recipe_name", required=True, help="The recipe's name; a packaged network's is its own.")
@data_options
@fold_options
@click.option("--out", type=NEW_FOLDER, help="Folder of checkpoints and log; without it, runs/<name> or runs/<data set>-<recipe>.")
@click.option("--extend", is_flag=True, help="Go on with a training that is complete, or that was to have fewer epochs.")
@click.option("--restart", is_flag=True, help="Begin anew, in place of the training that is in the folder.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step, of all processes, instead of the recipe's.")
@click.option("--lr", "learning_rate", type=FiniteFloat(min=0, min_open=True), help="Instead of the recipe's first one.")
@click.option("--width", type=FiniteFloat(min=0, min_open=True), help="A factor on the outputs of all hidden layers.")
@click.option("--validation", type=click.IntRange(min=0), help="Images to hold out of those that train, instead of the recipe's.")
@click.option("--pixel-threshold", type=click.IntRange(0, 256), help="Pixels from here on are +1, instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the recipe's.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor threads of each process; without it, all there are.")
@click.option("--device", "device_name", help="cpu, cuda or cuda:N; a GPU without it, if there is one.")
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile make the kernels of a step.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the folder.")
@click.option("--dry-run", is_flag=True, help="Only say what the training will take.")
@json_option
def train(
    recipe_name: str,
    data: ChosenData,
    name: str | None,
    ties: "Ties",
    out: Path | None,
    extend: bool,
    restart: bool,
    width: float | None,
    threads: int | None,
    device_name: str | None,
    compiled: bool,
    tensorboard: bool,
    dry_run: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Train a network, fold it to integers and measure both.

    A training that was stopped goes on where it stood when the same command is given again.

    \b
    bnn_hw train --recipe mnist-tiny --data DIR
    bnn_hw train --recipe mnist-bnn-theano --epochs 20 --dry-run
    bnn_hw train --recipe mnist-small --data pictures --classes cat,dog
    torchrun --nproc-per-node 4 -m bnn_training --recipe cifar10-bnn-theano
    """
    require("torch")
    from bnn_training.chosen_recipe import chosen_recipe
    from bnn_training.devices import find_device, set_threads
    from bnn_training.distributed import process_group, rank
    from bnn_training.runs import plan_run, run_start, train_run

    start = run_start(extend, restart, os.environ)
    recipe = chosen_recipe(recipe_name, changes, width)
    set_threads(threads, os.environ)
    device = find_device(device_name)
    run = plan_run(recipe, data.open(recipe.dataset, cache_folder()), name, out)
    with process_group(os.environ, device) as device:
        if rank() == 0:
            _show_data(run, as_json)
        if dry_run:
            _show_forecast(run, device, as_json)
            return
        with _progress(run, shown=rank() == 0) as watch:
            best = train_run(run, start, device, watch, compiled=compiled, tensorboard=tensorboard)
        if rank() == 0:
            _show_result(run, best, device, ties, as_json)


def _show_data(run: "Run", as_json: bool) -> None:
    """Shows what was read of a data set, and what is likely to be a mistake in it."""
    from bnn_training.runs import run_notes

    if not as_json:
        table(run.dataset.name, ("", ""), summary(run.dataset))
    for note in run_notes(run):
        warn(note)


@contextmanager
def _progress(run: "Run", *, shown: bool) -> Iterator["Watch"]:
    """Shows a progress bar, if it is to be `shown`; yields what moves it."""
    from bnn_training.runs import Watch

    epochs = run.recipe.epochs
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console, disable=not shown) as progress:
        bar = progress.add_task(run.recipe.name, last="", visible=False)  # until there is a step

        def on_step(epoch: int, done: int, steps: int) -> None:
            progress.update(bar, description=f"epoch {epoch}/{epochs}", completed=done, total=steps, visible=True)

        def on_epoch(report: "EpochReport", network: "BinaryNetwork") -> None:
            held_out = "" if report.validation_accuracy is None else f", validation {percent(report.validation_accuracy)}"
            progress.update(bar, last=f"loss {report.loss:.4f}, accuracy {percent(report.train_accuracy)}{held_out}")

        yield Watch(lambda message: click.echo(message, err=True), on_epoch, on_step)


def _show_result(run: "Run", best: Path, device: "torch.device", ties: "Ties", as_json: bool) -> None:
    """Folds the network and shows how it measures; or shows why it cannot be folded, and how the PyTorch model measures."""
    from bnn_training.folding import folding_obstacle, test_accuracy
    from bnn_training.run_folder import NETWORK

    test = run.dataset.test
    obstacle = folding_obstacle(run.recipe)
    if obstacle is None:
        save_folded(best, run.folder / NETWORK, test, run.name, ties, as_json)
        return
    measured = test_accuracy(best, run.dataset, device)
    if as_json:
        print_json({"checkpoint": str(best), "test_accuracy": measured, "not_folded": obstacle})
        return
    rows = [("checkpoint", str(best)), ("PyTorch model", f"{percent(measured)} of {len(test.labels):,} test images")]
    table(run.recipe.name, ("", ""), [*rows, ("not folded", obstacle)])


def _show_forecast(run: "Run", device: "torch.device", as_json: bool) -> None:
    from bnn_training.distributed import rank
    from bnn_training.forecast import forecast

    recipe, dataset = run.recipe, run.dataset
    what = forecast(recipe, dataset, device)
    if rank() > 0:
        return
    if as_json:
        print_json({"recipe": asdict(recipe), **asdict(what)})
        return
    rows = [
        ("data set", f"{dataset.name}, {dataset.classes} classes"),
        ("hidden layers", recipe.topology),
        ("parameters", f"{what.parameters:,}"),
        ("binary weights", f"{what.binary_weights:,}"),
        ("multiply-accumulates an image", f"{what.multiply_accumulates:,}"),
        ("memory", f"{what.memory_bytes / 2**20:,.0f} MiB"),
        ("epochs", f"{recipe.epochs:,} of {what.steps_per_epoch:,} steps with {recipe.batch:,} images"),
        ("time an epoch", f"{what.epoch_s:,.1f} s on {device}"),
        ("time", f"{recipe.epochs * what.epoch_s / 60:,.0f} minutes"),
    ]
    table(recipe.name, ("", ""), rows)
