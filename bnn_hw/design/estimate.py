# SPDX-License-Identifier: Apache-2.0
"""What an accelerator costs, by estimate from its shape: look-up tables, flip-flops, block RAM and DSPs.

On families with 6-input look-up tables the large parts are counted as they are made: dot products, sums, constants and
memories. What is left is fitted to yosys (`bnn_hw synth` shows both).
"""

from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Final

import numpy as np

from bnn_hw.design.lower import Design
from bnn_hw.design.memories import LANE_BITS, EngineMemory, constant_bits, engine_memories
from bnn_hw.design.stage import Conversion, Stage, Window, signed_bits
from bnn_hw.fpga.bit_heap import least_luts, signed_sum_circuit, xnor_popcount_circuit, zero_padded_popcount_circuit
from bnn_hw.fpga.boards import Board
from bnn_hw.fpga.circuit import LUT_INPUTS
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import block_ram_layout, lut_ram_luts, lut_rom_luts, ram_in_luts, weights_in_luts
from bnn_hw.network.network import Conv, DenseRelu, MaxPool, Network, Scores, element_bits

__all__ = [
    "RESULT",
    "SHELL",
    "SHELL_RESOURCES",
    "SWAP_RESOURCES",
    "Resources",
    "conversion_resources",
    "design_resources",
    "dot_resources",
    "engine_resources",
    "estimates",
    "frame_resources",
    "least_dot_luts",
    "result_resources",
    "stage_resources",
    "weights_resources",
]

RESULT: Final = "(result)"  # beside the layers: what finds the class
SHELL: Final = "(shell)"  # and all the rest

_EXACT_LANES = 64  # up to which the circuit of a sum of integers is made to be counted,
_MOST_LANES = 256  # or of a power of two up to here
_CONTROL_LUTS = 50  # counters and conditions of an engine
_WINDOW_LUTS = 40
# In look-up tables of 4 inputs: of a tree of adders over products of bits, with a register after few adders or more, and
# over products of 8-bit integers.
_LUT4_PER_BIT = (3.4, 2.6)
_FEW_LEVELS = 3
_LUT4_PER_BYTE = 20.0
_LUT4_PER_SCORE_BIT = 6
_DSP_FACTOR_BITS = (25, 18)  # of the signed factors that a DSP48 multiplies
_CLAMP_LUTS = 8  # of a rectified integer, and those that find whether the bits above are all the same


@dataclass(frozen=True)
class Resources:
    """An amount of an FPGA's cells."""

    luts: int = 0
    flip_flops: int = 0
    block_rams: float = 0
    dsps: int = 0
    lut_ram: int = 0  # of the look-up tables, those that are written to

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.luts + other.luts,
            self.flip_flops + other.flip_flops,
            self.block_rams + other.block_rams,
            self.dsps + other.dsps,
            self.lut_ram + other.lut_ram,
        )

    def __mul__(self, count: int) -> "Resources":
        return Resources(
            self.luts * count, self.flip_flops * count, self.block_rams * count, self.dsps * count, self.lut_ram * count
        )

    def fits(self, board: Board, share: float) -> bool:
        """Returns whether that share of the board holds it."""
        return self.luts <= share * board.luts and self.block_rams <= share * board.block_rams and self.dsps <= share * board.dsps


SHELL_RESOURCES = Resources(luts=480, flip_flops=310)  # of the AXI shell
SWAP_RESOURCES = Resources(luts=500, flip_flops=190)  # of the AXI shell with run-time weights, on top of that


def estimates(design: Design) -> dict[str, Resources]:
    """Returns the estimate for each layer, in order, and then for `RESULT` and `SHELL`."""
    plan = design.plan
    layers = {stage.step.layer.name: stage_resources(stage, plan.family, plan.levels) for stage in design.stages}
    shell = SHELL_RESOURCES + SWAP_RESOURCES if plan.runtime_weights else SHELL_RESOURCES
    return {**layers, RESULT: result_resources(design.network, design.stages[-1]), SHELL: shell}


def design_resources(design: Design) -> Resources:
    """Returns the estimate for the whole accelerator with its shell."""
    return sum(estimates(design).values(), start=Resources())


def stage_resources(stage: Stage, family: Family, levels: int) -> Resources:
    """Returns the estimate for a layer's engine, its window and the converters before it.

    `levels`: the most levels of logic between registers.
    """
    bits = element_bits(stage.step.input)
    converters = (conversion_resources(conversion, bits) for conversion in stage.conversions)
    return sum(converters, start=engine_resources(stage, family, levels))


def engine_resources(stage: Stage, family: Family, levels: int) -> Resources:
    """Returns the estimate for a layer's engine and its window, without the converters before them."""
    return frame_resources(stage, family) + dot_resources(stage, family, levels)


def frame_resources(stage: Stage, family: Family) -> Resources:
    """Returns the estimate for all of a layer's engine and its window but the dot products."""
    total = _pooling(stage, family) if isinstance(stage.step.layer, MaxPool) else _engine_frame(stage, family)
    bits = element_bits(stage.step.input)
    if stage.window:
        total += _window(stage.window, bits * stage.window_lanes, family)
        if stage.simd > stage.window_lanes:
            total += conversion_resources(Conversion(stage.simd, stage.window_lanes, stage.simd), bits)
    return total


@cache
def conversion_resources(conversion: Conversion, element_bits: int) -> Resources:
    """Returns the estimate for a converter of widths: a multiplexer for each bit that it holds, over the bits that may follow."""
    common = gcd(conversion.lanes_in, conversion.lanes_out)
    taken, given = conversion.lanes_in // common, conversion.lanes_out // common
    capacity = taken + given - 1
    place = np.arange(capacity)
    sources = np.minimum(place, capacity - taken) - np.maximum(0, place - taken + 1) + 1 + (place + given < capacity)
    luts = int(np.where(sources > 2, -(-2 * sources // 3), sources - 1).sum())
    bits = common * element_bits
    return Resources(luts * bits + capacity - taken + 25, capacity * bits + 20)  # and what finds the place of a word


def result_resources(network: Network, last: Stage) -> Resources:
    """Returns the estimate for what finds the winner of the scores that the last stage gives."""
    converter = conversion_resources(Conversion(network.classes, last.pe, 1), last.scaled_bits)
    return converter + Resources(2 * last.scaled_bits, last.scaled_bits)


def weights_resources(stage: Stage, family: Family) -> Resources:
    """Returns the estimate for the memories of an engine's weights, and where its sums start."""
    if stage.runtime_weights:
        return sum((_banked(memory, family) for memory in engine_memories(stage, family)), start=Resources())
    layer = stage.step.layer
    if isinstance(layer, MaxPool):
        return Resources()
    neuron_folds = -(-len(layer.weights) // stage.pe)
    starts = 0 if isinstance(layer, DenseRelu | Scores) else lut_rom_luts(family, neuron_folds, stage.pe * stage.sum_bits)
    in_luts = Resources(starts + lut_rom_luts(family, stage.words, stage.lut_bits), stage.lut_bits)
    return in_luts + _block_memory(family, stage.words, stage.pe * stage.simd - stage.lut_bits, written=False)


def _pooling(stage: Stage, family: Family) -> Resources:
    return Resources(2 * stage.pe + 20, stage.pe + 10) + weights_resources(stage, family)


def _engine_frame(stage: Stage, family: Family) -> Resources:
    """Returns the estimate for a matrix-vector unit: sums and where they start, weights, and its two buffers."""
    layer, pe, simd = stage.step.layer, stage.pe, stage.simd
    assert not isinstance(layer, MaxPool)
    neuron_folds, synapse_folds = -(-len(layer.weights) // pe), -(-layer.weights[0].size // simd)
    sum_bits = pe * stage.sum_bits
    word_bits = simd * element_bits(stage.step.input)
    buffer = _memory(family, 2 * synapse_folds if neuron_folds > 1 else 2, word_bits)
    result_bits = pe * (stage.scaled_bits if isinstance(layer, Scores) else element_bits(stage.step.output))
    results = _lut_memory(family, 2, result_bits)
    scaling = _scaling(stage, family) if isinstance(layer, DenseRelu | Scores) else Resources()
    flip_flops = sum_bits * (1 + (neuron_folds > 1)) + 100
    sums = sum_bits * (1 if family.lut_inputs == LUT_INPUTS else 2)  # where one starts takes a look-up table beside the adder
    control = Resources(sums + _CONTROL_LUTS, flip_flops)
    return control + buffer + results + weights_resources(stage, family) + scaling


def _scaling(stage: Stage, family: Family) -> Resources:
    """Returns the estimate for what multiplies sums and adds offsets, and clamps what comes of that where it does."""
    layer, pe = stage.step.layer, stage.pe
    assert isinstance(layer, DenseRelu | Scores)
    scaled_bits = stage.scaled_bits
    luts = _LUT4_PER_SCORE_BIT * pe * scaled_bits if family.lut_inputs < LUT_INPUTS else 0
    factor_bits, offset_bits = constant_bits(stage) if stage.runtime_weights else _trained_bits(stage)
    dsps = _multiplier_dsps(factor_bits, stage.sum_bits)
    if isinstance(layer, Scores):
        return Resources(luts, dsps=pe * dsps)
    clamp = _CLAMP_LUTS + -(-max(0, scaled_bits - layer.shift - 8) // 5)
    luts += pe * (clamp + (dsps - 1) * scaled_bits)  # parts of a product are added outside of DSPs
    scaled = Resources(luts, pe * (offset_bits + 8), dsps=pe * dsps)
    if stage.runtime_weights:  # whose constants are counted with the weights
        return scaled
    return scaled + _constants(family, -(-len(layer.weights) // pe), pe * (factor_bits + offset_bits))


def _trained_bits(stage: Stage) -> tuple[int, int]:
    """Returns the bits of each scale and each offset of a layer as it was trained."""
    layer = stage.step.layer
    assert isinstance(layer, DenseRelu | Scores)
    scale = int(abs(layer.scale.astype(np.int64)).max())
    offset = int(abs(layer.offset.astype(np.int64)).max()) + scale * layer.weights.shape[1]
    # A match more is a sum of 2 more.
    return signed_bits(2 * scale if stage.step.input.dtype == "bit" else scale), signed_bits(offset)


def _constants(family: Family, words: int, width: int) -> Resources:
    """Returns what a memory of constants takes where it costs less, and the register that holds a word of it."""
    if weights_in_luts(family, words, width):
        return Resources(lut_rom_luts(family, words, width), width)
    return _block_memory(family, words, width, written=False)


def _multiplier_dsps(*factor_bits: int) -> int:
    """Returns the DSPs of a product of signed factors, one for each pair of their parts; only the highest part has a sign."""
    wide, narrow = sorted(factor_bits, reverse=True)
    return -(-(wide - 1) // (_DSP_FACTOR_BITS[0] - 1)) * -(-(narrow - 1) // (_DSP_FACTOR_BITS[1] - 1))


def dot_resources(stage: Stage, family: Family, levels: int) -> Resources:
    """Returns the estimate for the dot products of a stage, of which a pooling has none.

    `levels`: the most levels of logic between registers.
    """
    layer, pe, simd, signal = stage.step.layer, stage.pe, stage.simd, stage.step.input
    if isinstance(layer, MaxPool):
        return Resources()
    width = element_bits(signal)
    if family.lut_inputs < LUT_INPUTS:
        luts = simd * (_LUT4_PER_BIT[levels > _FEW_LEVELS] if width == 1 else _LUT4_PER_BYTE)
        return Resources(round(pe * luts), pe * simd * width)
    if signal.dtype != "bit":
        luts, flip_flops = _signed_sum(width, signal.dtype == "int8", simd, levels)
        return Resources(round(pe * luts), round(pe * flip_flops))
    if isinstance(layer, Conv) and layer.pads_bits_with_zeros(signal):
        circuit = zero_padded_popcount_circuit(simd, stage.window_lanes, levels)
    else:
        circuit = xnor_popcount_circuit(simd, levels)
    return Resources(pe * circuit.luts, pe * circuit.flip_flops)


def least_dot_luts(stage: Stage, family: Family, levels: int) -> int:
    """Returns the look-up tables of `dot_resources`, or somewhat less, without making a circuit."""
    layer, lanes, signal = stage.step.layer, stage.simd, stage.step.input
    if isinstance(layer, MaxPool) or family.lut_inputs < LUT_INPUTS:
        return dot_resources(stage, family, levels).luts
    if signal.dtype != "bit":
        bits = element_bits(signal)
        return stage.pe * least_luts(bits * lanes, 0, (lanes << bits).bit_length())
    if not (isinstance(layer, Conv) and layer.pads_bits_with_zeros(signal)):
        return stage.pe * least_luts(lanes, 0, lanes.bit_length())
    pixel_lanes = stage.window_lanes
    pixels, halves = lanes // pixel_lanes, pixel_lanes.bit_length() + pixel_lanes % 2
    counts = pixels * least_luts(pixel_lanes, 0, pixel_lanes.bit_length())
    return stage.pe * (counts + (least_luts(0, pixels * halves, (2 * lanes).bit_length()) if pixels > 1 else 0))


@cache
def _signed_sum(width: int, is_signed: bool, lanes: int, levels: int) -> tuple[float, float]:
    """Returns the look-up tables and flip-flops of a sum of integers.

    Those of many lanes take a while to make, so between powers of two they are on the line between these, and past the last
    one that is made on the line of the last two.
    """
    if lanes <= _EXACT_LANES or (lanes.bit_count() == 1 and lanes <= _MOST_LANES):
        circuit = signed_sum_circuit(width, is_signed, lanes, levels)
        return circuit.luts, circuit.flip_flops
    below = min(1 << lanes.bit_length() - 1, _MOST_LANES // 2)
    ends = (_signed_sum(width, is_signed, end, levels) for end in (below, 2 * below))
    return tuple(low + (high - low) * (lanes - below) / below for low, high in zip(*ends, strict=True))


def _window(window: Window, word_bits: int, family: Family) -> Resources:
    """Returns the estimate for a window: its addresses and conditions, and a memory of either kind."""
    address_bits = (window.buffer_words - 1).bit_length()
    addressing = Resources(12 * address_bits + _WINDOW_LUTS, 6 * address_bits + 20)
    return addressing + _memory(family, window.buffer_words, word_bits)


def _memory(family: Family, depth: int, width: int) -> Resources:
    """Returns what a memory that is written to takes."""
    if ram_in_luts(family, depth, width):
        return _lut_memory(family, depth, width)
    return _block_memory(family, depth, width, written=True)


def _banked(memory: EngineMemory, family: Family) -> Resources:
    """Returns what a memory of two banks takes: its lanes, what finds one of them to write, and selects one to read back."""
    depth, total = 2 * memory.depth, Resources()
    for width, count in ((LANE_BITS, memory.lanes - 1), (memory.lane_width(memory.lanes - 1), 1)):
        lane = _lut_memory(family, depth, width) if memory.in_luts else _block_memory(family, depth, width, written=True)
        total += lane * count
    address_bits = (depth - 1).bit_length()
    # A look-up table joins four bits of lanes to one; of each lane about three more find it.
    select = -(-(memory.lanes - 1) * LANE_BITS // 3) + 3 * memory.lanes
    return total + Resources(select + 2 * address_bits + 20, LANE_BITS * (1 + memory.lanes // 16) + address_bits + 20)


def _lut_memory(family: Family, depth: int, width: int) -> Resources:
    """Returns what a memory in look-up tables takes that is written to, with the register of the word that is read."""
    luts = lut_ram_luts(family, depth, width)
    return Resources(luts, width, lut_ram=luts)


def _block_memory(family: Family, depth: int, width: int, *, written: bool) -> Resources:
    """Returns what a memory in block RAM takes: a look-up table of 6 inputs selects one of 4 rows, one of 4 one of 2."""
    layout = block_ram_layout(family, depth, width, written=written)
    luts = width * -(-(layout.rows - 1) // (3 if family.lut_inputs >= LUT_INPUTS else 1))
    return Resources(luts, block_rams=layout.count)
