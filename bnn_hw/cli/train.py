# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train` and `bnn_hw export`."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnn_hw.cli.parameters import FiniteFloat
from bnn_hw.cli.show import cache_folder, console, json_option, percent, print_json, table
from bnn_hw.datasets import Dataset, Split, is_own_dataset, load_dataset, load_own_dataset
from bnn_hw.errors import ToolError, UsageError
from bnn_hw.network import Network
from bnn_hw.network_file import network_digest, save_network
from bnn_hw.tools import require

if TYPE_CHECKING:
    import torch

    from bnn_training.export import Agreement
    from bnn_training.network import BinaryNetwork
    from bnn_training.recipes import Recipe
    from bnn_training.trainer import EpochReport

    EpochHook = Callable[[EpochReport, BinaryNetwork], None]
    StepHook = Callable[[int, int, int], None]

__all__ = ["export", "train"]


_own_data_option: Final = click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    envvar="BNN_HW_DATA",
    show_envvar=True,
    help="Folder of the data set's official files (without it, they are downloaded), or a data set of your own: a folder of "
    "train/<class>/ and test/<class>/ with images, or an .npz file.",
)
_classes_option: Final = click.option("--classes", default="", help="The classes of your own data set, in order: cat,dog,bird.")


@click.command()
@click.option("--recipe", "--model", "recipe_name", required=True, help="The recipe's name; a packaged network's is its own.")
@_own_data_option
@_classes_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of checkpoints and log; runs/<recipe> without it.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step, of all processes, instead of the recipe's.")
@click.option("--lr", "learning_rate", type=FiniteFloat(min=0, min_open=True), help="Instead of the recipe's first one.")
@click.option("--width", type=FiniteFloat(min=0, min_open=True), help="A factor on the outputs of all hidden layers.")
@click.option("--validation", type=click.IntRange(min=0), help="Images to hold out of those that train, instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the recipe's.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor threads of each process; without it, all there are.")
@click.option("--device", "device_name", help="cpu, cuda or cuda:N; a GPU without it, if there is one.")
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile make the kernels of a step.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the folder.")
@click.option("--dry-run", is_flag=True, help="Only say what the training will take.")
@json_option
def train(
    recipe_name: str,
    data: Path | None,
    classes: str,
    out: Path | None,
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
    from bnn_training.distributed import process_group, rank

    recipe = _recipe(recipe_name, width, changes)
    dataset = _dataset(recipe.dataset, data, classes)
    recipe = replace(recipe, dataset=dataset.name)
    folder = out if out is not None else Path("runs") / recipe.name
    _set_threads(threads)
    with process_group(os.environ, _device(device_name)) as device:
        if dry_run:
            _show_forecast(recipe, dataset, device, as_json)
            return
        best = _train(recipe, dataset, folder, device, compiled, tensorboard)
        if rank() == 0:
            _finish(recipe, dataset, best, folder, device, as_json)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The network file to write.")
@_own_data_option
@_classes_option
@json_option
def export(checkpoint: Path, out: Path, data: Path | None, classes: str, as_json: bool) -> None:
    """Fold a checkpoint into a network file; with --data, measure it on the test set as well.

    \b
    bnn_hw export runs/mnist/best.safetensors --out mnist.safetensors --data DIR
    """
    require("torch")
    from bnn_training.checkpoint import load_checkpoint

    recipe = load_checkpoint(checkpoint).recipe
    _export(checkpoint, out, _dataset(recipe.dataset, data, classes).test if data is not None else None, as_json)


def _recipe(name: str, width: float | None, changes: dict[str, Any]) -> "Recipe":
    """Returns a recipe with the changes that options make."""
    from bnn_training.catalogue import RECIPES
    from bnn_training.topology import scaled_topology

    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, not {name!r}")
    recipe = replace(RECIPES[name], **{field: value for field, value in changes.items() if value is not None})
    return recipe if width is None else replace(recipe, topology=scaled_topology(recipe.topology, width))


def _dataset(name: str, data: Path | None, classes: str) -> Dataset:
    """Returns one's own data set if `data` is one, else that of the name."""
    if data is not None and is_own_dataset(data):
        return load_own_dataset(data, [name for name in classes.split(",") if name])
    if classes:
        raise UsageError("--classes goes with a data set of your own, which --data must name")
    return load_dataset(name, data, cache_folder())


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    elif "WORLD_SIZE" not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)


def _device(name: str | None) -> "torch.device":
    """Returns the device of that name. Raises `ToolError` when it is a GPU and there is none."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device must be cpu, cuda or cuda:N, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device must be cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ToolError(f"--device {name}: PyTorch finds {found} GPUs here; leave --device out to use the processor")
    return device


def _train(recipe: "Recipe", dataset: Dataset, folder: Path, device: "torch.device", compiled: bool, tensorboard: bool) -> Path:
    """Trains with a progress bar, and with TensorBoard's events if they are wanted; returns the best checkpoint."""
    from bnn_training.distributed import rank
    from bnn_training.trainer import train as run

    with ExitStack() as stack:
        if rank() > 0:
            return run(recipe, dataset, folder, device=device, compiled=compiled)
        show_epoch, on_step = stack.enter_context(_progress(recipe))
        hooks = [show_epoch]
        if tensorboard:
            require("tensorboard")
            from bnn_training.tensorboard import tensorboard_log

            hooks.append(stack.enter_context(tensorboard_log(folder)))

        def on_epoch(report: "EpochReport", network: "BinaryNetwork") -> None:
            for hook in hooks:
                hook(report, network)

        return run(recipe, dataset, folder, device=device, compiled=compiled, on_epoch=on_epoch, on_step=on_step)


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
        bar = progress.add_task(recipe.name, last="")

        def on_step(epoch: int, done: int, steps: int) -> None:
            progress.update(bar, description=f"epoch {epoch}/{recipe.epochs}", completed=done, total=steps)

        def on_epoch(report: "EpochReport", network: "BinaryNetwork") -> None:
            held_out = "" if report.validation_accuracy is None else f", validation {percent(report.validation_accuracy)}"
            progress.update(bar, last=f"loss {report.loss:.4f}, accuracy {percent(report.train_accuracy)}{held_out}")

        yield on_epoch, on_step


def _finish(recipe: "Recipe", dataset: Dataset, best: Path, folder: Path, device: "torch.device", as_json: bool) -> None:
    """Plots the training, folds its network and measures both; or says why it cannot be folded, and measures it."""
    from bnn_training.curves import plot_curves
    from bnn_training.export import folding_obstacle, test_accuracy
    from bnn_training.trainer import LOG

    require("matplotlib")
    plot_curves(folder / LOG, folder / "curves.png")
    obstacle = folding_obstacle(recipe)
    if obstacle is None:
        _export(best, folder / "network.safetensors", dataset.test, as_json)
        return
    measured = test_accuracy(best, dataset, device)
    if as_json:
        print_json({"checkpoint": str(best), "test_accuracy": measured, "not_folded": obstacle})
        return
    rows = [("checkpoint", str(best)), ("PyTorch model", f"{percent(measured)} of {len(dataset.test.labels):,} test images")]
    table(recipe.name, ("", ""), [*rows, ("not folded", obstacle)])


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


def _export(checkpoint: Path, out: Path, test: Split | None, as_json: bool) -> None:
    from bnn_training.export import export_checkpoint

    network, agreement = export_checkpoint(checkpoint, test)
    save_network(network, out)
    (_print_json if as_json else _show)(network, agreement, out)


def _print_json(network: Network, agreement: "Agreement | None", out: Path) -> None:
    measured = asdict(agreement) if agreement else None
    print_json({"network": str(out), "network_sha256": network_digest(network), "agreement": measured})


def _show(network: Network, agreement: "Agreement | None", out: Path) -> None:
    rows = [("network file", str(out)), ("SHA-256", network_digest(network))]
    if agreement:
        rows += [
            ("PyTorch model", f"{percent(agreement.float_accuracy)} of {agreement.images:,} test images"),
            ("folded network", percent(agreement.folded_accuracy)),
            ("decisions that differ", f"{agreement.differing_decisions:,}"),
        ]
        if agreement.real_weights_accuracy is not None:
            rows.append(("PyTorch model with real weights", percent(agreement.real_weights_accuracy)))
    table(network.name, ("", ""), rows)
