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
from bnn_hw.design.estimate import RESULT, SHELL, estimates
from bnn_hw.design.lower import Design, lower
from bnn_hw.design.names import ACCELERATOR, UART_ACCELERATOR
from bnn_hw.design.plan_file import load_plan
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import Board, find_board
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.file import load_network
from bnn_hw.synth.cells import cell_usage, usage_sum
from bnn_hw.synth.hierarchy import cells_by_layer, shared_modules, unit_modules
from bnn_hw.synth.levels import LongestPath, longest_paths
from bnn_hw.synth.route import Route, check_timing, place_and_route, require_route_tools
from bnn_hw.synth.yosys import count_cells, read_netlist, write_netlist

__all__ = ["LayerReport", "Synthesis", "check_synthesis", "description", "synthesize"]

_FORMAT: Final = "bnn_hw.synth"
_VERSION: Final = 1


@dataclass(frozen=True)
class LayerReport:
    """What a layer takes, or `RESULT`, which finds the class, or `SHELL`, which is all the rest."""

    name: str
    usage: Resources
    estimate: Mapping[str, float] | None  # of the plan; None where only cells were counted
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
    def total(self) -> Resources:
        """What all of it takes."""
        return sum((layer.usage for layer in self.layers), start=Resources())

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
    design = lower(network, load_plan(build / "plan.json", network, board))
    routed = route and board.serial is not None
    if routed:
        require_route_tools(board)
    folder = build / "synth.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    on_step("yosys")
    clock = clock_mhz or board.clock_mhz
    top, path = (f"{manifest.top}_uart", UART_ACCELERATOR) if board.serial else (manifest.top, ACCELERATOR)
    verilog = (build / "rtl" / f"{top}.v").read_text()
    rows = unit_modules(design, top, path)
    # Of the open families, yosys 0.70 fails in abc_ops_reintegrate on dot products that it keeps apart.
    shared = [] if board.family.has_open_tools else shared_modules(design, top)
    modules = count_cells(verilog, top, board, clock, [*rows, *shared], folder)
    cells = cells_by_layer(modules, top, rows, design)
    longest: dict[str, LongestPath] = {}
    if not board.family.has_open_tools:
        longest = longest_paths(read_netlist(folder), top, lambda name: _row(name, path, rows, top))
    synthesis = _report(build, design, board, cells, longest)
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
    build: Path, design: Design, board: Board, cells: Mapping[str, Counter[str]], longest: Mapping[str, LongestPath]
) -> Synthesis:
    planned = {name: vars(resources) for name, resources in estimates(design).items()}
    layers = tuple(LayerReport(name, usage_sum(counts), planned[name], longest.get(name)) for name, counts in cells.items())
    total = sum(cells.values(), start=Counter[str]())
    other = {kind: count for kind, count in total.items() if cell_usage(kind) is None}
    return Synthesis(build / "synth", board, layers, other)


def _row(name: str, accelerator: str, rows: Mapping[str, str], top: str) -> str:
    """Returns the row to which a cell of the flat netlist belongs, by the path that begins its name."""
    _, inside, rest = name.partition(f"{accelerator}.")
    unit = re.match(r"[^.$\\]+", rest)
    return rows.get(f"{top}.{accelerator}.{unit[0]}", RESULT) if inside and unit else SHELL


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
