# SPDX-License-Identifier: Apache-2.0
"""What a layer costs on a Xilinx FPGA, by estimate from its shape: LUT, BRAM36 and DSP."""

from dataclasses import dataclass
from math import gcd

from bnn_hw.boards import Board
from bnn_hw.network import Conv, MaxPool, Scores, element_bits
from bnn_hw.stage import DISTRIBUTED_BITS, Conversion, Stage, Window

__all__ = ["Resources", "stage_resources"]

# LUTs for each bit that an XNOR-popcount tree takes in a cycle, by yosys synth_xilinx (docs/hardware.md, Area).
_LUTS_PER_BIT = 2.3
_LUTS_PER_BYTE = 19.0  # likewise (docs/hardware.md, First layer)
_LUTS_PER_64_BITS = 4 / 3  # a RAM64M holds 3 columns of 64 bits in 4 LUTs
_DSP_FACTOR = 1 << 24  # a DSP48 multiplies a signed factor of 25 bits


@dataclass(frozen=True)
class Resources:
    """An amount of an FPGA's cells; BRAM36 in halves."""

    luts: int
    block_rams: float
    dsps: int

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.luts + other.luts, self.block_rams + other.block_rams, self.dsps + other.dsps)

    def fits(self, board: Board, share: float) -> bool:
        """Returns whether that share of the board holds it."""
        return self.luts <= share * board.luts and self.block_rams <= share * board.block_rams and self.dsps <= share * board.dsps


def stage_resources(stage: Stage) -> Resources:
    """Returns the estimate for a layer's engine, its window and the converters before it."""
    width = element_bits(stage.step.input)
    total = _engine(stage, width)
    for conversion in stage.conversions:
        total += _converter(conversion, width)
    if stage.window:
        total += _line_buffer(stage.window, width * stage.window_lanes)
        if stage.simd > stage.window_lanes:
            total += _converter(Conversion(stage.simd, stage.window_lanes, stage.simd), width)
    return total


def _engine(stage: Stage, width: int) -> Resources:
    layer, pe, simd = stage.step.layer, stage.pe, stage.simd
    if isinstance(layer, MaxPool):
        return Resources(2 * pe + 20, 0, 0)
    inputs = layer.weights[0].size
    words = -(-len(layer.weights) // pe) * -(-inputs // simd)
    element_luts = _LUTS_PER_BIT if width == 1 else _LUTS_PER_BYTE
    zeros = isinstance(layer, Conv) and layer.pads_bits_with_zeros(stage.step.input)
    sum_bits = (inputs << (width - 1)).bit_length() + zeros
    luts = pe * (simd * element_luts + 3 * sum_bits) + 2 * simd * width + 100
    dsps = 0
    if isinstance(layer, Scores):
        dsps = pe * (1 if abs(layer.scale).max() < _DSP_FACTOR // 2 else 2)  # on bits, hardware multiplies by 2 * scale
    return Resources(round(luts), _bram36(words, pe * simd), dsps)


def _line_buffer(window: Window, word_bits: int) -> Resources:
    """Returns the estimate for a window: its addresses and conditions, and a memory of either kind."""
    depth, addressing = window.buffer_words, 12 * (window.buffer_words - 1).bit_length() + 40
    if depth * word_bits <= DISTRIBUTED_BITS:
        return Resources(addressing + round(word_bits * -(-depth // 64) * _LUTS_PER_64_BITS), 0, 0)
    return Resources(addressing, _bram36(depth, word_bits), 0)


def _converter(conversion: Conversion, element_bits: int) -> Resources:
    """Returns the estimate for a converter of widths: a multiplexer for each bit, over all places where a word may lie."""
    lanes_in, lanes_out = conversion.lanes_in, conversion.lanes_out
    lanes = lanes_in + lanes_out
    return Resources(round(element_bits * lanes * lanes / gcd(lanes_in, lanes_out) / 8) + 20, 0, 0)


def _bram36(depth: int, width: int) -> float:
    """Returns the block RAMs of a memory, each 36 Kbit of 72 bits at most, or half of one."""
    forms = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
    halves = min(-(-depth // rows) * -(-width // columns) for rows, columns in forms)
    return halves / 2
