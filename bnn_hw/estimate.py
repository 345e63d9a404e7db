# SPDX-License-Identifier: Apache-2.0
"""What a layer costs on a Xilinx FPGA, by estimate from its shape: LUT, BRAM36 and DSP."""

from dataclasses import dataclass
from math import gcd

from bnn_hw.boards import Board
from bnn_hw.network import Dense, Scores, Step, element_bits

__all__ = ["Resources", "converter_resources", "layer_resources"]

# LUTs for each bit that an XNOR-popcount tree takes in a cycle, by yosys synth_xilinx (docs/hardware.md, Area).
_LUTS_PER_BIT = 2.3
_LUTS_PER_BYTE = 10.0  # an adder of 9 bits, and the growth of the sums down the tree
_DSP_FACTOR = 1 << 24  # a DSP48 multiplies a signed factor of 25 bits


@dataclass(frozen=True)
class Resources:
    """An amount of an FPGA's cells; BRAM36 in halves."""

    luts: int
    bram36: float
    dsps: int

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.luts + other.luts, self.bram36 + other.bram36, self.dsps + other.dsps)

    def fits(self, board: Board, share: float) -> bool:
        """Returns whether that share of the board holds it."""
        return self.luts <= share * board.luts and self.bram36 <= share * board.bram36 and self.dsps <= share * board.dsps


def layer_resources(step: Step, pe: int, simd: int) -> Resources:
    """Returns the estimate for a layer with `pe` outputs and `simd` inputs a cycle."""
    outputs, inputs = step.layer.weights.shape
    words = -(-outputs // pe) * -(-inputs // simd)
    width = element_bits(step.input)
    element_luts = _LUTS_PER_BIT if width == 1 else _LUTS_PER_BYTE
    sum_bits = (inputs << (width - 1)).bit_length()
    luts = pe * (simd * element_luts + 3 * sum_bits) + 2 * simd * width + 100
    match step.layer:
        case Dense():
            dsps = 0
        case Scores(scale=scale):
            dsps = pe * (1 if abs(scale).max() < _DSP_FACTOR // 2 else 2)  # on bits, hardware multiplies by 2 * scale
    return Resources(round(luts), _bram36(words, pe * simd), dsps)


def converter_resources(element_bits: int, lanes_in: int, lanes_out: int) -> Resources:
    """Returns the estimate for a converter of widths: a multiplexer for each bit, over all places where a word may lie."""
    if lanes_in == lanes_out:
        return Resources(0, 0, 0)
    lanes = lanes_in + lanes_out
    return Resources(round(element_bits * lanes * lanes / gcd(lanes_in, lanes_out) / 8) + 20, 0, 0)


def _bram36(depth: int, width: int) -> float:
    """Returns the block RAMs of a memory, each 36 Kbit of 72 bits at most, or half of one."""
    forms = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
    halves = min(-(-depth // rows) * -(-width // columns) for rows, columns in forms)
    return halves / 2
