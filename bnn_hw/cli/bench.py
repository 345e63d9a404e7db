# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw bench`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnn_hw.cli.show import console, json_option, print_json
from bnn_hw.datasets import load_mnist
from bnn_hw.errors import ArtefactError

if TYPE_CHECKING:
    from bnn_gpu.measure import Row

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure speed, correctness first."""


@bench.command()
@click.option("--quick", is_flag=True, help="Two sizes and few batches, in under two minutes.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("build/gpu-benchmark"), show_default=True, help="For the results."
)
@click.option("--replace", is_flag=True, help="Delete the results of another run in that folder.")
@click.option("--overlap/--no-overlap", default=True, help="Let kernels start before the one before is done, on Hopper and later.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of MNIST's official files, whose test images the paper's network then takes instead of random ones.",
)
@json_option
def gpu(quick: bool, out: Path, replace: bool, overlap: bool, data: Path | None, as_json: bool) -> None:
    """Binary products and networks on the GPU at hand, beside the BNN paper's kernels and cuBLAS.

    \b
    bnn_hw bench gpu --quick
    bnn_hw bench gpu --out results
    """
    if (out / "results.json").exists() and not replace:
        raise ArtefactError(f"{out} holds the results of another run; give another --out, or --replace to delete them")
    from bnn_gpu.benchmark import run_benchmark

    images = None if data is None else load_mnist(data).test.images.reshape(-1, 784)
    results = run_benchmark(out, quick=quick, overlap=overlap, images=images, on_row=_show)
    (print_json(results) if as_json else click.echo((out / "results.md").read_text()))


def _show(row: "Row") -> None:
    time = "" if row.timing is None else f"{row.timing.median_us:12,.1f} µs"
    rate = "" if row.tops is None else f"{row.tops:12,.1f} TOPS"
    console.print(f"{row.size:>14} {row.name}, {row.timed}:{time}{rate}  {row.result}", highlight=False)
