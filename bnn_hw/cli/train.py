# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train`."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnn_hw.cli.data import data_options
from bnn_hw.cli.export import fold_options, save_folded
from bnn_hw.cli.parameters import NEW_FOLDER, FiniteFloat
from bnn_hw.cli.show import cache_folder, console, json_option, percent, print_json, table
from bnn_hw.datasets import Dataset
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.datasets.pixels import pixel_notes
from bnn_hw.datasets.summary import summary
from bnn_hw.errors import UsageError
from bnn_hw.tools import require

if TYPE_CHECKING:
    import torch

    from bnn_training.export import Ties
    from bnn_training.model import BinaryNetwork
    from bnn_training.recipes import Recipe
    from bnn_training.trainer import EpochReport, Start

    EpochHook = Callable[[EpochReport, BinaryNetwork], None]
    StepHook = Callable[[int, int, int], None]

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
    from bnn_training.catalogue import network_name
    from bnn_training.devices import find_device, set_threads
    from bnn_training.distributed import process_group, rank

    start = _start(extend, restart)
    recipe = _recipe(recipe_name, width, changes)
    set_threads(threads, os.environ)
    device = find_device(device_name)
    dataset = data.open(recipe.dataset, cache_folder())
    recipe = replace(recipe, dataset=dataset.name)
    default_name = network_name(recipe, dataset.identity)
    run = default_name if default_name == recipe.name else f"{default_name}-{recipe.name}"
    task = _Task(recipe, dataset, name or default_name, out if out is not None else Path("runs") / (name or run), start)
    with process_group(os.environ, device) as device:
        if rank() == 0:
            _show_data(recipe, dataset, as_json)
        if dry_run:
            _show_forecast(recipe, dataset, device, as_json)
            return
        best = _train(task, device, compiled, tensorboard)
        if rank() == 0:
            _finish(task, best, device, ties, as_json)


@dataclass(frozen=True)
class _Task:
    """What is to be trained."""

    recipe: "Recipe"
    dataset: Dataset
    name: str  # of the network
    folder: Path
    start: "Start"


def _start(extend: bool, restart: bool) -> "Start":
    if extend and restart:
        raise UsageError("--extend and --restart exclude each other: one goes on, the other begins anew")
    if restart and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        return "resume"  # torchrun has started the processes again, after they had begun anew
    return "restart" if restart else "extend" if extend else "resume"


def _recipe(name: str, width: float | None, changes: dict[str, Any]) -> "Recipe":
    """Returns a recipe with the changes that options make."""
    from bnn_training.catalogue import RECIPES
    from bnn_training.topology import scaled_topology

    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, not {name!r}")
    if changes["pixel_threshold"] is not None and (RECIPES[name].input_dtype, RECIPES[name].preprocessing) != ("bit", "pixels"):
        raise UsageError(f"--pixel-threshold makes bits of pixels, and {name} takes more than a bit of each; leave it out")
    recipe = replace(RECIPES[name], **{field: value for field, value in changes.items() if value is not None})
    return recipe if width is None else replace(recipe, topology=scaled_topology(recipe.topology, width))


def _show_data(recipe: "Recipe", dataset: Dataset, as_json: bool) -> None:
    """Shows what was read of a data set, and what is likely to be a mistake in it."""
    from bnn_training.recipes import recipe_input

    if not as_json:
        table(dataset.name, ("", ""), summary(dataset))
    notes = dataset.notes
    if recipe.preprocessing == "pixels":
        notes += pixel_notes(dataset, recipe_input(recipe, dataset.train.images.shape[1:]))
    for note in notes:
        click.echo(f"{click.style('warning:', fg='yellow')} {note}", err=True)


def _train(task: _Task, device: "torch.device", compiled: bool, tensorboard: bool) -> Path:
    """Trains with a progress bar, and with TensorBoard's events if they are wanted; returns the best checkpoint."""
    from bnn_training.distributed import rank
    from bnn_training.trainer import train as run

    what: dict[str, Any] = {"name": task.name, "start": task.start, "device": device, "compiled": compiled}
    with ExitStack() as stack:
        if rank() > 0:
            return run(task.recipe, task.dataset, task.folder, **what)
        show_epoch, on_step = stack.enter_context(_progress(task.recipe))
        hooks = [show_epoch]
        if tensorboard:
            require("tensorboard")
            from bnn_training.tensorboard import tensorboard_log

            hooks.append(stack.enter_context(tensorboard_log(task.folder)))

        def on_epoch(report: "EpochReport", network: "BinaryNetwork") -> None:
            for hook in hooks:
                hook(report, network)

        what |= {"on_start": lambda message: click.echo(message, err=True), "on_epoch": on_epoch, "on_step": on_step}
        return run(task.recipe, task.dataset, task.folder, **what)


@contextmanager
def _progress(recipe: "Recipe") -> Iterator[tuple["EpochHook", "StepHook"]]:
    """Shows a progress bar; yields what moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(recipe.name, last="", visible=False)  # until there is a step

        def on_step(epoch: int, done: int, steps: int) -> None:
            progress.update(bar, description=f"epoch {epoch}/{recipe.epochs}", completed=done, total=steps, visible=True)

        def on_epoch(report: "EpochReport", network: "BinaryNetwork") -> None:
            held_out = "" if report.validation_accuracy is None else f", validation {percent(report.validation_accuracy)}"
            progress.update(bar, last=f"loss {report.loss:.4f}, accuracy {percent(report.train_accuracy)}{held_out}")

        yield on_epoch, on_step


def _finish(task: _Task, best: Path, device: "torch.device", ties: "Ties", as_json: bool) -> None:
    """Plots the training, folds its network and measures both; or says why it cannot be folded, and measures it."""
    from bnn_training.curves import plot_curves
    from bnn_training.export import folding_obstacle, test_accuracy
    from bnn_training.run_folder import CURVES, LOG, NETWORK

    require("matplotlib")
    plot_curves(task.folder / LOG, task.folder / CURVES)
    test = task.dataset.test
    obstacle = folding_obstacle(task.recipe)
    if obstacle is None:
        save_folded(best, task.folder / NETWORK, test, task.name, ties, as_json)
        return
    measured = test_accuracy(best, task.dataset, device)
    if as_json:
        print_json({"checkpoint": str(best), "test_accuracy": measured, "not_folded": obstacle})
        return
    rows = [("checkpoint", str(best)), ("PyTorch model", f"{percent(measured)} of {len(test.labels):,} test images")]
    table(task.recipe.name, ("", ""), [*rows, ("not folded", obstacle)])


def _show_forecast(recipe: "Recipe", dataset: Dataset, device: "torch.device", as_json: bool) -> None:
    from bnn_training.distributed import rank
    from bnn_training.forecast import forecast

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
