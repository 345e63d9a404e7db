# SPDX-License-Identifier: Apache-2.0
"""Memories: block RAMs against a naive count, look-up tables by hand, and where a memory goes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.fpga.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.fpga.memory_layout import (
    block_ram_layout,
    block_rams,
    lut_ram_luts,
    lut_rom_luts,
    memory_attributes,
    ram_in_luts,
    rom_in_luts,
)

FAMILIES = (SERIES_7, ULTRASCALE_PLUS, ECP5, ICE40, GOWIN)
SIX_INPUTS = (SERIES_7, ULTRASCALE_PLUS)


def naive_block_rams(family: Family, depth: int, width: int, form: tuple[int, int], group: int) -> int:
    """Returns the memories of a form, in which the bits of one row after the other are laid out, `group` at a time."""
    words, bits = form
    count, free = 0, 0
    for _ in range(0, depth, words):
        for _ in range(0, width, group):
            if not free:
                count, free = count + 1, bits
            free -= group
    return count


@settings(deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(1, 40_000), st.integers(1, 100), st.booleans())
def test_block_rams_are_laid_out(family: Family, depth: int, width: int, written: bool) -> None:
    """In a form of which no other has fewer of both, block RAMs and rows."""
    parts = family.block_ram_parts
    forms = [(words, bits, 1) for words, bits in family.block_ram_forms]
    if parts == 2:
        forms += [(512, 72, 2), *((2 * words, bits, 2) for words, bits in family.block_ram_forms)]
    possible = []
    for words, bits, taken in forms:
        group = 1 if not written or family is ICE40 else min(bits, 9)
        count = naive_block_rams(family, depth, width, (words, bits), group)
        possible.append((count * taken / parts, len(range(0, depth, words))))
    found = block_ram_layout(family, depth, width, written=written)
    assert (found.count, found.rows) in possible
    assert not [other for other in possible if other[0] < found.count and other[1] <= found.rows]


@given(st.sampled_from(FAMILIES), st.integers(1, 256), st.integers(1, 2_000), st.booleans())
def test_block_rams_of_one_row(family: Family, depth: int, width: int, written: bool) -> None:
    bits = 16 if family is ICE40 else 36
    assert block_rams(family, depth, width, written=written) == math.ceil(width / bits) / family.block_ram_parts


@pytest.mark.parametrize(
    ("family", "depth", "width", "expected"),
    [
        (SERIES_7, 1, 1, 0.5),
        (SERIES_7, 512, 36, 0.5),
        (SERIES_7, 513, 36, 1),  # twice 1024x18
        (SERIES_7, 512, 37, 1),
        (SERIES_7, 1024, 64, 2),
        (SERIES_7, 16384, 1, 0.5),
        (SERIES_7, 16385, 1, 0.5),  # 512x36: 33 rows of a bit
        (SERIES_7, 2304, 128, 9),  # 512x72: 5 rows in which 9 have room for 4 ends
        (SERIES_7, 18432, 32, 16),  # 2048x18, twice: 9 rows
        (SERIES_7, 32768, 8, 7.5),  # 2048x9: 16 rows
        (ULTRASCALE_PLUS, 512, 72, 1),
        (ECP5, 512, 36, 1),  # its block RAM has one part
        (ECP5, 1024, 36, 2),
        (GOWIN, 2048, 9, 1),
        (ICE40, 256, 16, 1),
        (ICE40, 256, 17, 2),
        (ICE40, 2048, 2, 1),
        (ICE40, 2049, 2, 2),
        (SERIES_7, 100, 0, 0),  # all weights in look-up tables
    ],
)
def test_block_rams_by_hand(family: Family, depth: int, width: int, expected: float) -> None:
    assert block_rams(family, depth, width) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_ram_of_each_form_holds_as_many_bits(family: Family) -> None:
    """Up to its parity bits, which the narrow forms do not have."""
    sizes = [words * bits for words, bits in family.block_ram_forms]
    assert max(sizes) <= min(sizes) * 9 / 8
    assert min(sizes) in (4096, 16384)


@pytest.mark.parametrize(("width", "expected"), [(9, 3), (16, 6), (18, 6)])
def test_block_rams_that_are_written_to_share_whole_groups_of_9_bits(width: int, expected: int) -> None:
    assert block_rams(ECP5, 6144, width, written=True) == expected


@pytest.mark.parametrize(
    ("depth", "width", "luts"),
    [(2, 1, 4), (32, 6, 4), (32, 7, 8), (33, 3, 4), (64, 3, 4), (64, 4, 8), (65, 3, 8 + 2), (256, 6, 32 + 12), (256, 1, 16 + 2)],
)
def test_look_up_tables_of_a_memory_that_is_written_to(depth: int, width: int, luts: int) -> None:
    """Four for 32 words of 6 bits or 64 of 3 (AMD UG474); past 64 words, two for three bits and another block."""
    for family in SIX_INPUTS:
        assert lut_ram_luts(family, depth, width) == luts


@pytest.mark.parametrize(
    ("family", "depth", "width", "luts"),
    [(ECP5, 16, 4, 6), (ECP5, 16, 5, 12), (GOWIN, 17, 4, 12 + 4), (GOWIN, 64, 8, 48 + 24), (ICE40, 2, 8, 24), (ICE40, 16, 8, 208)],
)
def test_look_up_tables_of_a_memory_that_is_written_to_where_they_have_4_inputs(
    family: Family, depth: int, width: int, luts: int
) -> None:
    """Six for 16 words of 4 bits, and one a bit to select; without such memory a flip-flop a bit."""
    assert lut_ram_luts(family, depth, width) == luts


@pytest.mark.parametrize(
    ("words", "width", "luts"),
    [
        (1, 100, 0),  # one word needs no memory
        (2, 1, 1),
        (32, 8, 4),
        (32, 9, 5),
        (33, 8, 8),
        (64, 8, 8),
        (65, 8, 16),
        (128, 8, 16),
        (129, 8, 32),  # MUXF8 joins 4
        (256, 8, 32),
        (257, 8, 8 * (4 + 1 + 1)),
        (512, 8, 8 * (8 + 1)),
        (1024, 8, 8 * (16 + 2)),
        (100, 0, 0),
    ],
)
@pytest.mark.parametrize("family", SIX_INPUTS)
def test_look_up_tables_of_constants(family: Family, words: int, width: int, luts: int) -> None:
    assert lut_rom_luts(family, words, width) == luts


@pytest.mark.parametrize(("words", "width", "luts"), [(1, 8, 0), (2, 8, 8), (16, 8, 8), (17, 8, 8 * 3), (64, 3, 3 * 6)])
@pytest.mark.parametrize("family", [ECP5, ICE40, GOWIN])
def test_look_up_tables_of_constants_where_they_have_4_inputs(family: Family, words: int, width: int, luts: int) -> None:
    assert lut_rom_luts(family, words, width) == luts


@given(st.sampled_from(FAMILIES), st.integers(1, 5_000), st.integers(1, 500))
def test_more_words_or_bits_never_take_less(family: Family, depth: int, width: int) -> None:
    for more in ((depth + 1, width), (depth, width + 1)):
        assert lut_ram_luts(family, *more) >= lut_ram_luts(family, depth, width)
        assert lut_rom_luts(family, *more) >= lut_rom_luts(family, depth, width)


@pytest.mark.parametrize("family", SIX_INPUTS)
def test_a_memory_lies_where_it_costs_less(family: Family) -> None:
    """About 190 look-up tables are an 18 kbit block RAM's share of an FPGA."""
    assert ram_in_luts(family, 64, 36)  # 48 against one of them
    assert ram_in_luts(family, 64, 72 * 4)  # 384 against 8
    assert not ram_in_luts(family, 512, 36)  # 384 and what selects, against one
    assert not ram_in_luts(family, 1024, 8)
    assert rom_in_luts(family, 104, 512)  # 1,024 against 15 of them
    assert rom_in_luts(family, 1, 10**6)
    assert not rom_in_luts(family, 512, 36)  # 324 against one
    assert not rom_in_luts(family, 50_176, 1)


def test_where_a_part_of_a_block_ram_ends() -> None:
    """A block RAM of two parts is not twice as dear as one of one."""
    for words, width in ((256, 36), (300, 36), (200, 18)):
        assert rom_in_luts(SERIES_7, words, width) == (lut_rom_luts(SERIES_7, words, width) <= 190)
    assert ram_in_luts(SERIES_7, 256, 30) == (lut_ram_luts(SERIES_7, 256, 30) <= 190)
    assert rom_in_luts(ECP5, 16, 36 * 5)  # 180 against 5
    assert not rom_in_luts(ECP5, 256, 36)  # 864 against one


def test_attributes_say_where_a_memory_goes() -> None:
    for family in FAMILIES:
        in_luts = "logic" if family is ICE40 else "distributed"
        assert memory_attributes(family, 4, 36) == {"ram_style": in_luts}
        assert memory_attributes(family, 512, 36) == {"ram_style": "block"}
