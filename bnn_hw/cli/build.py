# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw build` and `bnn_hw verify`."""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import click
import numpy as np

from bnn_hw.artefacts.digests import NAME_DIGITS
from bnn_hw.cli.bitstream import show_bitstream
from bnn_hw.cli.data import data_options
from bnn_hw.cli.model import MODEL_HELP
from bnn_hw.cli.parameters import NEW_FOLDER, CountOrWord, FiniteFloat
from bnn_hw.cli.show import cache_folder, console, json_option, percent, print_json, shape_text, table, warn
from bnn_hw.contract.feasible import check_feasible
from bnn_hw.contract.registers import ADDRESS_BITS
from bnn_hw.contract.system import block_design
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.datasets.of_network import NOT_ITS_DATA, identified_test_images, network_test_images
from bnn_hw.datasets.sample import even_sample
from bnn_hw.design.estimate import design_resources
from bnn_hw.design.lower import Design
from bnn_hw.design.plan_file import load_plan
from bnn_hw.design.planner import find_plan, limits
from bnn_hw.design.units import MatVec, Pool
from bnn_hw.errors import UsageError
from bnn_hw.flow.build import BuildResult
from bnn_hw.flow.build import build as make_build
from bnn_hw.flow.verify import Verification, verify_build
from bnn_hw.fpga.boards import Board, find_board
from bnn_hw.models.packaged import is_packaged, load
from bnn_hw.network.file import network_digest
from bnn_hw.network.network import Network, Step
from bnn_hw.network.vectors import Vectors, make_vectors
from bnn_hw.vivado import make_bitstream

__all__ = ["build", "verify"]

_VECTOR_IMAGES: Final = 256


@click.command()
@click.option("--model", required=True, help=MODEL_HELP)
@click.option("--board", "board_name", default="pynq-z2", show_default=True, help="The board (see `bnn_hw boards`).")
@click.option("--name", help="Of the network, and with it of module, core and folder, instead of its own.")
@click.option(
    "--out",
    type=NEW_FOLDER,
    help="The build's folder; without it build/<name>-<board>, where <name> has the digest of a network that is not packaged.",
)
@click.option("--replace", "replaced", is_flag=True, help="Delete what was made there of another build, such as a bitstream.")
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path),
    help="A plan.json, as a build writes it, edited.",
)
@click.option("--fps", type=FiniteFloat(min=0, min_open=True), help="Find the cheapest plan that reaches so many images/s.")
@click.option("--runtime-weights", is_flag=True, help="Make weights replaceable without synthesis, by a network of the same shape.")
@click.option("--verify/--no-verify", "verified", default=True, help="Simulate the Verilog before the build is sealed.")
@click.option("--bitstream", "with_bitstream", is_flag=True, help="Then run Vivado, as `bnn_hw bitstream` does.")
@data_options
@json_option
def build(
    model: str,
    data: ChosenData,
    board_name: str,
    name: str | None,
    out: Path | None,
    replaced: bool,
    plan_path: Path | None,
    fps: float | None,
    runtime_weights: bool,
    verified: bool,
    with_bitstream: bool,
    as_json: bool,
) -> None:
    """Make verified Verilog from a network.

    The plan says what is computed in a cycle: the fastest that the board has room for, or that of --fps or --plan. `bnn_hw
    synth` shows what the build takes of the FPGA. Its vectors, which every executor replays, are 256 test images of --data, or
    else the packaged test images; random inputs where the package has none.

    \b
    bnn_hw build --model mnist
    bnn_hw build --model runs/pictures/network.safetensors --data pictures
    bnn_hw build --model mnist-small --board zcu104 --fps 1e6
    bnn_hw build --model network.safetensors --plan plan.json --out build/mine
    """
    if plan_path is not None and fps is not None:
        raise UsageError("--plan and --fps exclude each other: a plan already says how fast it is")
    board = find_board(board_name)
    if with_bitstream:
        block_design(board, ADDRESS_BITS)  # so that a board without a processor is refused before the build
    network = load(model)
    if name is not None:
        network = replace(network, name=name)
    check_feasible(network, board, runtime_weights=runtime_weights)  # before a plan is sought and images are read
    if plan_path is not None:
        plan = load_plan(plan_path, network, board, runtime_weights=runtime_weights)
    else:
        plan = find_plan(network, board, fps, runtime_weights=runtime_weights)
    vectors = _test_vectors(network, data)
    folder = out if out is not None else _default_folder(network, board)
    with console.status(f"building {network.name}") as status:
        result = make_build(
            network,
            board,
            plan,
            folder,
            vectors=vectors,
            verify=verified,
            replace=replaced,
            on_step=lambda step: status.update(f"{network.name}: {step}"),
        )
        overlay = make_bitstream(folder, on_step=lambda step: status.update(f"{folder}: {step}")) if with_bitstream else None
    origin = _origin(vectors, result)
    if as_json:
        print_json(_summary(result, board) | {"vectors": origin, "bitstream": overlay and asdict(overlay)})
        return
    _show(result, board, origin)
    if overlay:
        show_bitstream(folder, overlay)


def _default_folder(network: Network, board: Board) -> Path:
    """Returns the folder of a build that has been given none: networks that differ have different ones."""
    name = network.name if is_packaged(network) else f"{network.name}-{network_digest(network)[:NAME_DIGITS]}"
    return Path("build") / f"{name}-{board.name}"


def _test_vectors(network: Network, data: ChosenData) -> Vectors | None:
    """Returns vectors of test images where --data asks for them, with labels where the network was trained on these data."""
    if not data.asked_for:
        return None
    test, identified = identified_test_images(network, data, cache_folder())
    sample = even_sample(test, _VECTOR_IMAGES)
    if not identified:
        warn(f"{NOT_ITS_DATA}, so the vectors have no labels")
    return make_vectors(network, sample.images, sample.labels if identified else None)


def _origin(vectors: Vectors | None, result: BuildResult) -> str:
    """Returns of what the vectors of a build are."""
    if vectors is not None:
        return f"{len(vectors.inputs):,} test images" + ("" if vectors.labels is not None else ", without labels")
    return "random inputs" if result.vector_accuracy is None else "packaged test images"


def _summary(result: BuildResult, board: Board) -> dict[str, object]:
    manifest = result.manifest
    return {
        "folder": str(result.folder),
        "network": result.design.network.name,
        "network_sha256": manifest.network_sha256,
        "top": manifest.top,
        "board": manifest.board,
        "cycles_per_image": manifest.cycles_per_image,
        "images_per_s": manifest.clock_mhz * 1e6 / manifest.cycles_per_image,
        "weight_bits": result.design.network.weight_bits,
        "estimate": asdict(design_resources(result.design)),
        "limit": limits(result.design, board),
        "verification": asdict(result.verification) if result.verification else None,
        "test_accuracy": result.design.network.provenance.get("test_accuracy"),
        "vector_accuracy": result.vector_accuracy,
    }


def _show(result: BuildResult, board: Board, vectors: str) -> None:
    network, manifest, verification = result.design.network, result.manifest, result.verification
    rows = [_row(result.design, step, engine) for step, engine in zip(network.steps, result.design.engines, strict=True)]
    columns = ("layer", "input", "output", "PE", "SIMD", "cycles", "weight bits")
    table(f"{network.name} on {manifest.board}", columns, rows)
    resources = design_resources(result.design)
    images_per_s = manifest.clock_mhz * 1e6 / manifest.cycles_per_image
    facts = {
        "accuracy": f"{percent(network.provenance.get('test_accuracy'))} of test set, {percent(result.vector_accuracy)} of vectors",
        "vectors": vectors + ("; --data takes test images" if vectors == "random inputs" else ""),
        "speed": f"{manifest.cycles_per_image:,} cycles an image: {images_per_s:,.0f} images/s at {manifest.clock_mhz} MHz",
        "weights": f"{network.weight_bits:,} bits",
        "estimate": f"{resources.luts:,} LUT, {resources.flip_flops:,} FF, {resources.block_rams:g} {board.family.block_ram}, "
        f"{resources.dsps} DSP",
        "limit": limits(result.design, board),
        "verified": f"{verification.images} images, every layer's bits and every score equal; "
        f"{_cycles(verification)} cycles an image measured"
        if verification
        else "no (--no-verify)",
        "top": f"{manifest.top}, in rtl/{manifest.top}.v",
        "build": str(result.folder),
    }
    table("the build", ("", ""), list(facts.items()))


def _row(design: Design, step: Step, engine: MatVec | Pool) -> tuple[object, ...]:
    """Returns what the table says of a layer; a pooling has no weights, and takes and gives the same number of channels a cycle."""
    match engine:
        case MatVec():
            pe, simd, weight_bits = engine.pe, engine.simd, engine.weights.size
        case Pool():
            pe, simd, weight_bits = engine.lanes, engine.lanes, 0
    shapes = shape_text(step.input.shape), shape_text(step.output.shape)
    return (engine.layer, *shapes, pe, simd, f"{design.layer_cycles(engine.layer):,}", f"{weight_bits:,}")


def _cycles(verification: Verification) -> str:
    measured = verification.measured_cycles
    return "unknown (from one image)" if measured is None else f"{measured:,.2f}"


@click.command()
@click.argument("build_folder", metavar="BUILD", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=CountOrWord("vectors", "all"),
    default="vectors",
    show_default=True,
    help="vectors, all, or how many of the test images: as large a share of each class, always the same ones.",
)
@data_options
@click.option("--seed", type=click.IntRange(0, 2**31 - 2), default=0, help="Other than 0: streams idle and push back at random.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Simulations that share the images.",
)
@json_option
def verify(build_folder: Path, images: int | str, data: ChosenData, seed: int, processes: int, as_json: bool) -> None:
    """Run images through a build's Verilog and compare every bit with the golden model.

    The test images are those of --data, or of the published data set that the network was trained on.

    \b
    bnn_hw verify build/mnist-pynq-z2
    bnn_hw verify build/mnist-pynq-z2 --images all --data DIR
    bnn_hw verify build/mnist-pynq-z2 --images 500 --seed 7
    bnn_hw verify build/pictures-pynq-z2 --images all --data pictures
    """
    with console.status(f"verifying {build_folder}"):
        verification = verify_build(build_folder, _test_images(images, data), seed=seed, processes=processes)
    if as_json:
        print_json(asdict(verification))
        return
    rows = [
        ("images", f"{verification.images:,}: every layer's bits and every score equal"),
        ("cycles an image", f"{_cycles(verification)} measured, {verification.planned_cycles:,} planned"),
        ("simulated images/s", f"{verification.simulated_images_per_s:,.0f}"),
    ]
    table(str(build_folder), ("", ""), rows)


def _test_images(images: int | str, data: ChosenData) -> Callable[[Network], np.ndarray] | None:
    if images == "vectors":
        return None

    def load(network: Network) -> np.ndarray:
        test = network_test_images(network, data, cache_folder())
        return test.images if isinstance(images, str) else even_sample(test, images).images

    return load
