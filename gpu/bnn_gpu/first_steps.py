# SPDX-License-Identifier: Apache-2.0
"""The steps of `gpu/first_run.py`, each for a process of its own: ``python -m bnn_gpu.first_steps products --clusters 2``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product as product_of
from pathlib import Path
from typing import Final

import numpy as np

from bnn_gpu.benchmark import PARTS, run_benchmark
from bnn_gpu.device import Device, open_device
from bnn_gpu.gemm import Packed, Product2D, prepare_product
from bnn_gpu.inference import Inference
from bnn_gpu.launches import issue_rate_launch
from bnn_gpu.layout import Layout, pack_rows, unpack_rows
from bnn_gpu.measure import Bench, Row
from bnn_gpu.products import Product
from bnn_hw.errors import BnnHwError, MismatchError
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden

__all__ = ["FEATURES", "issue_rate", "main", "networks", "products", "variants"]

FEATURES: Final = ("overlap", "clusters", "wgmma")  # Hopper's features that the kernels can do without
_ROUNDS: Final = 16
_SIZES: Final = ((129, 257, 1025), (300, 270, 5300))
_VARIANT_SIZES: Final = (
    (8192, 8192, 8192),
    (8192, 8192, 4096),
    (10_000, 4096, 4096),
    (1024, 4096, 4096),
    (256, 4096, 4096),
    (64, 4096, 4096),
)
_SEED: Final = 2016


def issue_rate(device: Device) -> None:
    """Prints how many cycles a product of bits takes with nothing to load."""
    blocks = device.multiprocessors
    cycles, sink = device.allocate((blocks,), "<i8", zero=True), device.allocate((blocks * 256,), "<i4")
    device.launch(issue_rate_launch(Product.AND, cycles.address, sink.address, _ROUNDS, blocks))
    print(f"{np.median(device.download(cycles)) / (2 * 4 * _ROUNDS):.2f} cycles a product; 128 are the goal")


def products(device: Device, cluster: int | None) -> None:
    """Multiplies random signs to bits, int32 and float32, and compares with numpy. Raises `MismatchError` where they differ."""
    rng = np.random.default_rng(_SEED)
    for rows, columns, inner in _SIZES:
        x, w = (rng.choice(np.array([-1, 1], np.int32), (extent, inner)) for extent in (rows, columns))
        a, b = (Packed(device.upload(pack_rows(operand > 0, Layout(1, inner, 1))), inner) for operand in (x, w))
        sums, thresholds = x @ w.T, rng.integers(0, inner + 2, columns).astype(np.int32)
        for output in ("bits", "int32", "float32"):
            given = device.upload(thresholds) if output == "bits" else None
            product = prepare_product(a, b, device, output=output, thresholds=given, cluster=cluster)
            device.launch(product.constants)
            device.launch(product.multiply)
            found = device.download(product.out)
            if output == "bits":
                _compare(output, unpack_rows(found, Layout(1, columns, 1)), (sums + inner) // 2 >= thresholds)
            else:
                _compare(output, found, sums)
            print(f"{rows} x {columns} x {inner} to {output}: equal", flush=True)


def networks(device: Device) -> None:
    """Classifies a packaged network's test images, by rows and by tiles. Raises `MismatchError` if golden's results differ."""
    network = packaged_network("mnist-tiny")
    images = packaged_test_images(network)
    assert images is not None
    for count in (1, 9, 140):
        some = images.images[:count]
        inference, wanted = Inference(network, count, "uint8", device), golden.scores(network, some)
        placed = device.upload(some)
        for _ in range(2):
            _compare(f"{count} images", device.download(inference(placed)), wanted)
        print(f"{network.name}, {count} images: equal", flush=True)


def variants(device: Device, sizes: Sequence[Sequence[int]]) -> None:
    """Times the product to packed bits on Hopper in clusters of 1 and 2 and tiles of 256 and 64 columns, and prints a table.

    Raises `MismatchError` where a variant differs from numpy on rows that are chosen at random.
    """
    bench = Bench(device, False, lambda row: None)
    print("| rows x columns x bits | clusters of | columns of a tile | result | median µs | least to greatest | TOPS |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for size in sizes:
        rows, columns, inner = size
        rng = np.random.default_rng(_SEED)
        x, w = (rng.integers(0, 2, (extent, inner), np.uint8) for extent in (rows, columns))
        a, b = (Packed(device.upload(pack_rows(operand > 0, Layout(1, inner, 1))), inner) for operand in (x, w))
        thresholds = rng.integers(inner // 2 - 40, inner // 2 + 40, columns).astype(np.int32)
        given, some = device.upload(thresholds), rng.choice(rows, min(rows, 32), replace=False)
        signs = [2.0 * operand.astype(np.float32) - 1 for operand in (x[some], w)]
        wanted = (signs[0] @ signs[1].T + inner) // 2 >= thresholds
        for cluster, tile_columns in product_of((1, 2)[: 1 + device.clusters], (256, 64)):
            product = prepare_product(a, b, device, output="bits", thresholds=given, cluster=cluster, tile_columns=tile_columns)
            device.launch(product.constants)
            check = partial(_equal_rows, device, product, some, wanted, columns)
            bench.add("variants", "", "", "", 2.0 * rows * columns * inner, [product.multiply], check, outputs=[product.out])
            row = bench.rows[-1]
            if row.timing is None or row.result != "equal":
                raise MismatchError(f"clusters of {cluster}, tiles of {tile_columns} columns: {row.result}")
            spread = f"{row.timing.least_us:,.1f} to {row.timing.greatest_us:,.1f}"
            cells = (
                " x ".join(map(str, size)),
                cluster,
                tile_columns,
                row.result,
                f"{row.timing.median_us:,.1f}",
                spread,
                f"{row.tops:,.0f}",
            )
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _equal_rows(device: Device, product: Product2D, some: np.ndarray, wanted: np.ndarray, columns: int) -> str:
    found = unpack_rows(device.download(product.out)[some], Layout(1, columns, 1))
    wrong = int((found != wanted).sum())
    return f"{wrong:,} of {wanted.size:,} differ" if wrong else "equal"


def _compare(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    wrong = np.argwhere(found != wanted)
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise MismatchError(
            f"{name}: {place} is {found[place]}, expected {wanted[place]} ({len(wrong):,} of {wanted.size:,} differ)"
        )


def _show(row: Row) -> None:
    time = "" if row.timing is None else f"{row.timing.median_us:,.1f} µs"
    print(f"{row.size} {row.name}, {row.timed}: {time} {row.result}", flush=True)


def main() -> None:
    """Runs one step. Exits with the error's exit code if the step fails."""
    parser = argparse.ArgumentParser(prog="python -m bnn_gpu.first_steps", description=__doc__)
    parser.add_argument("step", choices=("issue-rate", "products", "networks", "benchmark", "variants"))
    parser.add_argument("--without", action="append", choices=FEATURES, default=[], help="what of Hopper is not used")
    parser.add_argument("--clusters", type=int, choices=(1, 2), help="how many blocks share what they load; for products")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-benchmark"), help="for the benchmark's results")
    parser.add_argument("--quick", action="store_true", help="two sizes and few batches; for the benchmark")
    parser.add_argument("--part", action="append", choices=PARTS, help="of the benchmark, instead of all")
    parser.add_argument(
        "--size", type=int, nargs=3, action="append", help="rows, columns and bits; for variants, instead of theirs"
    )
    arguments = parser.parse_args()
    overlap, clusters, wgmma = (feature not in arguments.without for feature in FEATURES)
    try:
        if arguments.step == "benchmark":
            results = run_benchmark(
                arguments.out,
                quick=arguments.quick,
                overlap=overlap,
                clusters=clusters,
                wgmma=wgmma,
                parts=arguments.part or PARTS,
                on_row=_show,
            )
            wrong = [row for row in results["rows"] if "differ" in row["result"]]
            if wrong:
                raise MismatchError(f"{len(wrong)} rows differ from their reference, the first is {wrong[0]['name']}")
            return
        device = open_device(overlap=overlap, clusters=clusters, wgmma=wgmma)
        match arguments.step:
            case "issue-rate":
                issue_rate(device)
            case "products":
                products(device, arguments.clusters)
            case "networks":
                networks(device)
            case "variants":
                variants(device, arguments.size or _VARIANT_SIZES)
    except BnnHwError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
