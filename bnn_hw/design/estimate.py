# SPDX-License-Identifier: Apache-2.0
"""What an accelerator costs, by estimate from its shape: look-up tables, flip-flops, block RAM and DSPs.

On families with 6-input look-up tables the large parts are counted as they are made: dot products, sums, constants and
memories. What is left is fitted to yosys (`bnn_hw synth` shows both).
"""

from functools import cache
from math import gcd
from typing import Final

import numpy as np

from bnn_hw.design.lower import Design
from bnn_hw.design.memories import LANE_BITS, EngineMemory, constant_bits, engine_memories
from bnn_hw.design.units import Argmax, Compare, Convert, Dot, MatVec, Pool, Rescale, Slide, Unit, signed_bits
from bnn_hw.fpga.bit_heap import least_luts, signed_sum_circuit, xnor_popcount_circuit, zero_padded_popcount_circuit
from bnn_hw.fpga.circuit import LUT_INPUTS
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import block_ram_layout, lut_ram_luts, lut_rom_luts, ram_in_luts, rom_in_luts
from bnn_hw.fpga.resources import Resources

__all__ = [
    "RESULT",
    "SHELL",
    "SHELL_RESOURCES",
    "SWAP_RESOURCES",
    "design_resources",
    "dot_resources",
    "estimates",
    "frame_resources",
    "least_dot_luts",
    "unit_resources",
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


SHELL_RESOURCES = Resources(luts=480, flip_flops=310)  # of the AXI shell
SWAP_RESOURCES = Resources(luts=500, flip_flops=190)  # of the AXI shell with run-time weights, on top of that


def estimates(design: Design) -> dict[str, Resources]:
    """Returns the estimate for each layer, in order, and then for `RESULT` and `SHELL`."""
    plan = design.plan
    amounts = {name: Resources() for name in (*(layer.name for layer in design.network.layers), RESULT)}
    for unit in design.units:
        amounts[unit.layer or RESULT] += unit_resources(unit, plan.family, plan.levels)
    return {**amounts, SHELL: SHELL_RESOURCES + SWAP_RESOURCES if plan.runtime_weights else SHELL_RESOURCES}


def design_resources(design: Design) -> Resources:
    """Returns the estimate for the whole accelerator with its shell."""
    return sum(estimates(design).values(), start=Resources())


def unit_resources(unit: Unit, family: Family, levels: int) -> Resources:
    """Returns the estimate for a unit. `levels`: the most levels of logic between registers."""
    frame = frame_resources(unit, family)
    return frame + dot_resources(unit.dot, unit.pe, family, levels) if isinstance(unit, MatVec) else frame


def frame_resources(unit: Unit, family: Family) -> Resources:
    """Returns the estimate for a unit without its dot products, which only a `MatVec` has."""
    match unit:
        case Convert():
            return _conversion(unit.element_bits, unit.lanes_in, unit.lanes_out)
        case Slide():
            return _window(unit, family)
        case MatVec():
            return _engine_frame(unit, family)
        case Pool():
            return Resources(2 * unit.lanes + 20, unit.lanes + 10) + weights_resources(unit, family)
        case Argmax():
            return Resources(2 * unit.score_bits, unit.score_bits)


@cache
def _conversion(element_bits: int, lanes_in: int, lanes_out: int) -> Resources:
    """Returns the estimate for a converter of widths: a multiplexer for each bit that it holds, over the bits that may follow."""
    common = gcd(lanes_in, lanes_out)
    taken, given = lanes_in // common, lanes_out // common
    capacity = taken + given - 1
    place = np.arange(capacity)
    sources = np.minimum(place, capacity - taken) - np.maximum(0, place - taken + 1) + 1 + (place + given < capacity)
    luts = int(np.where(sources > 2, -(-2 * sources // 3), sources - 1).sum())
    bits = common * element_bits
    return Resources(luts * bits + capacity - taken + 25, capacity * bits + 20)  # and what finds the place of a word


def weights_resources(unit: MatVec | Pool, family: Family) -> Resources:
    """Returns the estimate for the memories of an engine's weights, and where its sums start."""
    if unit.runtime_weights:
        return sum((_banked(memory, family) for memory in engine_memories(unit, family)), start=Resources())
    match unit:
        case Pool():
            return Resources()
        case MatVec(finish=finish):
            compares = isinstance(finish, Compare)
            starts = lut_rom_luts(family, unit.neuron_groups, unit.pe * unit.sum_bits) if compares else 0
            in_luts = Resources(starts + lut_rom_luts(family, unit.weight_words, unit.lut_bits), unit.lut_bits)
            return in_luts + _block_memory(family, unit.weight_words, unit.pe * unit.simd - unit.lut_bits, written=False)


def _engine_frame(unit: MatVec, family: Family) -> Resources:
    """Returns the estimate for a matrix-vector unit: sums and where they start, weights, and its two buffers."""
    sum_bits = unit.pe * unit.sum_bits
    word_bits = unit.simd * unit.dot.element_bits
    buffer = _memory(family, 2 * unit.input_words if unit.neuron_groups > 1 else 2, word_bits)
    results = _lut_memory(family, 2, unit.pe * unit.result_bits)
    scaling = _scaling(unit, unit.finish, family) if isinstance(unit.finish, Rescale) else Resources()
    flip_flops = sum_bits * (1 + (unit.neuron_groups > 1)) + 100
    sums = sum_bits * (1 if family.lut_inputs == LUT_INPUTS else 2)  # where one starts takes a look-up table beside the adder
    control = Resources(sums + _CONTROL_LUTS, flip_flops)
    return control + buffer + results + weights_resources(unit, family) + scaling


def _scaling(unit: MatVec, finish: Rescale, family: Family) -> Resources:
    """Returns the estimate for what multiplies sums and adds offsets, and clamps the results where it does."""
    pe, scaled_bits = unit.pe, unit.scaled_bits
    luts = _LUT4_PER_SCORE_BIT * pe * scaled_bits if family.lut_inputs < LUT_INPUTS else 0
    factor_bits, offset_bits = constant_bits(unit, finish) if unit.runtime_weights else _trained_bits(unit, finish)
    dsps = _multiplier_dsps(factor_bits, unit.sum_bits)
    if finish.shift is None:
        return Resources(luts, dsps=pe * dsps)
    clamp = _CLAMP_LUTS + -(-max(0, scaled_bits - finish.shift - 8) // 5)
    luts += pe * (clamp + (dsps - 1) * scaled_bits)  # parts of a product are added outside of DSPs
    scaled = Resources(luts, pe * (offset_bits + 8), dsps=pe * dsps)
    if unit.runtime_weights:  # whose constants are counted with the weights
        return scaled
    return scaled + _constants(family, unit.neuron_groups, pe * (factor_bits + offset_bits))


def _trained_bits(unit: MatVec, finish: Rescale) -> tuple[int, int]:
    """Returns the bits of each scale and each offset of a layer as it was trained."""
    scale = int(abs(finish.scale.astype(np.int64)).max())
    offset = int(abs(finish.offset.astype(np.int64)).max()) + scale * unit.inputs
    # A match more is a sum of 2 more.
    return signed_bits(2 * scale if unit.dot.dtype == "bit" else scale), signed_bits(offset)


def _constants(family: Family, words: int, width: int) -> Resources:
    """Returns what a memory of constants takes where it costs less, and the register that holds a word of it."""
    if rom_in_luts(family, words, width):
        return Resources(lut_rom_luts(family, words, width), width)
    return _block_memory(family, words, width, written=False)


def _multiplier_dsps(*factor_bits: int) -> int:
    """Returns the DSPs of a product of signed factors, one for each pair of their parts; only the highest part has a sign."""
    wide, narrow = sorted(factor_bits, reverse=True)
    return -(-(wide - 1) // (_DSP_FACTOR_BITS[0] - 1)) * -(-(narrow - 1) // (_DSP_FACTOR_BITS[1] - 1))


def dot_resources(dot: Dot, count: int, family: Family, levels: int) -> Resources:
    """Returns the estimate for `count` dot products. `levels`: the most levels of logic between registers."""
    width, lanes = dot.element_bits, dot.lanes
    if family.lut_inputs < LUT_INPUTS:
        luts = lanes * (_LUT4_PER_BIT[levels > _FEW_LEVELS] if width == 1 else _LUT4_PER_BYTE)
        return Resources(round(count * luts), count * lanes * width)
    if dot.dtype != "bit":
        luts, flip_flops = _signed_sum(width, dot.dtype == "int8", lanes, levels)
        return Resources(round(count * luts), round(count * flip_flops))
    if dot.pixel_lanes is not None:
        circuit = zero_padded_popcount_circuit(lanes, dot.pixel_lanes, levels)
    else:
        circuit = xnor_popcount_circuit(lanes, levels)
    return Resources(count * circuit.luts, count * circuit.flip_flops)


def least_dot_luts(dot: Dot, count: int, family: Family, levels: int) -> int:
    """Returns the look-up tables of `dot_resources`, or somewhat less, without making a circuit."""
    lanes, pixel_lanes = dot.lanes, dot.pixel_lanes
    if family.lut_inputs < LUT_INPUTS:
        return dot_resources(dot, count, family, levels).luts
    if dot.dtype != "bit":
        bits = dot.element_bits
        return count * least_luts(bits * lanes, 0, (lanes << bits).bit_length())
    if pixel_lanes is None:
        return count * least_luts(lanes, 0, lanes.bit_length())
    pixels, halves = lanes // pixel_lanes, pixel_lanes.bit_length() + pixel_lanes % 2
    counts = pixels * least_luts(pixel_lanes, 0, pixel_lanes.bit_length())
    return count * (counts + (least_luts(0, pixels * halves, (2 * lanes).bit_length()) if pixels > 1 else 0))


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


def _window(unit: Slide, family: Family) -> Resources:
    """Returns the estimate for a window: its addresses and conditions, and a memory of either kind."""
    words = unit.window.buffer_words
    address_bits = (words - 1).bit_length()
    addressing = Resources(12 * address_bits + _WINDOW_LUTS, 6 * address_bits + 20)
    return addressing + _memory(family, words, unit.lanes * unit.element_bits)


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
