# SPDX-License-Identifier: Apache-2.0
"""The FPGA families: what their cells hold, and what yosys calls them."""

from dataclasses import dataclass
from typing import Final

__all__ = ["ECP5", "GOWIN", "ICE40", "SERIES_7", "ULTRASCALE_PLUS", "Family"]

_18_KBIT: Final = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_4_KBIT: Final = ((256, 16), (512, 8), (1024, 4), (2048, 2))


@dataclass(frozen=True)
class Family:
    """An FPGA family. Figures are of the makers' data sheets: AMD UG473, UG474, UG573, UG574; Lattice FPGA-TN-02204,
    FPGA-TN-02002; Gowin UG285.
    """

    name: str  # as yosys has it
    lut_inputs: int
    block_ram: str  # what a block RAM is called
    block_ram_forms: tuple[tuple[int, int], ...]  # (words, bits) that a block RAM takes, or one of its parts
    block_ram_costs: tuple[int, ...]  # what yosys reckons for one part of a block RAM, and for two where it has two
    write_bits: int  # of a word of a block RAM that are written together
    lut_ram: bool  # whether LUTs can be written to
    level_ns: float  # a level of logic with its routing: a LUT, or an adder where these have less than 6 inputs, as plans reckon

    @property
    def block_ram_parts(self) -> int:
        """The parts of such a form that a block RAM has."""
        return len(self.block_ram_costs)

    @property
    def has_open_tools(self) -> bool:
        """Whether nextpnr places and routes it; else it is one of AMD's."""
        return self.name in ("ecp5", "ice40", "gowin")


SERIES_7: Final = Family("xc7", 6, "BRAM36", _18_KBIT, (129, 257), write_bits=9, lut_ram=True, level_ns=2.0)
ULTRASCALE_PLUS: Final = Family("xcup", 6, "BRAM36", _18_KBIT, (129, 257), write_bits=9, lut_ram=True, level_ns=1.2)
ECP5: Final = Family("ecp5", 4, "DP16KD", _18_KBIT, (128,), write_bits=9, lut_ram=True, level_ns=4.0)
ICE40: Final = Family("ice40", 4, "SB_RAM40_4K", _4_KBIT, (64,), write_bits=1, lut_ram=False, level_ns=10.0)
GOWIN: Final = Family("gowin", 4, "BSRAM", _18_KBIT, (128,), write_bits=9, lut_ram=True, level_ns=5.0)
