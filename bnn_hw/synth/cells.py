# SPDX-License-Identifier: Apache-2.0
"""What the cells of a netlist occupy of an FPGA."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from bnn_hw.fpga.resources import Resources

__all__ = ["cell_usage", "usage_sum"]


def _memory(luts: int) -> Resources:
    return Resources(luts=luts, lut_ram=luts)


# By the names that yosys gives them. AMD: UG474, UG574, and UG953 for what a memory of LUTs takes. An INV is a LUT of one
# input, which Vivado may absorb into its neighbours and yosys does not. Carry chains, MUXF7 and the like lie beside LUTs and
# take none; a Gowin ALU is a LUT, a CCU2C two (FPGA-TN-02204). A memory of 16 words takes, on ECP5 and
# Gowin, a LUT for each bit and two more for its write port.
_USAGE: Final = (
    (r"LUT[1-6]|LUT6_2|SB_LUT4|ALU|INV", Resources(luts=1)),
    (r"CCU2C", Resources(luts=2)),
    (r"SRL16E?|SRLC16E?|SRLC32E|RAM(16|32|64)X1S", _memory(1)),
    (r"RAM(16|32|64)X1D|RAM128X1S", _memory(2)),
    (r"RAM32M|RAM64M|RAM128X1D|RAM256X1S", _memory(4)),
    (r"RAM32M16|RAM64M8|RAM256X1D|RAM512X1S|RAM64X8SW", _memory(8)),
    (r"TRELLIS_DPR16X4|RAM16S(DP)?4", _memory(6)),
    (r"RAM16S(DP)?2", _memory(4)),
    (r"RAM16S(DP)?1", _memory(3)),
    (r"FD[RSCP]E(_1)?|LD[CP]E|TRELLIS_FF|SB_DFF\w*|DFFN?[RSCP]?E?", Resources(flip_flops=1)),
    (r"RAMB36E[12]|DP16KD|PDPW16KD|SB_RAM40_4K(NR|NW|NRNW)?|(SDP|DP)B|(SDP|DP)X9B|SP(X9)?|pROM(X9)?", Resources(block_rams=1)),
    (r"RAMB18E[12]", Resources(block_rams=0.5)),
    (r"DSP48E[12]|MULT18X18D?|SB_MAC16", Resources(dsps=1)),
    (r"MULT9X9D?", Resources(dsps=0.5)),
    (r"MULT36X36", Resources(dsps=4)),
    # Carry chains, multiplexers and constants beside LUTs; clock and input-output cells; what only names a scope.
    (r"CARRY[48]|MUXF[789]|MUXCY|XORCY|PFUMX|L6MUX21|MUX2_LUT[5-8]|SB_CARRY|VCC|GND|VHI|VLO", Resources()),
    (r"BUFG|[IO]BUF|TRELLIS_IO|SB_IO|SB_GB|EHXPLLL|DCCA|SB_PLL40_PAD|SB_PLL40_CORE|rPLL|GSR|\$scopeinfo", Resources()),
)


@cache
def cell_usage(kind: str) -> Resources | None:
    """Returns what a cell of that kind occupies; None for a kind that is not known."""
    return next((usage for pattern, usage in _USAGE if re.fullmatch(pattern, kind)), None)


def usage_sum(cells: Mapping[str, int]) -> Resources:
    """Returns what the cells occupy, a count for each kind; unknown kinds count nothing."""
    usages = (usage * count for kind, count in cells.items() if (usage := cell_usage(kind)))
    return sum(usages, start=Resources())
