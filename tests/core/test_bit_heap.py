# SPDX-License-Identifier: Apache-2.0
"""Circuits of bit heaps against naive sums, cycle by cycle, and their look-up tables, depths and sizes."""

import random
from collections.abc import Callable, Sequence
from itertools import product

import pytest

from bnn_hw.fpga.bit_heap import least_luts, signed_sum_circuit, xnor_popcount_circuit, zero_padded_popcount_circuit
from bnn_hw.fpga.circuit import LUT_INPUTS, ONE, ZERO, Chain, Circuit, Register, Table
from support.naive import naive_dot, naive_matches

_LEVELS = (2, 3, 4, 8)
_SEED = 0


def _run(circuit: Circuit, cycles: Sequence[Sequence[int]]) -> list[int]:
    """Returns the output in each cycle, as an unsigned number; what registers hold first is 1."""
    registers = {cell.output: 1 for cell in circuit.cells if isinstance(cell, Register)}
    tables = {cell: _outputs(cell) for cell in circuit.cells if isinstance(cell, Table)}
    results = []
    for inputs in cycles:
        assert len(inputs) == circuit.inputs
        bits = {ZERO: 0, ONE: 1, **dict(enumerate(inputs)), **registers}
        for cell in circuit.cells:
            match cell:
                case Table():
                    index = sum(bits[bit] * 2**at for at, bit in enumerate(cell.inputs))
                    bits.update((output, rows[index]) for output, rows in zip(cell.outputs, tables[cell], strict=True))
                case Chain():
                    carry = bits[cell.carry]
                    for propagate, generate, output in zip(cell.propagate, cell.generate, cell.outputs, strict=True):
                        bits[output] = bits[propagate] ^ carry
                        carry = carry if bits[propagate] else bits[generate]
                case Register():
                    registers[cell.output] = cell.value if bits[cell.force] else bits[cell.input]
        results.append(sum(bits[bit] * 2**at for at, bit in enumerate(circuit.outputs)))
    return results


def _check(circuit: Circuit, cycles: Sequence[Sequence[int]], expected: Sequence[int]) -> None:
    """Each cycle's input gives its sum exactly `latency` cycles later."""
    found = _run(circuit, [*cycles, *cycles[: circuit.latency]])[circuit.latency :]
    assert found == [total % 2 ** len(circuit.outputs) for total in expected]


def _outputs(table: Table) -> list[list[int]]:
    """Returns the value of each output for each value of the inputs, those that are not there 1."""
    indices = range(64 - 2 ** len(table.inputs), 64)
    return [[table.init // 2 ** (index % size) % 2 for index in indices] for size in (64, 32)][: len(table.outputs)]


def _depends(rows: Sequence[int], at: int) -> bool:
    return any(rows[index] != rows[index ^ 2**at] for index in range(len(rows)))


def _depth(circuit: Circuit) -> int:
    """Returns the most look-up tables one after the other, counting those that an output of a table depends on."""
    depths = dict.fromkeys((ZERO, ONE, *range(circuit.inputs)), 0)
    for cell in circuit.cells:
        match cell:
            case Table():
                assert len(cell.inputs) <= LUT_INPUTS
                assert len(cell.outputs) in (1, 2)
                for output, rows in zip(cell.outputs, _outputs(cell), strict=True):
                    depths[output] = 1 + max(depths[bit] for at, bit in enumerate(cell.inputs) if _depends(rows, at))
            case Chain():
                deepest = max(depths[bit] for bit in (cell.carry, *cell.propagate, *cell.generate))
                depths |= dict.fromkeys(cell.outputs, deepest)
            case Register():
                depths[cell.output] = 0
    assert all(depths[bit] == 0 for bit in circuit.outputs)  # registered
    return max(depths.values())


@pytest.mark.parametrize("levels", _LEVELS)
@pytest.mark.parametrize("lanes", range(1, 7))
def test_small_popcounts_are_right_for_all_inputs(lanes: int, levels: int) -> None:
    cycles = list(product((0, 1), repeat=2 * lanes))
    _check(xnor_popcount_circuit(lanes, levels), cycles, [naive_matches(bits[:lanes], bits[lanes:]) for bits in cycles])


@pytest.mark.parametrize("levels", _LEVELS)
@pytest.mark.parametrize("lanes", [*range(7, 34), 41, 64, 86, 98, 127, 128, 129, 256, 784])
def test_popcounts_are_naive_sums(lanes: int, levels: int) -> None:
    draw = random.Random(_SEED)
    corners = [[x] * lanes + [w] * lanes for x in (0, 1) for w in (0, 1)]
    cycles = corners + [[draw.getrandbits(1) for _ in range(2 * lanes)] for _ in range(12)]
    circuit = xnor_popcount_circuit(lanes, levels)
    _check(circuit, cycles, [naive_matches(bits[:lanes], bits[lanes:]) for bits in cycles])
    assert _depth(circuit) <= levels


@pytest.mark.parametrize("levels", _LEVELS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (9, 3), (8, 1), (18, 2), (27, 9), (64, 64), (65, 65), (64, 8), (96, 32)])
def test_popcounts_with_zeros_are_naive_sums(shape: tuple[int, int], levels: int) -> None:
    lanes, pixel_lanes = shape
    draw = random.Random(_SEED)
    cycles, expected = [], []
    for _ in range(24):
        bits, halves = [], 0
        w = [draw.getrandbits(1) for _ in range(lanes)]
        for pixel in range(lanes // pixel_lanes):
            x, zeros = [draw.getrandbits(1) for _ in range(pixel_lanes)], draw.getrandbits(1)
            matches = naive_matches(x, w[pixel * pixel_lanes : (pixel + 1) * pixel_lanes])
            bits += [*x, zeros]
            halves += pixel_lanes if zeros else 2 * matches
        cycles.append([*bits, *w])
        expected.append(halves)
    circuit = zero_padded_popcount_circuit(lanes, pixel_lanes, levels)
    _check(circuit, cycles, expected)
    assert _depth(circuit) <= levels


@pytest.mark.parametrize("levels", _LEVELS)
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 7, 8, 9, 16, 27, 32, 64])
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127)])
def test_sums_of_bytes_are_naive_sums(low: int, high: int, lanes: int, levels: int) -> None:
    draw = random.Random(_SEED)
    cycles, expected = [], []
    for cycle in range(16):
        pick: Callable[[], int] = (lambda: low, lambda: high, lambda: draw.randint(low, high))[min(cycle // 3, 2)]
        x, w = [pick() for _ in range(lanes)], [draw.getrandbits(1) if cycle % 3 == 2 else cycle % 3 for _ in range(lanes)]
        cycles.append([number >> bit & 1 for number in x for bit in range(8)] + w)
        expected.append(naive_dot(x, w) - w.count(0))
    circuit = signed_sum_circuit(8, low < 0, lanes, levels)
    _check(circuit, cycles, expected)
    assert _depth(circuit) <= levels


@pytest.mark.parametrize(
    ("lanes", "levels", "luts", "flip_flops", "latency"),
    [(8, 3, 7, 10, 2), (64, 3, 54, 50, 3), (64, 8, 51, 17, 2), (784, 3, 653, 446, 5), (784, 8, 617, 96, 2)],
)
def test_sizes_do_not_grow(lanes: int, levels: int, luts: int, flip_flops: int, latency: int) -> None:
    """What yosys counts is in rtl/experiments/popcount_area.py."""
    circuit = xnor_popcount_circuit(lanes, levels)
    assert circuit.luts <= luts
    assert circuit.flip_flops <= flip_flops
    assert circuit.latency <= latency


def test_a_popcount_takes_less_than_a_table_a_lane() -> None:
    for lanes in range(4, 100):
        assert xnor_popcount_circuit(lanes, 3).luts <= lanes, lanes


@pytest.mark.parametrize("levels", _LEVELS)
def test_a_circuit_takes_the_least_look_up_tables_or_somewhat_more(levels: int) -> None:
    for lanes in (*range(1, 100), 128, 129, 500, 1000, 2048):
        popcount, least = xnor_popcount_circuit(lanes, levels), least_luts(lanes, 0, lanes.bit_length())
        assert least <= popcount.luts, lanes
        assert least >= 0.75 * popcount.luts - 10, lanes
    for lanes in (1, 2, 3, 7, 8, 9, 27, 32, 64):
        for is_signed, others in ((True, 0), (False, lanes)):  # weights are addends of their own in a sum of unsigned integers
            total, least = signed_sum_circuit(8, is_signed, lanes, levels), least_luts(8 * lanes, others, (lanes << 8).bit_length())
            assert least <= total.luts, lanes
            assert least >= 0.7 * total.luts - 10, lanes
