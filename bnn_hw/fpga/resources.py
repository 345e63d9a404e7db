# SPDX-License-Identifier: Apache-2.0
"""Amounts of an FPGA's cells, estimated or counted."""

from dataclasses import dataclass

from bnn_hw.fpga.boards import Board

__all__ = ["Resources"]


@dataclass(frozen=True)
class Resources:
    """An amount of an FPGA's cells."""

    luts: int = 0
    flip_flops: int = 0
    block_rams: float = 0  # AMD's RAMB36 in halves
    dsps: float = 0
    lut_ram: int = 0  # of the look-up tables, those that are written to: memory or shift registers

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(  # one by one, since the planner adds thousands
            self.luts + other.luts,
            self.flip_flops + other.flip_flops,
            self.block_rams + other.block_rams,
            self.dsps + other.dsps,
            self.lut_ram + other.lut_ram,
        )

    def __mul__(self, count: int) -> "Resources":
        return Resources(*(count * value for value in vars(self).values()))

    def fits(self, board: Board, share: float) -> bool:
        """Returns whether that share of the board holds it."""
        return self.luts <= share * board.luts and self.block_rams <= share * board.block_rams and self.dsps <= share * board.dsps
