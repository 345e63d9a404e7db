# SPDX-License-Identifier: Apache-2.0
"""The boards: one entry each."""

from dataclasses import dataclass
from typing import Final

from bnn_hw.errors import ArtefactError

__all__ = ["BOARDS", "Board", "find_board"]


@dataclass(frozen=True)
class Board:
    """A board with its FPGA and what that holds (AMD data sheets DS190, DS891, DS987)."""

    name: str
    part: str
    clock_mhz: int  # that the accelerator runs at
    luts: int
    bram36: int
    dsps: int


BOARDS: Final = {
    board.name: board
    for board in (
        Board("pynq-z1", "xc7z020clg400-1", 100, luts=53_200, bram36=140, dsps=220),
        Board("pynq-z2", "xc7z020clg400-1", 100, luts=53_200, bram36=140, dsps=220),
        Board("zc706", "xc7z045ffg900-2", 200, luts=218_600, bram36=545, dsps=900),
        Board("ultra96-v2", "xczu3eg-sbva484-1-i", 150, luts=70_560, bram36=216, dsps=360),
        Board("zcu104", "xczu7ev-ffvc1156-2-e", 200, luts=230_400, bram36=312, dsps=1_728),
        Board("kv260", "xck26-sfvc784-2LV-c", 200, luts=117_120, bram36=144, dsps=1_248),
    )
}


def find_board(name: str) -> Board:
    """Returns the board of that name. Raises `ArtefactError` with the known ones."""
    if name not in BOARDS:
        raise ArtefactError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
