# SPDX-License-Identifier: Apache-2.0
"""Memories: block RAMs against a naive count, look-up tables by hand, and where a memory goes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_hw.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.memory import block_rams, lut_ram_luts, lut_rom_luts, memory_attributes, ram_in_luts, weights_in_luts

FAMILIES = (SERIES_7, ULTRASCALE_PLUS, ECP5, ICE40, GOWIN)
SIX_INPUTS = (SERIES_7, ULTRASCALE_PLUS)


def naive_block_rams(family: Family, depth: int, width: int) -> float:
    """Returns the block RAMs of the best form, which is laid out in rows and columns until all words and bits lie in one."""
    fewest = math.inf
    for words, bits in family.block_ram_forms:
        count = 0
        for _ in range(0, depth, words):
            for _ in range(0, width, bits):
                count += 1
        fewest = min(fewest, count)
    return fewest / family.block_ram_parts


@given(st.sampled_from(FAMILIES), st.integers(1, 100_000), st.integers(1, 2_000))
def test_block_rams_are_laid_out(family: Family, depth: int, width: int) -> None:
    assert block_rams(family, depth, width) == naive_block_rams(family, depth, width)


@pytest.mark.parametrize(
    ("family", "depth", "width", "expected"),
    [
        (SERIES_7, 1, 1, 0.5),
        (SERIES_7, 512, 36, 0.5),
        (SERIES_7, 513, 36, 1),  # twice 1024x18
        (SERIES_7, 512, 37, 1),
        (SERIES_7, 1024, 64, 2),
        (SERIES_7, 16384, 1, 0.5),
        (SERIES_7, 16385, 1, 1),
        (SERIES_7, 12544, 64, 25),  # twice 25 of 512x36
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


@pytest.mark.parametrize(
    ("depth", "width", "luts"),
    [(2, 1, 4), (32, 6, 4), (32, 7, 8), (33, 3, 4), (64, 3, 4), (64, 4, 8), (65, 3, 8 + 2), (256, 6, 32 + 12), (256, 1, 16 + 2)],
)
def test_look_up_tables_of_a_memory_that_is_written_to(depth: int, width: int, luts: int) -> None:
    """Four for 32 words of 6 bits or 64 of 3 (AMD UG474); past 64 words, two for three bits and another block."""
    assert lut_ram_luts(depth, width) == luts


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
        assert block_rams(family, *more) >= block_rams(family, depth, width)
        assert lut_ram_luts(*more) >= lut_ram_luts(depth, width)
        assert lut_rom_luts(family, *more) >= lut_rom_luts(family, depth, width)


@pytest.mark.parametrize("family", SIX_INPUTS)
def test_a_memory_lies_where_it_costs_less(family: Family) -> None:
    """About 190 look-up tables are an 18 kbit block RAM's share of an FPGA."""
    assert ram_in_luts(family, 64, 36)  # 48 against one of them
    assert ram_in_luts(family, 64, 72 * 4)  # 384 against 8
    assert not ram_in_luts(family, 512, 36)  # 384 and what selects, against one
    assert not ram_in_luts(family, 1024, 8)
    assert weights_in_luts(family, 104, 512)  # 1,024 against 15 of them
    assert weights_in_luts(family, 1, 10**6)
    assert not weights_in_luts(family, 512, 36)  # 324 against one
    assert not weights_in_luts(family, 50_176, 1)


def test_where_a_part_of_a_block_ram_ends() -> None:
    """A block RAM of two parts is not twice as dear as one of one."""
    for words, width in ((256, 36), (300, 36), (200, 18)):
        assert weights_in_luts(SERIES_7, words, width) == (lut_rom_luts(SERIES_7, words, width) <= 190)
    assert ram_in_luts(SERIES_7, 256, 30) == (lut_ram_luts(256, 30) <= 190)
    assert weights_in_luts(ECP5, 16, 36 * 5)  # 180 against 5
    assert not weights_in_luts(ECP5, 256, 36)  # 864 against one


def test_attributes_are_for_the_tools_that_know_them() -> None:
    for family in SIX_INPUTS:
        assert memory_attributes(family, 64, 36) == {"ram_style": "distributed"}
        assert memory_attributes(family, 512, 36) == {"ram_style": "block"}
    for family in (ECP5, ICE40, GOWIN):
        assert memory_attributes(family, 64, 36) == memory_attributes(family, 512, 36) == {}
