# SPDX-License-Identifier: Apache-2.0
"""The benchmark: the paper's table and ours on the GPU at hand, correctness first, to JSON, Markdown and a plot."""

import json
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from bnn_gpu.bench_networks import (
    BATCHES,
    PAPER_IMAGES,
    QUICK_BATCHES,
    bench_batches,
    bench_paper_network,
    paper_network,
)
from bnn_gpu.bench_products import QUICK_SIZES, SIZES, bench_size
from bnn_gpu.device import open_device
from bnn_gpu.measure import Bench, Row, clocks, require_torch
from bnn_gpu.products import Product
from bnn_hw import __version__
from bnn_hw.errors import ArtefactError
from bnn_hw.network.random_images import random_images

__all__ = ["PARTS", "Part", "markdown", "run_benchmark"]

Part: TypeAlias = Literal["networks", "products"]
PARTS: Final[tuple[Part, ...]] = ("networks", "products")
_SEED = 2016


def run_benchmark(
    folder: Path,
    *,
    quick: bool = False,
    overlap: bool = True,
    clusters: bool = True,
    wgmma: bool = True,
    parts: Collection[Part] = PARTS,
    images: np.ndarray | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> dict[str, Any]:
    """Measures everything and returns it; writes results.json, .md and .png to `folder`, the first two after each part.

    `overlap`, `clusters` and `wgmma` are as for `open_device`. `images`: [images, 784] uint8 for the paper's network, MNIST's test
    set; None: random images. Raises `ToolError` before writing anything if the GPU, the driver or torch is missing.
    """
    device = open_device(overlap=overlap, clusters=clusters, wgmma=wgmma)
    require_torch()
    bench = Bench(device, quick, on_row)
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device.name,
        "multiprocessors": device.multiprocessors,
        "clock_mhz": device.clock_mhz,
        "l2_bytes": device.l2_bytes,
        "target": device.target,
        "bnn_hw": __version__,
        "seed": _SEED,
        "clocks_idle": clocks(),
    }
    network = paper_network(_SEED)
    if images is not None and (images.shape[1:] != (784,) or images.dtype != np.uint8):
        raise ArtefactError(f"images must be [images, 784] uint8, not {list(images.shape)} {images.dtype}")
    chosen = random_images(network.input, 1000 if quick else PAPER_IMAGES, _SEED) if images is None else images
    work: list[Callable[[], None]] = []
    if device.target == "sm_90a":
        work += [lambda product=product: bench.issue_rate(product) for product in (Product.AND, Product.U8)]  # type: ignore[misc]
    if "networks" in parts:
        work += [lambda: bench_paper_network(bench, network, chosen)]
        work += [lambda: bench_batches(bench, network, QUICK_BATCHES if quick else BATCHES, _SEED)]
    if "products" in parts:
        order = sorted(QUICK_SIZES if quick else SIZES, key=lambda size: size != 8192)  # the paper's size first
        work += [lambda size=size: bench_size(bench, size, _SEED) for size in order]  # type: ignore[misc]
    folder.mkdir(parents=True, exist_ok=True)
    for part in work:
        part()
        facts["clocks_loaded"], facts["clock_mhz_loaded"] = clocks(), bench.clock_mhz
        (folder / "results.json").write_text(json.dumps(bench.json(facts), indent=2) + "\n")
        (folder / "results.md").write_text(markdown(bench.rows, facts))
    _plot(bench.rows, folder / "results.png", device.name)
    return bench.json(facts)


def markdown(rows: list[Row], facts: dict[str, Any]) -> str:
    """Returns the tables: each section's rows with time, spread, rate, and how many times as fast as fp32 and the baseline."""
    peak = next((row.tops for row in rows if row.section == "peak" and row.tops), None)
    lines = [
        f"{facts['device']}, {facts['date']}; under load, SM and memory clock, power, °C, driver: {facts['clocks_loaded']}",
        _caches_and_clock(facts),
        "",
    ]
    lines += [
        "| what | timed | size | result | median µs | least to greatest | TOPS | of b1 peak | times baseline | times cuBLAS fp32 |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        references = [
            next(
                (
                    other
                    for other in rows
                    if other.section == row.section and other.size == row.size and other.name == name and _plain(other)
                ),
                None,
            )
            for name in ("paper: baseline kernel", "cuBLAS fp32")
        ]
        cells = [row.name, row.timed, row.size, row.result]
        if row.timing is None:
            cells += [""] * 6
        else:
            timing = row.timing
            cells += [
                f"{timing.median_us:,.1f}",
                f"{timing.least_us:,.1f} to {timing.greatest_us:,.1f}",
                f"{row.tops:,.1f}" if row.tops else "",
            ]
            cells += [f"{row.tops / peak:.0%}" if peak and row.tops else ""]
            cells += [f"{other.timing.median_us / timing.median_us:,.1f}" if other and other.timing else "" for other in references]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _caches_and_clock(facts: dict[str, Any]) -> str:
    megabytes = 3 * 8192**2 / 8 / 1e6
    warm = (
        f"L2 is warm but where a row says cold: 8192^3 in bits is {megabytes:.0f} MB with its result, "
        f"of {facts['l2_bytes'] / 1e6:.0f} MB of L2"
    )
    clock = facts["clock_mhz_loaded"]
    return warm if clock is None else f"{warm}; SM clock by the cycles that wgmma takes: {clock:,.0f} MHz"


def _plain(row: Row) -> bool:
    return not row.timed.startswith("end to end")


def _plot(rows: list[Row], path: Path, device: str) -> None:
    """Draws TOPS against size, and images a second against batch; nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    products = [row for row in rows if row.section == "products" and row.tops]
    for name, timed in dict.fromkeys((row.name, row.timed) for row in products):
        line = [row for row in products if (row.name, row.timed) == (name, timed)]
        points = sorted((int(row.size.split("^")[0]), row.tops) for row in line if row.tops)
        if len(points) > 1:
            left.plot(*zip(*points, strict=True), marker="o", label=f"{name}, {timed}")
    left.set(xscale="log", yscale="log", xlabel="size of a square product", ylabel="TOPS", title=device)
    batches = [row for row in rows if row.section == "batches" and row.timing and row.timed.startswith("resident")]
    times = sorted((int(row.size.split()[0].replace(",", "")), row.timing.median_us) for row in batches if row.timing)
    right.plot([batch for batch, _ in times], [1e6 * batch / median_us for batch, median_us in times], marker="o")
    right.set(
        xscale="log", yscale="log", xlabel="images at a time", ylabel="images a second", title="784-4096-4096-4096-10, resident"
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if left.lines:
        left.legend(fontsize=6)
    figure.savefig(path, dpi=150, metadata={"Software": None})
