# SPDX-License-Identifier: Apache-2.0
"""The boards: one entry each."""

from dataclasses import dataclass
from typing import Final

from bnn_hw.errors import ArtefactError
from bnn_hw.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family

__all__ = ["BOARDS", "Board", "find_board"]


@dataclass(frozen=True)
class Board:
    """A board with its FPGA and what that holds (AMD data sheets DS190, DS891, DS987; Lattice FPGA-DS-02012 and
    FPGA-DS-02008; Gowin DS117).
    """

    name: str
    part: str
    family: Family
    clock_mhz: int  # that the accelerator runs at
    luts: int
    block_rams: int
    dsps: int


BOARDS: Final = {
    board.name: board
    for board in (
        Board("pynq-z1", "xc7z020clg400-1", SERIES_7, 100, luts=53_200, block_rams=140, dsps=220),
        Board("pynq-z2", "xc7z020clg400-1", SERIES_7, 100, luts=53_200, block_rams=140, dsps=220),
        Board("zc706", "xc7z045ffg900-2", SERIES_7, 200, luts=218_600, block_rams=545, dsps=900),
        Board("ultra96-v2", "xczu3eg-sbva484-1-i", ULTRASCALE_PLUS, 150, luts=70_560, block_rams=216, dsps=360),
        Board("zcu104", "xczu7ev-ffvc1156-2-e", ULTRASCALE_PLUS, 200, luts=230_400, block_rams=312, dsps=1_728),
        Board("kv260", "xck26-sfvc784-2LV-c", ULTRASCALE_PLUS, 200, luts=117_120, block_rams=144, dsps=1_248),
        Board("ulx3s-85f", "LFE5U-85F-6BG381C", ECP5, 100, luts=83_640, block_rams=208, dsps=156),
        Board("icebreaker", "iCE40UP5K-SG48", ICE40, 12, luts=5_280, block_rams=30, dsps=8),
        Board("tangnano9k", "GW1NR-LV9QN88PC6/I5", GOWIN, 27, luts=8_640, block_rams=26, dsps=10),
    )
}


def find_board(name: str) -> Board:
    """Returns the board of that name. Raises `ArtefactError` with the known ones."""
    if name not in BOARDS:
        raise ArtefactError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
