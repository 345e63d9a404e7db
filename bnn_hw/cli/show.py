# SPDX-License-Identifier: Apache-2.0
"""What the commands show: tables and progress for people, JSON for machines."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnn_hw.network.network import Conv, Dense, DenseRelu, MaxPool, Network, Scores

__all__ = ["cache_folder", "console", "json_option", "percent", "print_json", "shape_text", "table", "topology", "warn"]

console: Final = Console(stderr=True)  # progress and messages
_output: Final = Console()  # results
_NUMBER: Final = re.compile(r"[\d,.]+( %)?")

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def warn(sentence: str) -> None:
    """Prints what is likely to be a mistake, beside the result."""
    click.echo(f"{click.style('warning:', fg='yellow')} {sentence}", err=True)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Prints a result for machines."""
    click.echo(json.dumps(value, indent=2))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a result for people, without a header where the columns have no names; numbers are set right."""
    _output.print(title, style="bold", highlight=False)
    result = Table(show_header=any(columns))
    for index, column in enumerate(columns):
        numeric = all(_NUMBER.fullmatch(str(row[index])) for row in rows)
        result.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in rows:
        result.add_row(*(Text(str(cell)) for cell in row))  # Text, so that brackets are no markup
    _output.print(result)


def percent(share: object) -> str:
    """Returns a share of 0 to 1 as text; what is no number is unknown."""
    return f"{100 * share:.2f} %" if isinstance(share, float | int) and 0 <= share <= 1 else "unknown"


def shape_text(shape: Sequence[int]) -> str:
    """Returns a shape as text: 32x32x3."""
    return "x".join(map(str, shape))


def topology(network: Network) -> str:
    """Returns a network in the papers' notation, with what it takes: 784-1024-10, 784-1024R-10, 32x32x3-64C3-MP2-512-10.

    A convolution is its outputs and the rows of its window, and the columns where they are not as many; `MP` is a max pooling,
    and `R` stands after the outputs of a layer that gives rectified 8-bit integers.
    """
    first, *_ = network.layers
    images = isinstance(first, Conv | MaxPool)
    parts = [shape_text(network.input.shape if images else (network.input.signal.size,))]
    for layer in network.layers:
        match layer:
            case Conv(kernel=kernel):
                parts.append(f"{len(layer.weights)}C{_window_text(kernel)}")
            case MaxPool(size=size):
                parts.append(f"MP{_window_text(size)}")
            case DenseRelu():
                parts.append(f"{len(layer.weights)}R")
            case Dense() | Scores():
                parts.append(str(len(layer.weights)))
    return "-".join(parts)


def _window_text(window: tuple[int, int]) -> str:
    return shape_text(window[:1] if window[0] == window[1] else window)


def cache_folder() -> Path:
    """Returns where downloads are kept."""
    return Path(click.get_app_dir("bnn_hw"))
