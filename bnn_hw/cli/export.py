# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw export`, and what is shown of a network that has been folded."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bnn_hw.cli.data import data_options
from bnn_hw.cli.parameters import CHECKPOINT, NEW_FILE
from bnn_hw.cli.show import cache_folder, json_option, percent, print_json, table
from bnn_hw.datasets import DATASETS, Split
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.errors import ArtefactError
from bnn_hw.network.file import network_digest, save_network
from bnn_hw.network.network import Network, check_network_name
from bnn_hw.tools import require

if TYPE_CHECKING:
    from bnn_training.checkpoint import Checkpoint
    from bnn_training.folding import Agreement, Ties

__all__ = ["export", "fold_options", "save_folded"]

_F = TypeVar("_F", bound=Callable[..., Any])
_DECIDED = {"torch": "as PyTorch rounds here", "exact": "without rounding"}


def fold_options(command: _F) -> _F:
    """Adds --name and --ties to a command: `name: str | None` and `ties: Ties`, which `save_folded` takes."""
    name = click.option("--name", callback=_checked_name, help="The network's name; without it, the data set's or the recipe's.")
    ties = click.option(
        "--ties",
        type=click.Choice(["torch", "exact"]),
        default="torch",
        show_default=True,
        help="What decides at sums within rounding of a threshold: PyTorch's floats, or rational arithmetic.",
    )
    return name(ties(command))


def _checked_name(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            check_network_name(value)
    except ArtefactError as error:
        raise click.BadParameter(str(error), context, option) from error
    return value


@click.command()
@click.argument("checkpoint", type=CHECKPOINT)
@click.option("--out", type=NEW_FILE, required=True, help="The network file to write.")
@data_options
@fold_options
@json_option
def export(
    checkpoint: Path,
    out: Path,
    data: ChosenData,
    name: str | None,
    ties: "Ties",
    as_json: bool,
) -> None:
    """Fold a checkpoint into a network file; with --data, measure it on the test set as well.

    The data must be those that it was trained on.

    \b
    bnn_hw export runs/mnist/best.safetensors --out mnist.safetensors --data DIR
    """
    require("torch")
    from bnn_training.checkpoint import load_checkpoint

    saved = load_checkpoint(checkpoint)
    test = None
    if data.path is not None and (data.asked_for or saved.data.name in DATASETS):  # BNN_HW_DATA holds published data sets alone
        test = _test_images(saved, checkpoint, data)
    save_folded(checkpoint, out, test, name, ties, as_json)


def _test_images(saved: "Checkpoint", path: Path, data: ChosenData) -> Split:
    """Returns the test images of the data that a checkpoint was trained on. Raises `ArtefactError` where `data` are others."""
    from bnn_training.continuation import data_differences

    if saved.data.name not in DATASETS:
        data = replace(data, classes=data.classes or saved.data.class_names, own=True)
    dataset = data.open(saved.data.name, cache_folder())
    found = data_differences(saved, dataset.train.images.shape[1:], dataset.identity)
    if found:
        raise ArtefactError(
            f"{path} was trained on other data than {data.path}: {'; '.join(found)}; name those, or leave --data out"
        )
    return dataset.test


def save_folded(checkpoint: Path, out: Path, test: Split | None, name: str | None, ties: "Ties", as_json: bool) -> None:
    """Folds a checkpoint into a network file, measures it on `test` images if there are any, and shows both."""
    from bnn_training.folding import export_checkpoint

    network, agreement = export_checkpoint(checkpoint, test, name=name, ties=ties)
    save_network(network, out)
    (_print_json if as_json else _show)(network, agreement, out)


def _print_json(network: Network, agreement: "Agreement | None", out: Path) -> None:
    print_json(
        {
            "network": str(out),
            "name": network.name,
            "network_sha256": network_digest(network),
            "agreement": asdict(agreement) if agreement else None,
            "ties": network.provenance["ties"],
            "near_ties": network.provenance["near_ties"],
        }
    )


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
    near, decided = network.provenance["near_ties"], _DECIDED[network.provenance["ties"]]
    rows.append(("sums within an ulp of a threshold", f"{near:,}, decided {decided}" if near else "0"))
    table(network.name, ("", ""), rows)
