# SPDX-License-Identifier: Apache-2.0
"""Memories: whether they lie in look-up tables or in block RAM, and how much of these they take."""

from typing import Final

from bnn_hw.circuit import LUT_INPUTS
from bnn_hw.family import Family

__all__ = ["block_rams", "lut_ram_luts", "lut_rom_luts", "memory_attributes", "ram_in_luts", "weights_in_luts"]

_LUTS_PER_BLOCK_RAM: Final = 190  # below them a memory is in look-up tables: the AMD FPGAs hold about so many for each RAMB18
_WORDS: Final = 64  # of one bit that a look-up table of 6 inputs holds


def memory_attributes(family: Family, depth: int, width: int) -> dict[str, str]:
    """Returns the attributes that tell synthesis where a memory goes that is written to; none where that is its choice."""
    if family.lut_inputs < LUT_INPUTS:
        return {}
    return {"ram_style": "distributed" if ram_in_luts(family, depth, width) else "block"}


def ram_in_luts(family: Family, depth: int, width: int) -> bool:
    """Returns whether a memory that is written to costs less in look-up tables than in block RAM."""
    return lut_ram_luts(depth, width) <= _LUTS_PER_BLOCK_RAM * block_rams(family, depth, width) * family.block_ram_parts


def weights_in_luts(family: Family, words: int, width: int) -> bool:
    """Returns whether a memory of constants costs less in look-up tables than in block RAM."""
    parts = block_rams(family, words, width) * family.block_ram_parts
    return lut_rom_luts(family, words, width) <= _LUTS_PER_BLOCK_RAM * parts


def block_rams(family: Family, depth: int, width: int) -> float:
    """Returns the block RAMs that a memory takes in the form of which it takes the fewest, in parts of one."""
    parts = min(-(-depth // words) * -(-width // bits) for words, bits in family.block_ram_forms)
    return parts / family.block_ram_parts


def lut_ram_luts(depth: int, width: int) -> int:
    """Returns the look-up tables of a memory that is written to: 4 hold 32 words of 6 bits or 64 of 3 (AMD UG474).

    Past 64 words another two in three bits select among the blocks.
    """
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
