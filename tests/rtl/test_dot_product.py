# SPDX-License-Identifier: Apache-2.0
"""Adder trees and dot products against naive sums, in the cycle that their latency says."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import signed, unsigned

from bnn_hw.fpga.family import ECP5, SERIES_7, Family
from bnn_rtl.adder_tree import AdderTree
from bnn_rtl.dot_product import DotProduct, SignedSum, XnorPopcount, ZeroPaddedXnorPopcount
from support.cocotb_run import SIMULATORS, SideBySide, fresh_seed, run_bench
from support.naive import naive_dot, naive_matches, naive_words

_CYCLES = 120
_LATENCY = {1: 1, 2: 1, 3: 1, 7: 1, 8: 1, 9: 2, 64: 2, 65: 3}  # a register after every third level, and one at the end
_ZERO_PADDED = ((1, 1), (7, 7), (64, 64), (65, 65), (2, 1), (9, 3), (8, 1), (18, 2), (64, 8), (27, 9))  # lanes, of a pixel


@dataclass(frozen=True)
class _Unit:
    """A component with what tests it: each port's value in each cycle, and what `o` must be `latency` cycles later."""

    component: AdderTree | DotProduct
    latency: int
    stimulus: Mapping[str, Sequence[int]]
    expected: Sequence[int]


def _units(draw: random.Random) -> dict[str, _Unit]:
    units = {}
    for lanes in (1, 2, 3, 7, 8, 64, 65):
        latency = _LATENCY[lanes]
        units[f"adder_u5_{lanes}"] = _unit(AdderTree(unsigned(5), lanes, 3), latency, {"i": (0, 31)}, sum, draw)
        units[f"adder_s4_{lanes}"] = _unit(AdderTree(signed(4), lanes, 3), latency, {"i": (-8, 7)}, sum, draw)
    units["adder_u5_17_2"] = _unit(AdderTree(unsigned(5), 17, levels=2), 3, {"i": (0, 31)}, sum, draw)
    for family in (SERIES_7, ECP5):
        for lanes in (1, 2, 3, 7, 9, 64):
            popcount = XnorPopcount(lanes, family, levels=3)
            latency = _LATENCY[lanes] if family == ECP5 else popcount.latency
            ranges = {"x": (0, 1), "w": (0, 1)}
            units[f"popcount_{family.name}_{lanes}"] = _unit(popcount, latency, ranges, naive_matches, draw)
        for name, element, reach in (("uint8", unsigned(8), (0, 255)), ("int8", signed(8), (-128, 127))):
            for lanes in (1, 2, 3, 7, 64):
                dot = SignedSum(element, lanes, family, levels=3)
                latency = _LATENCY[lanes] if family == ECP5 else dot.latency
                ranges = {"x": reach, "w": (0, 1)}
                units[f"{name}_{family.name}_{lanes}"] = _unit(dot, latency, ranges, _less_minus_ones, draw)
        for lanes, pixel_lanes in _ZERO_PADDED:
            units[f"zeros_{family.name}_{lanes}_{pixel_lanes}"] = _zero_padded_unit(lanes, pixel_lanes, family, draw)
    return units


def _unit(
    component: AdderTree | DotProduct,
    latency: int,
    ranges: Mapping[str, tuple[int, int]],
    naive: Callable[..., int],
    draw: random.Random,
) -> _Unit:
    """Returns a unit whose lanes are in these ranges: all at either end in turn, then random ones."""
    lanes = len(component.w) if "w" in ranges else len(component.i)
    operands = []
    for which in range(2 ** len(ranges)):
        operands.append({port: [reach[which >> index & 1]] * lanes for index, (port, reach) in enumerate(ranges.items())})
    while len(operands) < _CYCLES:
        operands.append({port: [draw.randint(*reach) for _ in range(lanes)] for port, reach in ranges.items()})
    stimulus = {}
    for port, (low, high) in ranges.items():
        bits = max(high.bit_length() + (low < 0), 1)
        stimulus[port] = [naive_words(values[port], bits, lanes)[0] for values in operands]
    return _Unit(component, latency, stimulus, [naive(*values.values()) for values in operands])


def _zero_padded_unit(lanes: int, pixel_lanes: int, family: Family, draw: random.Random) -> _Unit:
    """Returns a unit whose pixels are zeros at random; the bits below the mark of zeros are then random, and do not count."""
    pixels = lanes // pixel_lanes
    stimulus: dict[str, list[int]] = {"x": [], "w": []}
    expected = []
    for cycle in range(_CYCLES):
        w = [draw.getrandbits(1) for _ in range(lanes)]
        x = [draw.getrandbits(1) for _ in range(lanes)]
        zeros = [draw.getrandbits(1) for _ in range(pixels)]
        if cycle < 6:  # no zeros, zeros only, and both once more where all inputs match and where none does
            zeros = [cycle % 2] * pixels
            x = [w[lane] ^ (cycle // 2 == 2) for lane in range(lanes)] if cycle >= 2 else x
        word, halves = 0, 0
        for pixel in range(pixels):
            of_pixel = slice(pixel * pixel_lanes, (pixel + 1) * pixel_lanes)
            bits = [*x[of_pixel], zeros[pixel]]
            word += naive_words(bits, 1, len(bits))[0] * 2 ** (pixel * len(bits))
            halves += pixel_lanes if zeros[pixel] else 2 * naive_matches(x[of_pixel], w[of_pixel])
        stimulus["x"].append(word)
        stimulus["w"].append(naive_words(w, 1, lanes)[0])
        expected.append(halves)
    dot = ZeroPaddedXnorPopcount(lanes, pixel_lanes, family, levels=3)
    latency = _LATENCY[pixel_lanes] + (_LATENCY[pixels] if pixels > 1 else 0) if family == ECP5 else dot.latency
    return _Unit(dot, latency, stimulus, expected)


def _less_minus_ones(x: list[int], w: list[int]) -> int:
    """The sum of weighted inputs, less 1 for each weight of -1, which is what `SignedSum` says it gives."""
    return naive_dot(x, w) - w.count(0)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_sums_are_naive_sums_after_their_latency(simulator: str, tmp_path: Path) -> None:
    """Each cycle's operands give their sum exactly `latency` cycles later, for lanes that fill a tree and that do not."""
    units = _units(random.Random(fresh_seed()))
    components = SideBySide({name: unit.component for name, unit in units.items()})
    recorded = run_bench(components, "pipeline", simulator, tmp_path, {name: unit.stimulus for name, unit in units.items()})
    for name, unit in units.items():
        latency, width = unit.component.latency, len(unit.component.o)
        assert latency == unit.latency, name
        found = recorded[name][latency:]
        assert len(found) > _CYCLES // 2
        assert found == [total % 2**width for total in unit.expected][: len(found)], f"{name}, latency {latency}"


def test_a_sum_of_more_lanes_than_python_recurses() -> None:
    """Amaranth takes an expression apart by recursion, of which Python allows a thousand."""
    text = verilog.convert(SignedSum(unsigned(8), 1100), name="wide", emit_src=False)
    assert "module wide(" in text
