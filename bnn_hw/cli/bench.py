# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from bnn_hw.cli.data import data_options
from bnn_hw.cli.parameters import NEW_FOLDER
from bnn_hw.cli.show import cache_folder, console, json_option, print_json
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.errors import ArtefactError

if TYPE_CHECKING:
    from bnn_gpu.measure import Row

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure speed, correctness first."""


@bench.command()
@click.option("--quick", is_flag=True, help="Two sizes and few batches, in under two minutes.")
@click.option("--out", type=NEW_FOLDER, default=Path("build/gpu-benchmark"), show_default=True, help="For the results.")
@click.option("--replace", is_flag=True, help="Delete the results of another run in that folder.")
@click.option("--overlap/--no-overlap", default=True, help="Let kernels start before the one before is done, on Hopper and later.")
@data_options
@json_option
def gpu(quick: bool, out: Path, replace: bool, overlap: bool, data: ChosenData, as_json: bool) -> None:
    """Binary products and networks on the GPU at hand, beside the BNN paper's kernels and cuBLAS.

    The paper's network takes the test images of --data, MNIST's or others of 28x28, or else random ones.

    \b
    bnn_hw bench gpu --quick
    bnn_hw bench gpu --out results
    """
    if (out / "results.json").exists() and not replace:
        raise ArtefactError(f"{out} holds the results of another run; give another --out, or --replace to delete them")
    from bnn_gpu.benchmark import run_benchmark

    images = _flattened(data.open_test("mnist", cache_folder()).images) if data.asked_for else None
    results = run_benchmark(out, quick=quick, overlap=overlap, images=images, on_row=_show)
    (print_json(results) if as_json else click.echo((out / "results.md").read_text()))


def _flattened(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _show(row: "Row") -> None:
    time = "" if row.timing is None else f"{row.timing.median_us:12,.1f} µs"
    rate = "" if row.tops is None else f"{row.tops:12,.1f} TOPS"
    console.print(f"{row.size:>14} {row.name}, {row.timed}:{time}{rate}  {row.result}", highlight=False)
