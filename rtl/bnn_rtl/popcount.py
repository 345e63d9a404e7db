# SPDX-License-Identifier: Apache-2.0
"""Popcounts as a simulator computes them fast."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

__all__ = ["delayed", "popcount"]

_WORD = 32  # bits that a processor adds at a time
_BYTES = (1 << _WORD) // 255  # a 1 in each byte
_WORDS = 31  # so many bytes of 8 at most add up to less than 256


def popcount(m: Module, bits: Value, name: str) -> Value:
    """Returns the number of ones, by adding fields of words: a third of the operations that adding bits takes."""
    counts = [_byte_counts(m, bits[at : at + _WORD], f"{name}{at}") for at in range(0, len(bits), _WORD)]
    totals = [_byte_sum(m, counts[at : at + _WORDS], f"{name}{at}") for at in range(0, len(counts), _WORDS)]
    return sum(totals[1:], totals[0])


def _byte_counts(m: Module, bits: Value, name: str) -> Signal:
    """Returns a word with the number of ones of each byte."""
    for shift, mask in ((1, _BYTES * 0x55), (2, _BYTES * 0x33), (4, _BYTES * 0x0F)):
        pairs = Signal(_WORD, name=f"{name}_sums{shift}")
        m.d.comb += pairs.eq((bits & mask) + ((bits >> shift) & mask))
        bits = pairs
    return pairs


def _byte_sum(m: Module, words: Sequence[Signal], name: str) -> Value:
    """Returns the sum of all bytes of all words."""
    word = Signal(_WORD, name=f"{name}_bytes")
    m.d.comb += word.eq(sum(words[1:], words[0]))
    return sum((word.word_select(index, 8) for index in range(1, _WORD // 8)), word[:8])


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Returns a value so many cycles later, through registers without a reset."""
    for cycle in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}{cycle}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value
