# SPDX-License-Identifier: Apache-2.0
"""Sums of many bits as circuits of 6-input look-up tables and carry chains.

A bit heap holds addends in columns; those of column c count 2**c. Compressors replace addends of a column by one addend
of it and some of the columns above, until an adder can take what is left:

- A full adder is one LUT6_2 of five inputs. Two products of an input and a weight, which are XNORs, and an addend fit.
- A counter adds up to seven addends in two LUT6_2 and a carry chain (the atom (0,6) and the carry that goes into it in Preusser,
  "Generic and Universal Parallel Matrix Summation with a Flexible Compression Goal for Xilinx FPGAs", FPL 2017). It rids
  the heap of two addends for each look-up table, a full adder of one.
- The last adder takes three addends a column in one LUT6_2: its second output hands the carry of three addends on to the
  next column, its first output adds what came from the one before.

So all products go into full adders, chained through the addend that is not a product, and what they give goes into counters.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeAlias

from bnn_hw.fpga.circuit import ONE, ZERO, Addend, Circuit, CircuitBuilder, CircuitJoiner, Pipeline

__all__ = ["least_luts", "signed_sum_circuit", "xnor_popcount_circuit", "zero_padded_popcount_circuit"]

_SIZES: Final = (3, 5, 6, 7)  # of the compressors, in addends: the full adder, and counters
_LONGEST: Final = 8  # chain of full adders: longer ones save little
_FLIP_FLOP: Final = 1 / 8  # what one costs in look-up tables: there are twice as many, and few are in use otherwise
_CYCLE: Final = 1  # what a cycle of latency costs: the matrix-vector unit delays its conditions by as many

_Counts: TypeAlias = tuple[int, ...]  # of compressors of each size


@cache
def xnor_popcount_circuit(lanes: int, levels: int) -> Circuit:
    """Returns the circuit of ``popcount(xnor(x, w))``; its input is x and above it w."""
    return sum_circuit(2 * lanes, [[(lane, lanes + lane) for lane in range(lanes)]], lanes.bit_length(), levels)


@cache
def signed_sum_circuit(width: int, is_signed: bool, lanes: int, levels: int) -> Circuit:
    """Returns the circuit of ``sum(w ? x : ~x)`` of integers of that width; its input is x, lane by lane, and above it w."""
    weights = range(lanes * width, lanes * (width + 1))
    columns: list[list[Addend]] = [[(lane * width + bit, w) for lane, w in enumerate(weights)] for bit in range(width)]
    sum_bits = (lanes << width - is_signed).bit_length() + 1
    # The top bit b of a signed number counts -b, which is ~b - 1.
    if is_signed:
        columns[-1] = [(x, w, ZERO) for x, w in columns[-1]]
        constant = -lanes << width - 1
    else:
        columns.append([(w,) for w in weights])
        constant = -lanes << width
    columns += [[] for _ in range(sum_bits - len(columns))]
    for column, addends in enumerate(columns):
        if constant >> column & 1:
            addends.append((ONE,))
    return sum_circuit(lanes * (width + 1), columns, sum_bits, levels)


@cache
def zero_padded_popcount_circuit(lanes: int, pixel_lanes: int, levels: int) -> Circuit:
    """Returns the circuit of ``2 * popcount(xnor(x, w)) + zeros``.

    Its input is x, for each pixel its bits and above them a bit that is 1 if they are zeros, and above it w.
    """
    pixels = lanes // pixel_lanes
    count = xnor_popcount_circuit(pixel_lanes, levels)
    joined = CircuitJoiner(lanes + pixels + lanes)
    columns: list[list[Addend]] = [[] for _ in range(1 + len(count.outputs))]
    for pixel in range(pixels):
        x = range(pixel * (pixel_lanes + 1), (pixel + 1) * (pixel_lanes + 1))
        w = range(lanes + pixels + pixel * pixel_lanes, lanes + pixels + (pixel + 1) * pixel_lanes)
        zero = joined.delayed(x[-1], count.latency - 1)
        halves = [joined.delayed(zero, 1) if pixel_lanes % 2 else ZERO]
        halves += joined.add(count, [*x[:-1], *w], force=zero, value=pixel_lanes // 2)
        for column, bit in zip(columns, halves, strict=True):
            if bit != ZERO:
                column.append((bit,))
    if pixels == 1:
        return joined.circuit(halves, count.latency)
    bits = [bit for column in columns for (bit,) in column]
    numbers = {bit: number for number, bit in enumerate(bits)}
    total = sum_circuit(len(bits), [[(numbers[bit],) for (bit,) in column] for column in columns], (2 * lanes).bit_length(), levels)
    return joined.circuit(joined.add(total, bits), count.latency + total.latency)


def sum_circuit(inputs: int, columns: Sequence[Sequence[Addend]], width: int, levels: int) -> Circuit:
    """Returns the circuit that adds up the addends of all columns modulo ``2**width``.

    `levels`: the most look-up tables one after the other between registers, at least 2. An addend of two bits, a
    product, is their XNOR.
    """
    lengths = range(1, min(levels, _LONGEST) + 1)
    pipelines = (_Heap(inputs, columns, width, levels, length).pipeline() for length in lengths)
    best = min(pipelines, key=lambda found: found.luts + _FLIP_FLOP * found.flip_flops + _CYCLE * found.latency)
    return best.circuit()


def least_luts(products: int, addends: int, width: int) -> int:
    """Returns as many look-up tables as a circuit of `sum_circuit` takes, or somewhat less, without making it.

    `addends`: of its addends those that are no products. A look-up table takes two products at most and rids the heap of one
    addend, or it takes none and rids it of two; what the last adder does beyond that is less than a table a column.
    """
    return max(-(-products // 2), (3 * products + 2 * addends) // 4 - width)


class _Heap:
    """Addends in columns, and the cells that made them."""

    def __init__(self, inputs: int, columns: Sequence[Sequence[Addend]], width: int, levels: int, length: int) -> None:
        self._builder = CircuitBuilder(inputs)
        self._columns = [*map(list, columns), *([] for _ in range(width - len(columns)))]
        self._levels, self._length = levels, length

    def pipeline(self) -> Pipeline:
        """Returns the circuit of the sum, with at most `length` full adders of products one after the other."""
        for column in range(len(self._columns)):
            self._add_products(column)
        _, plan = _cheapest(tuple(map(len, self._columns)), False, 0)
        for column, counts in enumerate(plan):
            self._compress(column, [size for size, count in zip(_SIZES, counts, strict=True) for _ in range(count)])
        return self._builder.pipeline(self._add_rows(), self._levels, unparted=2)

    def _add_products(self, column: int) -> None:
        products = [addend for addend in self._columns[column] if len(addend) > 1]
        others: list[Addend] = [addend for addend in self._columns[column] if len(addend) == 1]
        # A full adder of two products takes an early one.
        early: deque[Addend] = deque(addend for addend in others if self._builder.level(addend) < self._length)
        late: list[Addend] = [addend for addend in others if self._builder.level(addend) >= self._length]
        for first in range(0, len(products), 2):
            taken = products[first : first + 2]
            while early and len(taken) < _SIZES[0]:
                taken.append(early.popleft())
            self._full_adder(column, taken)
            made = self._columns[column].pop()
            (early if self._builder.level(made) < self._length else late).append(made)
        self._columns[column] = [*early, *late]

    def _compress(self, column: int, sizes: Sequence[int]) -> None:
        """Adds compressors of these sizes to a column, each of the earliest addends."""
        order = count()
        waiting: list[tuple[int, int, Addend]] = []
        for size in sizes:
            for addend in self._columns[column]:
                heappush(waiting, (self._builder.level(addend), next(order), addend))
            self._columns[column] = []
            addends = [heappop(waiting)[2] for _ in range(size)]
            (self._full_adder if size == 3 else self._counter)(column, addends)
        self._columns[column] = [*(addend for _, _, addend in sorted(waiting)), *self._columns[column]]

    def _put(self, column: int, bits: Sequence[int]) -> None:
        for offset, bit in enumerate(bits):
            self._columns[column + offset].append((bit,))

    def _full_adder(self, column: int, addends: Sequence[Addend]) -> None:
        level = 1 + max(map(self._builder.level, addends))
        functions = (_ones, _twos) if len(addends) > 1 and column + 1 < len(self._columns) else (_ones,)
        self._put(column, self._builder.table(level, addends, *functions))

    def _counter(self, column: int, addends: Sequence[Addend]) -> None:
        level = 1 + max(map(self._builder.level, addends))
        *others, last, (carry,) = addends
        # The first position adds the parity of the others, the last one and the carry; the second what the parity leaves.
        ones = self._builder.table(level, [*others, last], _ones, _ones_but_last)
        twos = (*self._builder.table(level, others, *(_one_pair, _two_pairs)[: len(others) // 2]), ZERO)[:2]
        positions = [ones, twos, (ZERO, ZERO)][: len(self._columns) - column]
        self._put(column, self._builder.chain(level, carry, positions))

    def _add_rows(self) -> list[int]:
        """Returns the sum of what is left, at most three addends a column and one from the column below."""
        heights = [len(addends) for addends in self._columns]
        lowest = next((column for column, height in enumerate(heights) if height > 1), len(heights))
        sums = [addends[0][0] if addends else ZERO for addends in self._columns[:lowest]]
        if lowest == len(heights):
            return sums
        level = 2 + max(self._builder.level(addend) for addends in self._columns[lowest:] for addend in addends)
        positions: list[tuple[int, ...]] = []
        carry = ZERO
        for addends in self._columns[lowest:]:
            others = list(addends)
            if carry == ZERO and others:
                (carry,) = others.pop()
            if carry == ZERO:
                positions.append((ZERO, ZERO))
                continue
            functions = (_ones, _twos_but_last) if len(others) > 1 else (_ones,)
            propagate, *above = self._builder.table(level, [*others, (carry,)], *functions)
            positions.append((propagate, carry))
            (carry,) = above or (ZERO,)
        return [*sums, *self._builder.chain(level, ZERO, positions)]


@cache
def _cheapest(heights: tuple[int, ...], adding: bool, carry: int) -> tuple[int, tuple[_Counts, ...]]:
    """Returns the fewest look-up tables for columns of these heights, and the compressors of each of them.

    `adding`: whether the last adder begins below them; `carry`: the addends that it hands on to the lowest of them.
    """
    if not heights:
        return 0, ()
    height, *above = heights
    best: tuple[int, tuple[_Counts, ...]] | None = None
    for counts in _choices(height):
        left = height - sum((size - 1) * count for size, count in zip(_SIZES, counts, strict=True))
        if not min(height, 1) <= left <= 4 - carry:
            continue
        full_adders, counters = counts[0], sum(counts[1:])
        added = (full_adders + counters, counters, *[0] * len(above))
        rows = adding or left > 1
        luts, plan = _cheapest(
            tuple(height + count for height, count in zip(above, added, strict=False)), rows, int(rows and left + carry > 2)
        )
        luts += full_adders + 2 * counters + int(rows and left + carry > 0)
        if best is None or luts <= best[0]:
            best = luts, (counts, *plan)
    assert best is not None
    return best


def _choices(height: int) -> Iterator[_Counts]:
    """Returns the numbers of compressors that may be best for a column: counters of seven, and little else."""
    most = max(height - 1, 0) // 6
    for sevens in range(most, max(most - 2, -1), -1):
        for rest in ((0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1)):
            yield (*rest, sevens)


def _ones(values: Sequence[int]) -> int:
    return sum(values) & 1


def _twos(values: Sequence[int]) -> int:
    return sum(values) >> 1 & 1


def _ones_but_last(values: Sequence[int]) -> int:
    return _ones(values[:-1])


def _twos_but_last(values: Sequence[int]) -> int:
    return _twos(values[:-1])


def _one_pair(values: Sequence[int]) -> int:
    return int(sum(values) >> 1 == 1)


def _two_pairs(values: Sequence[int]) -> int:
    return int(sum(values) >> 1 == 2)
