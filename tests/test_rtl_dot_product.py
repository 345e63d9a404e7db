# SPDX-License-Identifier: Apache-2.0
"""Adder trees and dot products against naive sums, in the cycle that their latency says."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth.hdl import signed, unsigned

from bnn_rtl.adder_tree import AdderTree
from bnn_rtl.dot_product import SignedSum, XnorPopcount
from cocotb_run import SIMULATORS, SideBySide, fresh_seed, run_bench
from naive import naive_dot, naive_matches, naive_words

_CYCLES = 120
_LATENCY = {1: 1, 2: 1, 3: 1, 7: 1, 8: 1, 9: 2, 64: 2, 65: 3}  # a register after every third level, and one at the end


@dataclass(frozen=True)
class _Unit:
    """A component with what tests it: its operands' ranges, and the naive function of them."""

    component: AdderTree | SignedSum | XnorPopcount
    lanes: int
    ranges: dict[str, tuple[int, int]]  # port: the least and greatest value of a lane
    naive: Callable[..., int]


def _units() -> dict[str, _Unit]:
    units = {}
    for lanes in (1, 2, 3, 7, 9, 64):
        units[f"popcount_{lanes}"] = _Unit(XnorPopcount(lanes), lanes, {"x": (0, 1), "w": (0, 1)}, naive_matches)
    for name, element, reach in (("uint8", unsigned(8), (0, 255)), ("int8", signed(8), (-128, 127))):
        for lanes in (1, 2, 3, 7, 64):
            units[f"{name}_{lanes}"] = _Unit(SignedSum(element, lanes), lanes, {"x": reach, "w": (0, 1)}, _less_minus_ones)
    for lanes in (1, 2, 3, 7, 8, 64, 65):
        units[f"adder_u5_{lanes}"] = _Unit(AdderTree(unsigned(5), lanes), lanes, {"i": (0, 31)}, sum)
        units[f"adder_s4_{lanes}"] = _Unit(AdderTree(signed(4), lanes), lanes, {"i": (-8, 7)}, sum)
    return units


def _less_minus_ones(x: list[int], w: list[int]) -> int:
    """The sum of weighted inputs, less 1 for each weight of -1, which is what `SignedSum` says it gives."""
    return naive_dot(x, w) - w.count(0)


def _operands(unit: _Unit, draw: random.Random) -> list[dict[str, list[int]]]:
    """Returns the lanes of each port in each cycle: all at either end in turn, then random ones."""
    ends = []
    for which in range(2 ** len(unit.ranges)):
        ends.append({port: [reach[which >> index & 1]] * unit.lanes for index, (port, reach) in enumerate(unit.ranges.items())})
    rest = [
        {port: [draw.randint(*reach) for _ in range(unit.lanes)] for port, reach in unit.ranges.items()}
        for _ in range(_CYCLES - len(ends))
    ]
    return ends + rest


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_sums_are_naive_sums_after_their_latency(simulator: str, tmp_path: Path) -> None:
    """Each cycle's operands give their sum exactly `latency` cycles later, for lanes that fill a tree and that do not."""
    draw, units = random.Random(fresh_seed()), _units()
    operands = {name: _operands(unit, draw) for name, unit in units.items()}
    stimulus = {}
    for name, unit in units.items():
        stimulus[name] = {}
        for port, (low, high) in unit.ranges.items():
            bits = max(high.bit_length() + (low < 0), 1)
            stimulus[name][port] = [naive_words(lanes[port], bits, unit.lanes)[0] for lanes in operands[name]]
    recorded = run_bench(
        SideBySide({name: unit.component for name, unit in units.items()}), "pipeline", simulator, tmp_path, stimulus
    )
    for name, unit in units.items():
        latency, width = unit.component.latency, len(unit.component.o)
        expected = [unit.naive(*lanes.values()) % 2**width for lanes in operands[name]]
        assert latency == _LATENCY[unit.lanes], name
        found = recorded[name][latency:]
        assert len(found) > _CYCLES // 2
        assert found == expected[: len(found)], f"{name}, lanes of ports {list(unit.ranges)}, latency {latency}"
