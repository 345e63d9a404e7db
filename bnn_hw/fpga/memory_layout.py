# SPDX-License-Identifier: Apache-2.0
"""Memories: whether they lie in look-up tables or in block RAM, and how much of these they take."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Final

from bnn_hw.fpga.circuit import LUT_INPUTS
from bnn_hw.fpga.family import Family

__all__ = [
    "BlockRams",
    "bits_per_block_ram",
    "block_ram_layout",
    "block_rams",
    "lut_ram_luts",
    "lut_rom_luts",
    "memory_attributes",
    "ram_in_luts",
    "rom_in_luts",
]

_LUTS_PER_BLOCK_RAM_PART: Final = 190  # below them a memory is in look-up tables: the AMD FPGAs hold about so many for each RAMB18
_WORDS: Final = 64  # of one bit that a look-up table of 6 inputs holds


@dataclass(frozen=True)
class BlockRams:
    """What a memory in block RAM takes: block RAMs, in parts of one, and rows of them, among which look-up tables select."""

    count: float = 0.0
    rows: int = 1


def memory_attributes(family: Family, depth: int, width: int) -> dict[str, str]:
    """Returns the attributes that tell synthesis where a memory goes that is written to."""
    if ram_in_luts(family, depth, width):
        return {"ram_style": "distributed" if family.lut_ram else "logic"}
    return {"ram_style": "block"}


def ram_in_luts(family: Family, depth: int, width: int) -> bool:
    """Returns whether a memory that is written to costs less in look-up tables than in block RAM."""
    parts = block_rams(family, depth, width, written=True) * family.block_ram_parts
    return lut_ram_luts(family, depth, width) <= _LUTS_PER_BLOCK_RAM_PART * parts


def rom_in_luts(family: Family, words: int, width: int) -> bool:
    """Returns whether a memory of constants costs less in look-up tables than in block RAM."""
    parts = block_rams(family, words, width) * family.block_ram_parts
    return lut_rom_luts(family, words, width) <= _LUTS_PER_BLOCK_RAM_PART * parts


def block_rams(family: Family, depth: int, width: int, *, written: bool = False) -> float:
    """Returns the block RAMs that a memory takes, in parts of one."""
    return block_ram_layout(family, depth, width, written=written).count


@cache
def block_ram_layout(family: Family, depth: int, width: int, *, written: bool = False) -> BlockRams:
    """Returns how yosys lays out a memory: in the form that costs the least, selection among rows included.

    The bits of all rows lie side by side, so that a block RAM may hold the end of one row and the start of the next; where
    the memory is written to, whole groups of bits with a write enable.
    """
    if not width:
        return BlockRams()
    best, lowest = BlockRams(), inf
    for words, bits, parts in _forms(family):
        rows, group = -(-depth // words), min(bits, family.write_bits) if written else 1
        count = -(-rows * -(-width // group) * group // bits)
        cost = count * family.block_ram_costs[parts - 1] + (rows - 1) * width / 2
        if written and rows > 1:
            cost += rows / 2
        if cost < lowest:
            best, lowest = BlockRams(count * parts / family.block_ram_parts, rows), cost
    return best


def bits_per_block_ram(family: Family, depth: int) -> float:
    """Returns the most bits of each of so many words that a block RAM holds, of a memory that takes whole ones."""
    return max(bits / -(-depth // words) * family.block_ram_parts / parts for words, bits, parts in _forms(family))


def _forms(family: Family) -> Iterator[tuple[int, int, int]]:
    """Yields the words, the bits and the parts of each form, the narrow ones first."""
    for parts in range(1, family.block_ram_parts + 1):
        for words, bits in reversed(family.block_ram_forms):
            yield words * parts, bits, parts
    if family.block_ram_parts == 2:
        words, bits = family.block_ram_forms[0]
        yield words, 2 * bits, 2


def lut_ram_luts(family: Family, depth: int, width: int) -> int:
    """Returns the look-up tables of a memory that is written to.

    Of those with 6 inputs 4 hold 32 words of 6 bits or 64 of 3 (AMD UG474); past 64 words another two in three bits select
    among the blocks. Of those with 4 inputs 6 hold 16 words of 4 bits, and one a bit selects; where look-up tables cannot be
    written to, each bit is a flip-flop.
    """
    if not family.lut_ram:
        return width * (depth + 2 * depth // 3)
    if family.lut_inputs < LUT_INPUTS:
        blocks = -(-depth // (1 << family.lut_inputs))
        return 6 * blocks * -(-width // 4) + width * (blocks - 1)
    if depth <= _WORDS // 2:
        return 4 * -(-width // 6)
    blocks = -(-depth // _WORDS)
    return 4 * blocks * -(-width // 3) + width * (blocks - 1) * 2 // 3


def lut_rom_luts(family: Family, words: int, width: int) -> int:
    """Returns the look-up tables of a memory of constants, as `bnn_rtl.lut_rom` makes it.

    Where they have less than 6 inputs, synthesis makes it of multiplexers, which take about half as many again.
    """
    if words <= 1:
        return 0
    if family.lut_inputs < LUT_INPUTS:
        tables = -(-words // (1 << family.lut_inputs))
        return width * (tables + tables // 2)
    if words <= _WORDS // 2:
        return -(-width // 2)
    blocks, rest = divmod(words, 4 * _WORDS)
    tables = 4 * blocks + (1 << (-(-rest // _WORDS) - 1).bit_length() if rest else 0)
    parts = blocks + (rest > 0)
    return width * (tables + -(-(parts - 1) * 2 // 3))
