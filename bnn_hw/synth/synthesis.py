# SPDX-License-Identifier: Apache-2.0
"""The synthesis of a build: its Verilog becomes cells, by layer, beside the plan's estimate."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.design.estimate import RESULT, SHELL
from bnn_hw.design.names import layer_of
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import Board, find_board
from bnn_hw.network.file import load_network
from bnn_hw.network.network import Network
from bnn_hw.synth.cells import Usage, cell_usage, usage_sum
from bnn_hw.synth.hierarchy import cells_by_layer, kept_modules
from bnn_hw.synth.levels import LongestPath, longest_paths
from bnn_hw.synth.route import Route, check_timing, place_and_route, require_route_tools
from bnn_hw.synth.yosys import count_cells, read_netlist, write_netlist

__all__ = ["LayerReport", "Synthesis", "check_synthesis", "description", "synthesize"]

_FORMAT: Final = "bnn_hw.synth"
_VERSION: Final = 1


@dataclass(frozen=True)
class LayerReport:
    """What a layer takes, or what is no layer: (result), which finds the class, and (shell), which is all the rest."""

    name: str
    usage: Usage
    estimate: Mapping[str, float] | None  # of the plan, where it has one
    longest: LongestPath | None  # of the paths that end here; only of AMD's cells


@dataclass(frozen=True)
class Synthesis:
    """A synthesized build."""

    folder: Path
    board: Board
    layers: tuple[LayerReport, ...]
    other_cells: Mapping[str, int]  # kinds of cells that count nothing because bnn_hw does not know them
    route: Route | None = None  # None where nextpnr was not asked for, or where it does not fit

    @property
    def total(self) -> Usage:
        """What all of it takes."""
        return sum((layer.usage for layer in self.layers), start=Usage())

    @property
    def estimate(self) -> dict[str, float]:
        """What the plan has for all layers."""
        total = Counter[str]()
        for layer in self.layers:
            total.update(layer.estimate or {})
        return dict(total)

    @property
    def longest(self) -> LongestPath | None:
        """The longest path of all."""
        paths = [layer.longest for layer in self.layers if layer.longest]
        return max(paths, key=lambda path: path.levels, default=None)

    @property
    def shortages(self) -> list[str]:
        """What there is too little of on the board, as text; empty where it fits."""
        kinds = {"LUT": "luts", f"{self.board.family.block_ram}": "block_rams", "DSP": "dsps"}
        return [
            f"{getattr(self.total, field):,g} {kind} of {getattr(self.board, field):,}"
            for kind, field in kinds.items()
            if getattr(self.total, field) > getattr(self.board, field)
        ]


def synthesize(
    build: Path,
    *,
    route: bool = True,
    clock_mhz: float | None = None,
    seed: int = 1,
    on_step: Callable[[str], None] = lambda step: None,
) -> Synthesis:
    """Synthesizes a sealed build into its folder `synth`, in place of what is there once all of it is done.

    With `route`, and where open tools know the board's FPGA, it is placed and routed too, for the board's clock or
    `clock_mhz`, and has a bitstream, also where it is too slow. Raises `ArtefactError` when there is no such build or it is
    altered, `ToolError` when a tool is missing or fails; its log stays in the folder `synth.partial`.
    """
    manifest = read_manifest(build)
    board = find_board(manifest.board)
    network = load_network(build / "network.safetensors")
    routed = route and board.serial is not None
    if routed:
        require_route_tools(board)
    folder = build / "synth.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    on_step("yosys")
    clock = clock_mhz or board.clock_mhz
    top = f"{manifest.top}_uart" if board.serial else manifest.top
    verilog = (build / "rtl" / f"{top}.v").read_text()
    kept = kept_modules(verilog, top)
    if board.family.has_open_tools:  # yosys 0.70 fails in abc_ops_reintegrate on dot products that it keeps apart
        kept = [module for module in kept if "." in module]
    modules = count_cells(verilog, top, board, clock, kept, folder)
    synthesis = _report(build, network, board, top, modules, folder)
    if routed and not synthesis.shortages:
        write_netlist(verilog, top, board, clock, folder)
        on_step("nextpnr")
        synthesis = replace(synthesis, route=place_and_route(folder, top, board, clock, seed))
    (folder / "synth.json").write_text(json.dumps(description(synthesis), indent=2) + "\n")
    shutil.rmtree(synthesis.folder, ignore_errors=True)
    folder.rename(synthesis.folder)
    return synthesis


def check_synthesis(synthesis: Synthesis) -> None:
    """Raises `ArtefactError` where the design does not fit its board, `ToolError` where it is slower than its clock."""
    if synthesis.shortages:
        raise ArtefactError(
            f"{synthesis.folder.parent} does not fit {synthesis.board.name}: it takes {', '.join(synthesis.shortages)}; "
            "build with a smaller plan or for a larger board"
        )
    if synthesis.route:
        check_timing(synthesis.route, synthesis.folder / "nextpnr.log")


def _report(
    build: Path, network: Network, board: Board, top: str, modules: Mapping[str, Mapping[str, int]], folder: Path
) -> Synthesis:
    names = [layer.name for layer in network.layers]
    cells = cells_by_layer(modules, top, names)
    plan: dict[str, Any] = json.loads((build / "plan.json").read_text())
    estimates = plan.get("estimates", {})
    longest: dict[str, LongestPath] = {}
    if not board.family.has_open_tools:
        longest = longest_paths(read_netlist(folder), top, _group)
    counted = {**cells.layers, RESULT: cells.result, SHELL: cells.shell}
    layers = tuple(LayerReport(name, usage_sum(counts), estimates.get(name), longest.get(name)) for name, counts in counted.items())
    other = {kind: count for kind, count in cells.total.items() if cell_usage(kind) is None}
    return Synthesis(build / "synth", board, layers, other)


def _group(name: str) -> str:
    """Returns to which layer, or what else, a cell of the flat netlist belongs."""
    part = re.search(r"\.accelerator\.([^.$\\]+)", name)
    return (layer_of(part[1]) or RESULT) if part else SHELL


def description(synthesis: Synthesis) -> dict[str, Any]:
    """Returns the report as JSON has it."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "board": asdict(synthesis.board),
        "layers": [asdict(layer) for layer in synthesis.layers],
        "total": asdict(synthesis.total),
        "estimate": synthesis.estimate,
        "longest_path": asdict(synthesis.longest) if synthesis.longest else None,
        "shortages": synthesis.shortages,
        "other_cells": dict(synthesis.other_cells),
        "route": asdict(synthesis.route) if synthesis.route else None,
    }
