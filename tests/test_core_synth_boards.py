# SPDX-License-Identifier: Apache-2.0
"""The boards with a serial line: their pins, and the dividers of their clocks."""

import pytest

from bnn_hw.boards import BOARDS, Board
from bnn_hw.errors import ArtefactError
from bnn_hw.family import ECP5
from bnn_hw.synth.route import constraints
from bnn_rtl.uart_board import pll_dividers

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
