# SPDX-License-Identifier: Apache-2.0
"""What binarization costs: a training step beside one of the same network without it, in turns.

python training/benchmark.py [RECIPE ...] [--steps N] [--threads N] [--device D] [--compile] [--json]
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from bnn_training.binary_layers import BinaryLayer
from bnn_training.catalogue import RECIPES
from bnn_training.losses import squared_hinge
from bnn_training.model import BinaryNetwork
from bnn_training.optimizers import make_optimizer, set_learning_rate
from bnn_training.recipes import Recipe, recipe_network

RECIPE_NAMES = (
    "mnist-bnn-theano",
    "mnist-paper",
    "mnist-bnn-torch7",
    "mnist-bnn-torch7-fast",
    "mnist-binaryconnect-det",
    "mnist",
    "cifar10",
)
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "svhn": (32, 32, 3)}


def without_binarization(network: BinaryNetwork) -> BinaryNetwork:
    """Returns the network with its real weights in training too, and for the sign the hard tanh, whose gradient it has."""

    def real_operands(product: BinaryLayer) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        return lambda x: (x.to(product.product_dtype), product.weight.to(product.product_dtype))

    for block in network.stages:
        block.product.operands = real_operands(block.product)  # type: ignore[method-assign]
    if network.activation != "relu":
        network._activated = functional.hardtanh  # type: ignore[method-assign]
    network.clip = lambda: None  # type: ignore[method-assign]
    return network


def step_of(network: BinaryNetwork, recipe: Recipe, device: torch.device, compiled: bool) -> Callable[[], None]:
    """Returns a function that makes one training step on random images."""
    rows, columns, channels = SHAPES[recipe.dataset]
    images = torch.randint(-128, 128, (recipe.batch, channels, rows, columns), device=device).float()
    labels = torch.randint(0, 10, (recipe.batch,), device=device)
    forward: nn.Module = torch.compile(network) if compiled else network  # type: ignore[assignment]
    optimizer = make_optimizer(recipe.optimizer, network)
    set_learning_rate(optimizer, recipe.learning_rate)

    def step() -> None:
        loss = squared_hinge(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.clip()
        loss.item()  # so that a GPU comes to an end

    return step


def times_ms(steps: tuple[Callable[[], None], ...], count: int) -> Iterator[list[float]]:
    """Yields the times of `count` calls of each function, made in turns after two that are not timed."""
    taken: list[list[float]] = [[] for _ in steps]
    for turn in range(count + 2):
        for times, step in zip(taken, steps, strict=True):
            started = time.perf_counter()
            step()
            if turn >= 2:
                times.append(1000 * (time.perf_counter() - started))
    yield from taken


@click.command()
@click.argument("recipes", nargs=-1, type=click.Choice(list(RECIPES)))
@click.option("--steps", default=20, show_default=True, help="Timed steps of each network.")
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads.")
@click.option("--device", "device_name", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile make the kernels of both.")
@click.option("--json", "as_json", is_flag=True)
def main(recipes: tuple[str, ...], steps: int, threads: int | None, device_name: str, compiled: bool, as_json: bool) -> None:
    """Time a training step of recipes beside that of the same network without binarization."""
    if threads:
        torch.set_num_threads(threads)
    device = torch.device(device_name)
    rows = []
    for name in recipes or RECIPE_NAMES:
        recipe = RECIPES[name]
        torch.manual_seed(1)
        binary = recipe_network(recipe, SHAPES[recipe.dataset], 10).to(device)
        plain = without_binarization(recipe_network(recipe, SHAPES[recipe.dataset], 10).to(device))
        functions = step_of(binary, recipe, device, compiled), step_of(plain, recipe, device, compiled)
        with_ms, without_ms = times_ms(functions, steps)
        ratios = sorted(a / b for a, b in zip(with_ms, without_ms, strict=True))
        rows.append(
            {
                "recipe": name,
                "batch": recipe.batch,
                "binary_ms": statistics.median(with_ms),
                "plain_ms": statistics.median(without_ms),
                "ratio": statistics.median(ratios),
                "ratio_quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
            }
        )
    if as_json:
        click.echo(json.dumps({"device": device_name, "threads": torch.get_num_threads(), "steps": steps, "rows": rows}, indent=2))
        return
    table = Table("recipe", "batch", "binary", "without", "ratio", "half of the ratios")
    for row in rows:
        low, high = row["ratio_quartiles"]
        table.add_row(
            row["recipe"],
            str(row["batch"]),
            f"{row['binary_ms']:.1f} ms",
            f"{row['plain_ms']:.1f} ms",
            f"{row['ratio']:.2f}",
            f"{low:.2f}-{high:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
