# SPDX-License-Identifier: Apache-2.0
"""Max pooling against any and all of each channel's bits, with idle, back-pressure, and at its full throughput."""

import random
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from bnn_rtl.max_pool import MaxPoolUnit
from support.cocotb_run import SIMULATORS, fresh_seed, run_streams
from support.naive import naive_words

_PIXELS: Final = 12
_CASES: Final = (  # taps, channels, lanes, channels that are ANDed
    (4, 8, 8, "none"),
    (4, 8, 8, "all"),
    (4, 8, 8, "some"),
    (4, 9, 3, "some"),  # lanes that divide the channels
    (9, 10, 4, "some"),  # that do not
    (6, 7, 5, "all"),
    (2, 5, 1, "some"),
    (3, 1, 1, "all"),
    (1, 6, 4, "some"),  # a window of one pixel
    (4, 70, 33, "some"),
    (4, 6, 2, "same"),  # the same lanes in every word
)


def _and_channels(channels: int, lanes: int, which: str, draw: random.Random) -> list[bool]:
    if which == "some":
        found = [draw.random() < 0.5 for _ in range(channels)]
        found[0], found[-1] = True, False
        return found
    return [which == "all" or (which == "same" and channel % lanes == 0) for channel in range(channels)]


def _pooled(pixels: list[list[int]], and_channels: list[bool]) -> list[int]:
    """Returns a bit for each channel: whether all of its bits fire, where the channel is ANDed, else whether any does."""
    bits = []
    for channel, is_and in enumerate(and_channels):
        fired = [pixel[channel] == 1 for pixel in pixels]
        bits.append(int(all(fired) if is_and else any(fired)))
    return bits


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_any_or_all_bits_of_a_window(simulator: str, tmp_path: Path) -> None:
    """Every window's bits are right, whatever stalls; when nothing does, a word is taken in each cycle, at latency 0."""
    seed = fresh_seed()
    draw = random.Random(seed)
    units = {}
    words: dict[str, list[int]] = {}
    expected: dict[str, list[int]] = {}
    for taps, channels, lanes, which in _CASES:
        name = f"{which}_{taps}_{channels}_{lanes}"
        and_channels = _and_channels(channels, lanes, which, draw)
        units[name] = MaxPoolUnit(taps, lanes, np.array(and_channels))
        words[name], expected[name] = [], []
        for _ in range(_PIXELS):
            share = draw.choice((0, 0.5 / taps, 0.5, 1 - 0.5 / taps, 1))  # so that one bit among the taps often decides
            pixels = [[int(draw.random() < share) for _ in range(channels)] for _ in range(taps)]
            by_tap = [naive_words(pixel, 1, lanes) for pixel in pixels]
            words[name] += [word for word_of_each in zip(*by_tap, strict=True) for word in word_of_each]
            expected[name] += naive_words(_pooled(pixels, and_channels), 1, lanes)
    recorded = run_streams(units, words, expected, simulator, tmp_path, seed)
    for name, unit_words in words.items():
        taken, taps = recorded[name]["taken"], int(name.split("_")[1])
        assert taken == list(range(len(unit_words))), name
        assert recorded[name]["given"] == taken[taps - 1 :: taps], name
