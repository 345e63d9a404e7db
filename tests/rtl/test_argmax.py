# SPDX-License-Identifier: Apache-2.0
"""The argmax against a naive one: ties, negative scores, extremes."""

import random
from pathlib import Path

import pytest
from amaranth.hdl import signed

from bnn_rtl.argmax import Argmax
from support.cocotb_run import SIMULATORS, fresh_seed, run_streams
from support.naive import naive_class, naive_words

_IMAGES = 16
_CASES = {"one": (7, 1), "two": (5, 2), "ten": (12, 10), "wide": (32, 7)}  # name: score bits, classes


def _images(bits: int, classes: int, draw: random.Random) -> list[list[int]]:
    """Returns scores of images: equal ones, the extremes, all negative, few different (so with ties), and any."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    images = [[value] * classes for value in (0, -1, low, high)]
    images += [[draw.randint(low, -1) for _ in range(classes)] for _ in range(3)]
    images += [[draw.choice((low, high)) for _ in range(classes)] for _ in range(3)]
    images += [[draw.randint(-2, -1) for _ in range(classes)] for _ in range(3)]
    return images + [[draw.randint(low, high) for _ in range(classes)] for _ in range(_IMAGES - len(images))]


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_scores_then_the_lowest_of_the_best(simulator: str, tmp_path: Path) -> None:
    """The scores come through, then the class, marked last; of equal scores the lowest class wins; no cycle is lost."""
    seed = fresh_seed()
    draw = random.Random(seed)
    words, expected = {}, {}
    for name, (bits, classes) in _CASES.items():
        images = _images(bits, classes, draw)
        words[name] = [word for scores in images for word in naive_words(scores, bits, 1)]
        expected[name] = []
        for scores in images:
            expected[name] += naive_words(scores, 32, 1)
            expected[name].append(2**32 + naive_class(scores))
    units = {name: Argmax(signed(bits), classes) for name, (bits, classes) in _CASES.items()}
    recorded = run_streams(units, words, expected, simulator, tmp_path, seed)
    for name in expected:
        given = recorded[name]["given"]
        assert given == list(range(given[0], given[0] + len(given))), name
        assert given[0] == recorded[name]["taken"][0], name
