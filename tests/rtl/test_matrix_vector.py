# SPDX-License-Identifier: Apache-2.0
"""The matrix-vector unit with each dot product and finish against naive sums, its initiation interval and its latency."""

import random
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from amaranth.hdl import Shape, signed, unsigned

from bnn_hw.design.memories import row_integers, weight_rows
from bnn_hw.fpga.family import ECP5, SERIES_7, Family
from bnn_rtl.dot_product import dot_product
from bnn_rtl.finish import Finish, Requantize, ScaleOffset, ThresholdCompare
from bnn_rtl.matrix_vector import MatrixVectorUnit
from support.cocotb_run import SIMULATORS, fresh_seed, run_streams
from support.naive import naive_dot, naive_matches, naive_rectified, naive_words

_shared_dot = cache(dot_product)  # units with the same one share its Verilog
_VECTORS: Final = 8
_SCORE_BITS: Final = 26
_SCALED_BITS: Final = 48  # what is shifted
_ELEMENTS: Final = {
    "bit": (unsigned(1), 0, 1),
    "zeros": (unsigned(1), 0, 1),
    "uint8": (unsigned(8), 0, 255),
    "int8": (signed(8), -128, 127),
}
_PIXEL_LANES: Final = 2  # of bits among which are true zeros
_CASES: Final = (  # element, inputs, outputs, pe, simd, finish
    ("bit", 1, 1, 1, 1, "thresholds"),
    ("bit", 7, 5, 1, 1, "thresholds"),
    ("bit", 13, 11, 11, 13, "thresholds"),  # fully unrolled
    ("bit", 31, 17, 3, 5, "thresholds"),  # primes, no divisors
    ("bit", 8, 9, 2, 8, "thresholds"),  # a vector is a word
    ("bit", 23, 4, 4, 6, "thresholds"),  # a result is a word
    ("bit", 65, 6, 5, 64, "thresholds"),  # a last word with one input
    ("bit", 19, 10, 1, 4, "scores"),
    ("bit", 12, 5, 5, 12, "scores"),
    ("bit", 23, 41, 1, 9, "rectified"),  # constants of more than 32 groups
    ("bit", 12, 9, 4, 12, "rectified"),
    ("uint8", 17, 13, 3, 4, "rectified"),
    ("uint8", 6, 5, 5, 6, "rectified"),  # of one group
    ("int8", 9, 300, 1, 9, "rectified"),  # in block RAM
    ("int8", 7, 7, 2, 2, "rectified"),
    ("uint8", 5, 3, 1, 1, "thresholds"),
    ("uint8", 27, 7, 3, 8, "thresholds"),
    ("uint8", 6, 5, 5, 6, "scores"),
    ("int8", 11, 7, 2, 3, "thresholds"),
    ("int8", 5, 4, 4, 5, "thresholds"),
    ("int8", 10, 3, 2, 4, "scores"),
    ("zeros", 18, 7, 3, 2, "thresholds"),  # a pixel at a time
    ("zeros", 18, 5, 5, 6, "thresholds"),
    ("zeros", 18, 4, 1, 8, "thresholds"),  # a last word of one pixel
    ("zeros", 8, 3, 2, 8, "thresholds"),
)


@dataclass(frozen=True)
class _Case:
    """A unit, what goes into it and what must come out."""

    unit: MatrixVectorUnit
    words: list[int]
    expected: list[int]
    synapse_folds: int
    neuron_folds: int
    latency: int


def _make(name: str, case: tuple[str, int, int, int, int, str], draw: random.Random) -> _Case:
    dtype, inputs, outputs, pe, simd, finish = case
    element, low, high = _ELEMENTS[dtype]
    weights = [[draw.getrandbits(1) for _ in range(inputs)] for _ in range(outputs)]
    vectors = [[low] * inputs, [high] * inputs]
    # Those of the greatest and of the least sum of the neuron in the middle.
    vectors += [[high if bit else low for bit in weights[outputs // 2]], [low if bit else high for bit in weights[outputs // 2]]]
    vectors += [[draw.randint(low, high) for _ in range(inputs)] for _ in range(_VECTORS - len(vectors))]
    zeros = [[False] * inputs] * _VECTORS
    if dtype == "zeros":
        pixels = [[draw.random() < 0.4 for _ in range(inputs // _PIXEL_LANES)] for _ in range(_VECTORS - 4)]
        zeros = [*zeros[:4], *([zero for zero in row for _ in range(_PIXEL_LANES)] for row in pixels)]
    sums = [[_sum(dtype, x, w, zero) for w in weights] for x, zero in zip(vectors, zeros, strict=True)]
    family = draw.choice((SERIES_7, ECP5))
    dot = _shared_dot(element, simd, _PIXEL_LANES if dtype == "zeros" else None, family)
    made, constants, width = _finish(name, finish, dtype, inputs, pe, sums, dot.total_shape(-(-inputs // simd)), family, draw)
    if finish == "thresholds":
        results = [[int(total >= constants[0][n]) for n, total in enumerate(row)] for row in sums]
    elif finish == "scores":
        results = [[constants[0][n] * total + constants[1][n] for n, total in enumerate(row)] for row in sums]
    else:
        scales, offsets, (shift, *_) = constants
        results = [[naive_rectified(total, scales[n], offsets[n], shift) for n, total in enumerate(row)] for row in sums]
        assert {0, 255} < {value for row in results for value in row}, name
    memory = row_integers(weight_rows(np.array(weights, bool), pe, simd))
    lut_bits = draw.choice((0, pe * simd, draw.randint(0, pe * simd)))
    return _Case(
        MatrixVectorUnit(name, dot, memory, family, inputs=inputs, outputs=outputs, pe=pe, finish=made, lut_bits=lut_bits),
        [word for x, zero in zip(vectors, zeros, strict=True) for word in _words(dtype, x, zero, simd)],
        [word for row in results for word in naive_words(row, width, pe)],
        -(-inputs // simd),
        -(-outputs // pe),
        dot.latency + made.latency + (family is ECP5),
    )


def _sum(dtype: str, x: list[int], w: list[int], zero: list[bool]) -> int:
    """Returns what the unit calls the sum.

    That is matches of bits, in halves where inputs can be zeros, or the weighted sum less 1 for each weight of -1.
    """
    if dtype == "bit":
        return naive_matches(x, w)
    if dtype == "zeros":
        return sum(1 if is_zero else 2 * naive_matches([bit], [weight]) for bit, weight, is_zero in zip(x, w, zero, strict=True))
    return naive_dot(x, w) - w.count(0)


def _words(dtype: str, x: list[int], zero: list[bool], simd: int) -> list[int]:
    """Returns a vector as words of `simd` elements; where inputs can be zeros, each pixel has a bit above its own for that."""
    if dtype != "zeros":
        return naive_words(x, _ELEMENTS[dtype][0].width, simd)
    elements = []
    for start in range(0, len(x), _PIXEL_LANES):
        elements += [*x[start : start + _PIXEL_LANES], int(zero[start])]
    return naive_words(elements, 1, simd // _PIXEL_LANES * (_PIXEL_LANES + 1))


def _finish(
    name: str,
    finish: str,
    dtype: str,
    inputs: int,
    pe: int,
    sums: list[list[int]],
    sum_shape: Shape,
    family: Family,
    draw: random.Random,
) -> tuple[Finish, list[list[int]], int]:
    """Returns a finish, its constants for each output and of rectified integers the shift, and the bits of a result."""
    outputs = len(sums[0])
    if finish == "thresholds":
        # Mostly a sum that occurs, so that one off shows; the first neuron always fires, the last never, the middle one
        # where its sum is the greatest.
        thresholds = [draw.choice(sums)[neuron] + draw.randint(0, 1) for neuron in range(outputs)]
        thresholds[outputs // 2] = max(row[outputs // 2] for row in sums)
        never = {"bit": inputs, "zeros": 2 * inputs}.get(dtype, 256 * inputs) + 1
        always = 0 if dtype in ("bit", "zeros") else -256 * inputs
        if outputs > 1:
            thresholds[0], thresholds[-1] = always, never
        reach = always - never, never - always
        return ThresholdCompare(_groups(thresholds, pe, never), reach), [thresholds], 1
    if finish == "scores":
        scale = [draw.randint(-99, 99) for _ in range(outputs)]
        offset = [draw.randint(-9999, 9999) for _ in range(outputs)]
        scores = ScaleOffset(name, sum_shape, signed(_SCORE_BITS), _groups(scale, pe, 0), _groups(offset, pe, 0), family)
        return scores, [scale, offset], _SCORE_BITS
    # Neurons whose sums come to all of 0..255 and past both ends, with a rising and a falling scale; the middle one's reach
    # the ends of what is shifted, the first ones' lie on the ends of 0..255 and right beside them.
    shift = draw.randint(2, 20)
    middle = [sum(row[neuron] for row in sums) // len(sums) for neuron in range(outputs)]
    spread = [max(row[neuron] for row in sums) - min(row[neuron] for row in sums) for neuron in range(outputs)]
    scale = [draw.choice((-1, 1)) * draw.randint(200, 600) * 2**shift // max(1, width) for width in spread]
    offset = [draw.randint(0, 255 * 2**shift) - slope * total for slope, total in zip(scale, middle, strict=True)]
    for neuron, value in enumerate((0, -1, 256 * 2**shift - 1, 256 * 2**shift)[: outputs // 2]):
        offset[neuron] = value - scale[neuron] * sums[0][neuron]
    ends = max(abs(row[outputs // 2]) for row in sums)
    scale[outputs // 2] = draw.choice((-1, 1)) * ((2**47 - 1) // max(1, ends))
    offset[outputs // 2] = 0
    scaled = ScaleOffset(name, sum_shape, signed(_SCALED_BITS), _groups(scale, pe, 0), _groups(offset, pe, 0), family)
    return Requantize(scaled, shift), [scale, offset, [shift]], 8


def _groups(values: list[int], pe: int, padding: int) -> list[list[int]]:
    padded = values + [padding] * (-len(values) % pe)
    return [padded[start : start + pe] for start in range(0, len(padded), pe)]


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_results_interval_and_latency(simulator: str, tmp_path: Path) -> None:
    """Every result is right, whatever stalls; when nothing does, a vector takes NF * SF cycles and the latency is as stated."""
    seed = fresh_seed()
    draw = random.Random(seed)
    names = {"{}_{}_{}_{}_{}_{}".format(*case): case for case in _CASES}
    cases = {name: _make(name, case, draw) for name, case in names.items()}
    recorded = run_streams(
        {name: case.unit for name, case in cases.items()},
        {name: case.words for name, case in cases.items()},
        {name: case.expected for name, case in cases.items()},
        simulator,
        tmp_path,
        seed,
        parts=[part for case in cases.values() for part in case.unit.parts],
    )
    for name, case in cases.items():
        taken, given = recorded[name]["taken"], recorded[name]["given"]
        if case.neuron_folds > 1:  # the next vector comes in while the first is replayed
            assert taken[: 2 * case.synapse_folds] == list(range(2 * case.synapse_folds)), name
        finished = given[case.neuron_folds - 1 :: case.neuron_folds]
        intervals = [after - cycle for cycle, after in pairwise(finished)]
        assert intervals == [case.neuron_folds * case.synapse_folds] * (_VECTORS - 1), name
        assert given[0] - taken[0] == case.synapse_folds + 3 + case.latency, name
