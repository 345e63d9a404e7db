# SPDX-License-Identifier: Apache-2.0
"""The primitive form of a memory of constants against its model, at every address.

Verilator takes minutes for the look-up tables of a large one, and numpy a second: a memory has no logic but these tables.
"""

import re
from typing import Final

import numpy as np

__all__ = ["is_rom", "module_name", "rom_difference"]

_ROM: Final = re.compile(r"^module (\S+)\(clk, rst, data, address\);$", re.MULTILINE)
_CELL: Final = re.compile(r"^  (\w+) (?:#\(\.INIT\((\S+)\)\) )?\w+ \((.*)\);$", re.MULTILINE)
_PIN: Final = re.compile(r"\.(\w+)\(([^()]+)\)")
_WORD: Final = re.compile(r"^    memory\[(\d+)\] = (\S+);$", re.MULTILINE)
_KINDS: Final = ("LUT5", "LUT6", "LUT6_2", "MUXF7", "MUXF8")  # each takes what kinds before it give
# Beside its cells the primitive form has ports, wires and a register behind them.
_REST: Final = re.compile(
    r"module \S+\(clk, rst, data, address\);|  (input|output reg|wire) .*;|  always @\(posedge clk\) data <= read;|endmodule|//.*|"
)


def is_rom(text: str) -> bool:
    """Returns whether the text of a form is one of a memory of constants."""
    return _ROM.search(text) is not None


def module_name(text: str) -> str:
    """Returns the name of a memory's module."""
    found = _ROM.search(text)
    assert found is not None
    return found[1]


def rom_difference(primitive: str, model: str) -> int | None:
    """Returns the first address at which the two forms of a memory differ, or None."""
    words = {int(address): _number(word) for address, word in _WORD.findall(model)}
    width = max(1, max(word.bit_length() for word in words.values()))
    expected = np.array([[words[address] >> bit & 1 for bit in range(width)] for address in range(len(words))], bool)
    given = _read(primitive, len(words))
    assert not given[:, width:].any()
    wrong = np.flatnonzero((given[:, :width] != expected).any(axis=1))
    return int(wrong[0]) if len(wrong) else None


def _read(text: str, words: int) -> np.ndarray:
    """Returns the bits that the cells give at each address: [words, bits] bool."""
    cells = sorted(_CELL.findall(text), key=lambda cell: _KINDS.index(cell[0]))
    unknown = [line for line in _CELL.sub("", text).splitlines() if not _REST.fullmatch(line)]
    assert not unknown, f"a memory of constants has no {unknown[0]!r}"
    bits = {f"address[{bit}]": np.arange(words) >> bit & 1 for bit in range(max(1, (words - 1).bit_length()))}
    bits |= {"1'b0": np.zeros(words, int), "1'b1": np.ones(words, int)}
    for kind, init, pins in cells:
        wires = dict(_PIN.findall(pins))
        inputs = {pin: bits[wire] for pin, wire in wires.items() if not pin.startswith("O")}
        for pin, value in _outputs(kind, init, inputs).items():
            if pin in wires:
                bits[wires[pin]] = value
    return np.stack([bits[f"read[{bit}]"] for bit in range(sum(wire.startswith("read[") for wire in bits))], axis=1).astype(bool)


def _outputs(kind: str, init: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what each output of a cell is (AMD UG953)."""
    if kind in ("MUXF7", "MUXF8"):
        return {"O": np.where(inputs["S"], inputs["I1"], inputs["I0"])}
    content = _number(init)
    table = np.array([content >> index & 1 for index in range(64)])
    low = sum(inputs[f"I{index}"] << index for index in range(5))
    if kind == "LUT5":
        return {"O": table[low]}
    high = table[low + (inputs["I5"] << 5)]
    return {"O": high} if kind == "LUT6" else {"O6": high, "O5": table[low]}


def _number(literal: str) -> int:
    """Returns a number of Verilog, 4'hf or 32'd15."""
    digits = literal.partition("'")[2]
    return int(digits[1:], {"h": 16, "d": 10}[digits[0]])
