# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train` and `bnn_hw export`."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnn_hw.cli.show import cache_folder, console, data_option, json_option, percent, print_json, table
from bnn_hw.datasets import Split, load_dataset
from bnn_hw.errors import UsageError
from bnn_hw.network import Network
from bnn_hw.network_file import network_digest, save_network
from bnn_hw.tools import require

if TYPE_CHECKING:
    from bnn_training.export import Agreement
    from bnn_training.trainer import EpochReport

__all__ = ["export", "train"]


@click.command()
@click.option("--model", required=True, help="The recipe's name, which is that of the packaged network.")
@data_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of checkpoints and log; runs/<model> without it.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the recipe's.")
@click.option("--threads", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default=True, help="Processor threads.")
@json_option
def train(
    model: str, data: Path | None, out: Path | None, epochs: int | None, seed: int | None, threads: int, as_json: bool
) -> None:
    """Train a network, fold it to integers and measure both.

    A training that was stopped goes on where it stood when the same command is given again.

    \b
    bnn_hw train --model mnist-tiny --data DIR
    bnn_hw train --model mnist --epochs 20 --out runs/quick
    """
    require("torch")
    import torch

    from bnn_training import recipes, trainer

    if model not in recipes.RECIPES:
        raise UsageError(f"--model must be one of {', '.join(recipes.RECIPES)}, not {model!r}")
    changes: dict[str, Any] = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    recipe = replace(recipes.RECIPES[model], **changes)
    dataset = load_dataset(recipe.dataset, data, cache_folder())
    folder = out if out is not None else Path("runs") / model
    torch.set_num_threads(threads)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(model, last="")

        def on_step(epoch: int, done: int, steps: int) -> None:
            progress.update(bar, description=f"epoch {epoch}/{recipe.epochs}", completed=done, total=steps)

        def on_epoch(report: "EpochReport") -> None:
            held_out = "" if report.validation_accuracy is None else f", validation {percent(report.validation_accuracy)}"
            progress.update(bar, last=f"loss {report.loss:.4f}, accuracy {percent(report.train_accuracy)}{held_out}")

        best = trainer.train(recipe, dataset, folder, on_epoch=on_epoch, on_step=on_step)
    _export(best, folder / "network.safetensors", dataset.test, as_json)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The network file to write.")
@data_option
@json_option
def export(checkpoint: Path, out: Path, data: Path | None, as_json: bool) -> None:
    """Fold a checkpoint into a network file; with --data, measure it on the test set as well.

    \b
    bnn_hw export runs/mnist/best.safetensors --out mnist.safetensors --data DIR
    """
    require("torch")
    from bnn_training.checkpoint import load_checkpoint

    recipe = load_checkpoint(checkpoint).recipe
    test = load_dataset(recipe.dataset, data, cache_folder()).test if data is not None else None
    _export(checkpoint, out, test, as_json)


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
    table(network.name, ("", ""), rows)
