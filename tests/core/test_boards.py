# SPDX-License-Identifier: Apache-2.0
"""The boards: found by name, and what follows from their clocks and families."""

from dataclasses import replace

import pytest

from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import BOARDS, find_board


def test_boards_by_name() -> None:
    assert all(find_board(name).name == name for name in BOARDS)
    with pytest.raises(ArtefactError, match=r"^board must be one of pynq-z1, pynq-z2, .*, tangnano9k, not 'pynqz2'$"):
        find_board("pynqz2")


def test_families_and_levels_of_boards() -> None:
    """So many levels as go into a period: of 2 ns on the 7 series, 1.2 on UltraScale+, 4 to 10 on the others; 2 to 8."""
    assert {name: (board.family.name, board.levels) for name, board in BOARDS.items()} == {
        "pynq-z1": ("xc7", 5),
        "pynq-z2": ("xc7", 5),
        "zc706": ("xc7", 2),
        "ultra96-v2": ("xcup", 5),
        "zcu104": ("xcup", 4),
        "kv260": ("xcup", 4),
        "ulx3s-85f": ("ecp5", 2),
        "icebreaker": ("ice40", 8),
        "tangnano9k": ("gowin", 7),
    }
    for clock_mhz, levels in ((1, 8), (55, 8), (63, 7), (166, 3), (167, 2), (250, 2), (600, 2)):
        assert replace(BOARDS["pynq-z2"], clock_mhz=clock_mhz).levels == levels


def test_boards_of_open_tools_have_a_serial_line_and_a_device() -> None:
    for board in BOARDS.values():
        assert board.family.has_open_tools == (board.serial is not None) == bool(board.device)
        assert (board.family.lut_inputs == 6) != board.family.has_open_tools


def test_processors_are_of_the_family_of_their_fpga() -> None:
    families = {"xc7": "processing_system7", "xcup": "zynq_ultra_ps_e"}
    for board in BOARDS.values():
        if board.processor is not None:
            assert board.processor.family.ip == board.processor.ip == families[board.family.name]
            assert board.processor.registers_base == board.processor.family.registers_base
