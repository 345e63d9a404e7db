# SPDX-License-Identifier: Apache-2.0
"""The width converter against naive packing, with idle, back-pressure, and at its full throughput."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from bnn_rtl.width_converter import WidthConverter
from support.cocotb_run import SIMULATORS, fresh_seed, run_streams
from support.naive import naive_words

_VECTORS = 8
_CASES = (  # element bits, count, lanes in, lanes out
    (1, 12, 4, 4),  # equal
    (1, 13, 4, 4),  # equal, with a rest
    (1, 24, 12, 4),  # narrower, dividing
    (1, 24, 4, 12),  # wider, dividing
    (8, 10, 8, 1),  # to single elements, with a rest
    (8, 10, 1, 8),  # from single elements, with a rest
    (1, 21, 3, 7),  # coprime, both divide the count
    (1, 20, 3, 7),  # coprime, neither divides the count
    (1, 20, 7, 3),
    (1, 70, 64, 9),
    (8, 27, 8, 5),
    (32, 7, 2, 3),
    (1, 9, 5, 8),  # as many words on both sides, the rest of each in two words of output
    (1, 9, 8, 5),
    (1, 15, 5, 6),
    (1, 8, 3, 7),  # the last word of input is in the last two words of output
    (1, 5, 7, 9),  # a vector is a word, on both sides
    (3, 1, 1, 1),
    (1, 6, 1, 6),  # a vector is a word of output
    (1, 6, 6, 1),  # a vector is a word of input
)


def _name(case: tuple[int, int, int, int]) -> str:
    return "c{}_{}_{}_{}".format(*case)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_words_and_throughput(simulator: str, tmp_path: Path) -> None:
    """Every element arrives in its place, whatever stalls; and when nothing does, no cycle is lost."""
    seed = fresh_seed()
    draw = random.Random(seed)
    words, expected = {}, {}
    for case in _CASES:
        bits, count, lanes_in, lanes_out = case
        vectors = [[draw.getrandbits(bits) for _ in range(count)] for _ in range(_VECTORS)]
        words[_name(case)] = [word for vector in vectors for word in naive_words(vector, bits, lanes_in)]
        expected[_name(case)] = [word for vector in vectors for word in naive_words(vector, bits, lanes_out)]
    units = {_name(case): WidthConverter(*case) for case in _CASES}
    recorded = run_streams(units, words, expected, simulator, tmp_path, seed)
    for name in expected:
        _check_throughput(name, recorded[name]["taken"], recorded[name]["given"])


def _check_throughput(name: str, taken: list[int], given: list[int]) -> None:
    """Checks that the side with more words moves one each cycle, and that the first output word has a latency of 1."""
    for cycles, others in ((taken, given), (given, taken)):
        if len(cycles) >= len(others):
            bubbles = [cycle for cycle, after in pairwise(cycles) if after != cycle + 1]
            assert not bubbles, f"{name}: no word moved after cycles {bubbles} ({len(taken)} words in, {len(given)} out)"
    _, count, lanes_in, lanes_out = map(int, name[1:].split("_"))
    last_needed = (min(lanes_out, count) - 1) // lanes_in  # the input word that the first output word waits for
    assert given[0] == taken[last_needed] + 1, name
