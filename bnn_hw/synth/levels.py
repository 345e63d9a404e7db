# SPDX-License-Identifier: Apache-2.0
"""LUT levels: the longest path of a netlist from register to register, counted in look-up tables.

A look-up table counts 1, and so does a memory of LUTs, which is read without a clock. Carry chains, MUXF7 and the like,
inverters and DSPs without registers pass what comes at no level. Flip-flops, block RAMs, DSPs with registers and the ports
of the design end paths: behind its ports lie the registers of a bus.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bnn_hw.errors import ArtefactError

__all__ = ["LongestPath", "longest_paths"]

_Cell: TypeAlias = Mapping[str, Any]  # as yosys writes it: type, parameters, port_directions, connections


@dataclass(frozen=True)
class LongestPath:
    """The most look-up tables between two ends, and the ends."""

    levels: int
    start: str
    end: str


@dataclass(frozen=True)
class _Arc:
    """Outputs of a cell that follow from inputs of it at once, through so many look-up tables."""

    luts: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


_COMBINATIONAL: Final = re.compile(r"LUT[1-6]|LUT6_2|INV|MUXF[789]|BUFG|[IO]BUF|CARRY[48]")
# Memories of LUTs: the pins of each port's address, and those of what it reads.
_LUT_MEMORIES: Final = (
    (re.compile(r"RAM\d+M\d*"), tuple((f"ADDR{port}", f"DO{port}") for port in "ABCDEFGH")),
    (re.compile(r"RAM\d+X1D"), ((r"A\d*", "SPO"), (r"DPRA\d*", "DPO"))),
    (re.compile(r"RAM\d+X1S"), ((r"A\d*", "O"),)),
    (re.compile(r"SRL\w+"), ((r"A\d*", "Q"),)),
)
# The registers of a DSP48 that lie behind an input; without one, and without PREG, outputs follow from it at once.
_DSP_REGISTERS: Final = {
    "A": ("AREG", "MREG"),
    "B": ("BREG", "MREG"),
    "C": ("CREG",),
    "D": ("DREG", "ADREG", "MREG"),
    "PCIN": (),
    "CARRYIN": ("CARRYINREG",),
}


def longest_paths(netlist: Mapping[str, Any], top: str, group: Callable[[str], str]) -> dict[str, LongestPath]:
    """Returns the longest path of those that end in the cells or ports of each group, by name.

    `netlist`: AMD's cells, flattened, as yosys writes them in JSON; `group`: of the name of a cell or port. Raises
    `ArtefactError` where a path has no end.
    """
    module = netlist["modules"][top]
    cells: Mapping[str, _Cell] = module["cells"]
    levels, before = _levels({name: tuple(_arcs(cell)) for name, cell in cells.items()})
    deepest: dict[str, tuple[int, int, str]] = {}
    for name, bit in _ends(module):
        found = (levels.get(bit, 0), bit, name)
        key = group(name)
        if key not in deepest or found[0] > deepest[key][0]:
            deepest[key] = found
    labels = _Labels(module)
    return {
        key: LongestPath(level, labels.driver(_start(bit, before)), labels.cell(name))
        for key, (level, bit, name) in deepest.items()
    }


def _ends(module: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yields the bits at which paths end, each with the name of its cell or port."""
    for name, cell in module["cells"].items():
        if not _COMBINATIONAL.fullmatch(cell["type"]):
            for pin in cell["connections"]:
                if cell["port_directions"][pin] == "input":
                    yield from ((name, bit) for bit in _bits(cell, pin))
    for name, port in module["ports"].items():
        if port["direction"] != "input":
            yield from ((name, bit) for bit in port["bits"] if isinstance(bit, int))


def _arcs(cell: _Cell) -> Iterator[_Arc]:
    """Yields what follows from what in a cell without waiting for a clock."""
    kind = cell["type"]
    if kind == "LUT6_2":  # the second output does not see the sixth input
        yield _arc(cell, 1, r"I[0-4]", "O5")
        yield _arc(cell, 1, r"I\d", "O6")
    elif kind.startswith("CARRY"):
        yield from _carry_arcs(cell)
    elif kind.startswith("DSP48"):
        yield from _dsp_arcs(cell)
    elif _COMBINATIONAL.fullmatch(kind):
        yield _arc(cell, int(kind.startswith("LUT")), r"I\d*|S", "O")
    else:
        for memory, ports in _LUT_MEMORIES:
            if memory.fullmatch(kind):
                yield from (_arc(cell, 1, address, read) for address, read in ports)


def _arc(cell: _Cell, luts: int, inputs: str, outputs: str) -> _Arc:
    """Returns the arc from the pins whose names match to the other pins whose names match."""
    sides = (
        tuple(bit for pin in cell["connections"] if re.fullmatch(pattern, pin) for bit in _bits(cell, pin))
        for pattern in (inputs, outputs)
    )
    return _Arc(luts, *sides)


def _carry_arcs(cell: _Cell) -> Iterator[_Arc]:
    """Yields the arcs of a carry chain: its place i gives the sum and the carry of the places up to i."""
    common = (*_bits(cell, "CI"), *_bits(cell, "CYINIT"), *_bits(cell, "CI_TOP"))
    pins = {pin: cell["connections"].get(pin, []) for pin in ("S", "DI", "O", "CO")}
    below: tuple[object, ...] = common
    for place, propagate in enumerate(pins["S"]):
        below = (*below, propagate)
        yield _Arc(0, _wires(below), _wires(pins["O"][place : place + 1]))
        below = (*below, *pins["DI"][place : place + 1])
        yield _Arc(0, _wires(below), _wires(pins["CO"][place : place + 1]))


def _dsp_arcs(cell: _Cell) -> Iterator[_Arc]:
    if not _registers(cell, "PREG"):
        outputs = tuple(bit for pin in cell["connections"] if cell["port_directions"][pin] == "output" for bit in _bits(cell, pin))
        passing = (pin for pin, registers in _DSP_REGISTERS.items() if not any(_registers(cell, name) for name in registers))
        yield _Arc(0, tuple(bit for pin in passing for bit in _bits(cell, pin)), outputs)


def _registers(cell: _Cell, name: str) -> int:
    return int(cell.get("parameters", {}).get(name, "1"), base=2)  # each is there where nothing is said (UG953)


def _bits(cell: _Cell, pin: str) -> tuple[int, ...]:
    return _wires(cell["connections"].get(pin, ()))


def _wires(bits: Any) -> tuple[int, ...]:
    return tuple(bit for bit in bits if isinstance(bit, int))  # not the constants "0", "1", "x"


def _levels(arcs: Mapping[str, tuple[_Arc, ...]]) -> tuple[dict[int, int], dict[int, int]]:
    """Returns the level of each bit that an arc gives, and from which bit before it has it."""
    flat = [(name, arc) for name, cell_arcs in arcs.items() for arc in cell_arcs if arc.outputs]
    given = {bit for _, arc in flat for bit in arc.outputs}
    users = defaultdict[int, list[int]](list)
    waiting = []
    for index, (_, arc) in enumerate(flat):
        inner = [bit for bit in arc.inputs if bit in given]
        waiting.append(len(inner))
        for bit in inner:
            users[bit].append(index)
    levels: dict[int, int] = {}
    before: dict[int, int] = {}
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:
        arc = flat[index][1]
        deepest = max(arc.inputs, key=lambda bit: levels.get(bit, 0), default=None)
        for bit in arc.outputs:
            levels[bit] = arc.luts + (0 if deepest is None else levels.get(deepest, 0))
            if deepest is not None:
                before[bit] = deepest
            for user in users[bit]:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
    if len(ready) < len(flat):
        looped = next(name for (name, _), count in zip(flat, waiting, strict=True) if count)
        raise ArtefactError(f"the netlist must have no combinational loop, but one goes through {looped}")
    return levels, before


def _start(bit: int, before: Mapping[int, int]) -> int:
    while bit in before:
        bit = before[bit]
    return bit


class _Labels:
    """What the report calls cells: by the net that they drive, where it has a name that a person gave."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._cells: Mapping[str, _Cell] = module["cells"]
        self._nets: dict[int, str] = {}
        for name, net in module["netnames"].items():
            if not net.get("hide_name"):
                for index, bit in enumerate(net["bits"]):
                    label = f"{name}[{index}]" if len(net["bits"]) > 1 else name
                    if isinstance(bit, int) and len(label) < len(self._nets.get(bit, label + " ")):
                        self._nets[bit] = label
        self._drivers = {
            bit: name
            for name, cell in self._cells.items()
            for pin in cell["connections"]
            if cell["port_directions"][pin] != "input"
            for bit in _bits(cell, pin)
        }

    def driver(self, bit: int) -> str:
        """Returns what drives a bit."""
        if bit not in self._drivers:
            return f"{self._nets.get(bit, 'what is not connected')} (port)"
        name = self._drivers[bit]
        return self._text(name, self._nets.get(bit))

    def cell(self, name: str) -> str:
        """Returns what a cell or port is called."""
        if name not in self._cells:
            return f"{name} (port)"
        cell = self._cells[name]
        outputs = (bit for pin in cell["connections"] if cell["port_directions"][pin] != "input" for bit in _bits(cell, pin))
        return self._text(name, next((self._nets[bit] for bit in outputs if bit in self._nets), None))

    def _text(self, name: str, net: str | None) -> str:
        return f"{net or name.removeprefix('$flatten').replace(chr(92), '')} ({self._cells[name]['type']})"
