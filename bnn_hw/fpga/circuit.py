# SPDX-License-Identifier: Apache-2.0
"""Circuits of 6-input look-up tables, carry chains and flip-flops, as the FPGAs of AMD have them, pipelined to a depth."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import Final, TypeAlias

__all__ = ["LUT_INPUTS", "ONE", "ZERO", "Addend", "Cell", "Chain", "Circuit", "CircuitBuilder", "Pipeline", "Register", "Table"]

ZERO: Final = -1  # the bit that is always 0
ONE: Final = -2  # and the one that is always 1

# A bit, or two bits of which the XNOR is meant, or with ZERO as a third one, the XOR: in short, 1 if an even number of its
# bits are 0. Bits are numbered, those of the circuit's input first.
Addend: TypeAlias = tuple[int, ...]
Function: TypeAlias = Callable[[Sequence[int]], int]

LUT_INPUTS: Final = 6


@dataclass(frozen=True)
class Table:
    """A LUT6, or with two outputs a LUT6_2.

    Bit i of `init` is the first output where the inputs are i, the first one lowest. The second output is what the first
    would be if the sixth input were 0; inputs that are not there are 1.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    init: int


@dataclass(frozen=True)
class Chain:
    """A carry chain: an output is ``propagate ^ carry``, and the next carry is `carry` if it propagates, else `generate`."""

    carry: int
    propagate: tuple[int, ...]
    generate: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Register:
    """A flip-flop; where `force` is 1 it takes `value` instead of its input, by its synchronous reset or set."""

    input: int
    output: int
    force: int = ZERO
    value: int = 0


Cell: TypeAlias = Table | Chain | Register


@dataclass(frozen=True)
class Circuit:
    """Cells, each after those whose outputs it takes. Bits 0 to inputs-1 are the input; `outputs` are registered.

    `latency`: the registers on every way from an input to an output.
    """

    inputs: int
    cells: tuple[Cell, ...]
    outputs: tuple[int, ...]
    latency: int

    @cached_property
    def luts(self) -> int:
        """The number of look-up tables."""
        return sum(isinstance(cell, Table) for cell in self.cells)

    @cached_property
    def flip_flops(self) -> int:
        """The number of flip-flops."""
        return sum(isinstance(cell, Register) for cell in self.cells)


class CircuitBuilder:
    """Cells without registers, each with the number of look-up tables that lie one after the other up to its outputs."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._levels = dict.fromkeys((ONE, ZERO, *range(inputs)), 0)  # of each bit
        self._cells: list[tuple[int, Cell]] = []

    def level(self, addend: Addend) -> int:
        """Returns how many look-up tables lie before an addend."""
        return max(map(self._levels.__getitem__, addend))

    def table(self, level: int, addends: Sequence[Addend], *functions: Function) -> tuple[int, ...]:
        """Returns one or two functions of the addends' values, in one look-up table."""
        outputs = tuple(self._bit(level) for _ in functions)
        inputs = tuple(bit for addend in addends for bit in addend if bit != ZERO)
        self._cells.append((level, Table(inputs, outputs, _init(tuple(map(len, addends)), functions))))
        return outputs

    def chain(self, level: int, carry: int, positions: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Returns the outputs of a carry chain, of whose positions each has a bit to propagate and one to generate."""
        outputs = tuple(self._bit(level) for _ in positions)
        propagate, generate = zip(*positions, strict=True)
        self._cells.append((level, Chain(carry, propagate, generate, outputs)))
        return outputs

    def _bit(self, level: int) -> int:
        bit = len(self._levels) - 2
        self._levels[bit] = level
        return bit

    def pipeline(self, outputs: Sequence[int], levels: int, unparted: int) -> "Pipeline":
        """Returns the circuit with a register on each way behind at most so many levels and behind the outputs.

        Between them is the lowest latency, and with that the fewest registers. No register parts the last `unparted` levels.
        """
        assert levels >= unparted
        depth = max(self._levels.values())
        last = dict.fromkeys(outputs, depth + 1)  # the level of each bit's last use
        for level, cell in self._cells:
            for bit in _inputs(cell):
                last[bit] = max(last.get(bit, 0), level)
        last.pop(ZERO, None)
        last.pop(ONE, None)
        changes = [0] * (depth + 2)  # at each level, in how many bits are alive
        for bit, end in last.items():
            changes[self._levels[bit]] += 1
            changes[end] -= 1
        cuts, flip_flops = _cuts(list(accumulate(changes)), levels, depth, unparted)
        return Pipeline(self._inputs, self._levels, self._cells, tuple(outputs), cuts, flip_flops)


@dataclass(frozen=True)
class Pipeline:
    """A builder's cells and the levels behind which registers part them: how large their circuit is, before that is made."""

    inputs: int
    levels: Mapping[int, int]  # of each bit
    cells: Sequence[tuple[int, Cell]]  # and of each cell
    outputs: tuple[int, ...]
    cuts: tuple[int, ...]
    flip_flops: int

    @property
    def luts(self) -> int:
        """The number of look-up tables."""
        return sum(isinstance(cell, Table) for _, cell in self.cells)

    @property
    def latency(self) -> int:
        """The registers on every way from an input to an output."""
        return len(self.cuts)

    def circuit(self) -> Circuit:
        """Returns the circuit with its registers."""
        delays = _Delays(self.cuts, self.levels)
        for level, cell in self.cells:
            delays.add(cell, bisect_left(self.cuts, level))
        registered = tuple(delays.at(bit, self.latency) for bit in self.outputs)
        circuit = Circuit(self.inputs, tuple(delays.cells), registered, self.latency)
        assert circuit.flip_flops == self.flip_flops
        return circuit


class CircuitJoiner:
    """A circuit made of circuits and of registers."""

    def __init__(self, inputs: int) -> None:
        self._inputs, self._bits = inputs, inputs
        self._cells: list[Cell] = []

    def add(self, circuit: Circuit, inputs: Sequence[int], force: int = ZERO, value: int = 0) -> list[int]:
        """Returns the outputs of a circuit of these inputs; those are `value` after a cycle in which `force` is 1."""
        first = self._bits - circuit.inputs
        bits = {ZERO: ZERO, ONE: ONE, **dict(enumerate(inputs))}
        forced = {bit: value >> index & 1 for index, bit in enumerate(circuit.outputs)}
        for cell in circuit.cells:
            made = (cell.output,) if isinstance(cell, Register) else cell.outputs
            bits |= {bit: first + bit for bit in made}
            self._bits += len(made)
            match cell:
                case Table(taken, outputs, init):
                    self._cells.append(Table(_of(bits, taken), _of(bits, outputs), init))
                case Chain(carry, propagate, generate, outputs):
                    chain = Chain(bits[carry], _of(bits, propagate), _of(bits, generate), _of(bits, outputs))
                    self._cells.append(chain)
                case Register(before, after):
                    which = (force, forced[after]) if after in forced else (ZERO, 0)
                    self._cells.append(Register(bits[before], bits[after], *which))
        return [bits[bit] for bit in circuit.outputs]

    def delayed(self, bit: int, cycles: int) -> int:
        """Returns a bit so many cycles later."""
        for _ in range(cycles):
            self._cells.append(Register(bit, self._bits))
            bit = self._bits
            self._bits += 1
        return bit

    def circuit(self, outputs: Sequence[int], latency: int) -> Circuit:
        """Returns the circuit with these outputs, to which `latency` registers lead."""
        return Circuit(self._inputs, tuple(self._cells), tuple(outputs), latency)


def _of(bits: Mapping[int, int], numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(bits[number] for number in numbers)


class _Delays:
    """Cells in stages of a pipeline, and the registers that bring bits from stage to stage, each once."""

    def __init__(self, cuts: Sequence[int], levels: Mapping[int, int]) -> None:
        self.cells: list[Cell] = []
        self._stages = {bit: bisect_left(cuts, level) for bit, level in levels.items()}
        self._delayed: dict[tuple[int, int], int] = {}

    def at(self, bit: int, stage: int) -> int:
        """Returns a bit as it is in a stage."""
        if bit < 0 or stage == self._stages[bit]:
            return bit
        if (bit, stage) not in self._delayed:
            before = self.at(bit, stage - 1)
            delayed = len(self._stages) - 2 + len(self._delayed)
            self._delayed[bit, stage] = delayed
            self.cells.append(Register(before, delayed))
        return self._delayed[bit, stage]

    def add(self, cell: Cell, stage: int) -> None:
        """Adds a cell that takes its inputs as they are in that stage."""
        match cell:
            case Table(taken, outputs, init):
                self.cells.append(Table(tuple(self.at(bit, stage) for bit in taken), outputs, init))
            case Chain(carry, propagate, generate, outputs):
                s, d = (tuple(self.at(bit, stage) for bit in bits) for bits in (propagate, generate))
                self.cells.append(Chain(self.at(carry, stage), s, d, outputs))


def _inputs(cell: Cell) -> tuple[int, ...]:
    match cell:
        case Table(inputs=inputs):
            return inputs
        case Chain(carry, propagate, generate):
            return (carry, *propagate, *generate)
        case Register(input=bit):
            return (bit,)


def _cuts(alive: Sequence[int], levels: int, depth: int, unparted: int) -> tuple[tuple[int, ...], int]:
    """Returns behind which levels there are registers, `depth` the last, and how many, where `alive` bits cross each level."""
    best: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (0, 0, ())}  # their number, the bits that cross them, and which
    for cut in (*range(1, depth - unparted + 1), depth):
        ways = [way for before, way in best.items() if cut - before <= levels]
        best[cut] = min((count + 1, crossing + alive[cut], (*cuts, cut)) for count, crossing, cuts in ways)
    _, flip_flops, cuts = best[depth]
    return cuts, flip_flops


@cache
def _init(widths: tuple[int, ...], functions: tuple[Function, ...]) -> int:
    """Returns the content of a table of one or two functions of addends of so many bits."""
    columns = [_rows(widths, function) for function in functions]
    if len(functions) == 1:
        return _packed(columns[0])
    first, second = columns
    if sum(min(width, 2) for width in widths) < LUT_INPUTS:
        return _packed(second[: len(second) // 2] + first[len(first) // 2 :])
    assert first[: len(first) // 2] == second[: len(second) // 2]
    return _packed(first)


def _rows(widths: tuple[int, ...], function: Function) -> list[int]:
    """Returns the value of a function for each value of a table's inputs."""
    rows = []
    taken = [min(width, 2) for width in widths]  # a third bit is ZERO, and no input
    for inputs in range(1 << LUT_INPUTS):
        values = []
        for at, count, width in zip(accumulate(taken, initial=0), taken, widths, strict=False):
            zeros = width - (inputs >> at & (1 << count) - 1).bit_count()
            values.append(1 - zeros % 2)
        rows.append(function(values))
    return rows


def _packed(rows: Sequence[int]) -> int:
    return sum(row << index for index, row in enumerate(rows))
