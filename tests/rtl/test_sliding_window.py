# SPDX-License-Identifier: Apache-2.0
"""The sliding window against nested loops over a padded image, with idle, back-pressure, and at its full throughput."""

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.units import Window
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.fpga.family import SERIES_7
from bnn_hw.synth.levels import longest_paths
from bnn_hw.synth.yosys import count_cells, read_netlist
from bnn_rtl.emit import emit_verilog
from bnn_rtl.sliding_window import SlidingWindow
from support.cocotb_run import SIMULATORS, fresh_seed, run_streams

_IMAGES: Final = 5
_WIDTH: Final = 5  # bits of a word
_ONES: Final = 2**_WIDTH - 1
_MARK: Final = 2**_WIDTH  # the word of a place past the image, where such are marked


@dataclass(frozen=True)
class _Case:
    """A window, and how it treats what it gives."""

    rows: int
    columns: int
    words: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_word: int | None = 0
    words_first: bool = False

    @property
    def window(self) -> Window:
        """The window as the hardware takes it."""
        return Window(self.rows, self.columns, self.words, self.kernel, self.stride, self.padding)


_CASES: Final = {
    "pixel": _Case(1, 1, 1, (1, 1)),
    "pixel_of_words": _Case(1, 1, 3, (1, 1)),
    "pixel_padded": _Case(1, 1, 2, (3, 3), padding=(1, 1, 1, 1)),
    "pixel_padded_far": _Case(1, 1, 1, (1, 1), padding=(2, 1, 1, 2), padding_word=_ONES),
    "row": _Case(1, 6, 1, (1, 3), (1, 2)),
    "column": _Case(6, 1, 2, (3, 1), (2, 1), (1, 0, 0, 0), None),
    "single": _Case(5, 4, 2, (1, 1)),
    "square": _Case(5, 6, 1, (3, 3)),
    "square_of_words": _Case(5, 4, 3, (3, 3)),
    "square_same_size": _Case(4, 5, 2, (3, 3), padding=(1, 1, 1, 1), padding_word=None),
    "tall": _Case(6, 4, 1, (4, 3), padding=(2, 1, 1, 1), padding_word=_ONES),
    "wide": _Case(4, 6, 2, (1, 4), (1, 3), (0, 0, 2, 1), None),
    "whole_image": _Case(3, 4, 2, (3, 4)),
    "whole_padded_image": _Case(2, 3, 1, (4, 3), padding=(1, 1, 0, 0), padding_word=None),
    "stride": _Case(7, 6, 1, (3, 2), (2, 3), (1, 0, 0, 1), _ONES),
    "stride_past_kernel": _Case(7, 8, 2, (1, 2), (3, 3)),
    "stride_past_kernel_padded": _Case(5, 7, 1, (2, 1), (3, 2), (1, 2, 2, 0), None),
    "stride_leaves_rest": _Case(8, 5, 1, (2, 2), (3, 2)),
    "padding_above": _Case(3, 3, 1, (1, 2), padding=(3, 0, 0, 0), padding_word=9),
    "padding_below": _Case(3, 3, 1, (1, 2), padding=(0, 3, 0, 0), padding_word=9),
    "padding_below_tall": _Case(9, 2, 1, (1, 1), padding=(0, 4, 0, 0), padding_word=None),
    "padding_far": _Case(2, 3, 2, (2, 2), (1, 2), (3, 4, 2, 3), None),
    "pool": _Case(6, 4, 2, (2, 2), (2, 2), words_first=True),
    "pool_rest": _Case(5, 7, 3, (2, 2), (2, 2), words_first=True),
    "pool_overlapping": _Case(5, 5, 2, (3, 3), (2, 2), words_first=True),
    "pool_overlapping_far": _Case(4, 5, 3, (3, 2), (1, 1), words_first=True),
    "words_first_padded": _Case(3, 4, 3, (3, 2), (1, 2), (1, 1, 0, 1), None, words_first=True),
}


class _Marks(Component):
    """A sliding window in whose marked words all bits but the mark, which may be any, are 0."""

    def __init__(self, window: SlidingWindow) -> None:
        self._window = window
        super().__init__({"i": In(stream.Signature(len(window.i.payload))), "o": Out(stream.Signature(len(window.o.payload)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.window = window = self._window
        m.d.comb += [
            window.i.valid.eq(self.i.valid),
            window.i.payload.eq(self.i.payload),
            self.i.ready.eq(window.i.ready),
            self.o.valid.eq(window.o.valid),
            self.o.payload.eq(Mux(window.o.payload[-1], _MARK, window.o.payload)),
            window.o.ready.eq(self.o.ready),
        ]
        return m


def _unit(case: _Case) -> SlidingWindow | _Marks:
    unit = SlidingWindow(case.window, _WIDTH, SERIES_7, padding=case.padding_word, words_first=case.words_first)
    return _Marks(unit) if len(unit.o.payload) > _WIDTH else unit


def _padded(case: _Case, image: list[list[list[int]]]) -> list[list[list[int | None]]]:
    """Returns an image [row][column][word] with its padding around it, whose words are None."""
    above, below, left, right = case.padding
    padded: list[list[list[int | None]]] = []
    for row in range(-above, case.rows + below):
        padded.append([])
        for column in range(-left, case.columns + right):
            inside = 0 <= row < case.rows and 0 <= column < case.columns
            padded[-1].append(list(image[row][column]) if inside else [None] * case.words)
    return padded


def _places(case: _Case, padded: list[list[list[int | None]]]) -> list[list[int | None]]:
    """Returns the words of each place of the window on an image, None where they are padding."""
    places = []
    for row in range(0, len(padded) - case.kernel[0] + 1, case.stride[0]):
        for column in range(0, len(padded[0]) - case.kernel[1] + 1, case.stride[1]):
            pixels = []
            for row_in in range(case.kernel[0]):
                for column_in in range(case.kernel[1]):
                    pixels.append(padded[row + row_in][column + column_in])
            if case.words_first:
                places.append([pixel[word] for word in range(case.words) for pixel in pixels])
            else:
                places.append([pixel[word] for pixel in pixels for word in range(case.words)])
    return places


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_words_of_every_place_without_a_bubble(simulator: str, tmp_path: Path) -> None:
    """Every place of every image gets its words, whatever stalls; when nothing does, an image takes `Window.cycles`."""
    seed = fresh_seed()
    draw = random.Random(seed)
    words: dict[str, list[int]] = {}
    expected: dict[str, list[int]] = {}
    ahead = {}
    for name, case in _CASES.items():
        words[name], expected[name] = [], []
        for _ in range(_IMAGES):
            image = [[[draw.getrandbits(_WIDTH) for _ in range(case.words)] for _ in range(case.columns)] for _ in range(case.rows)]
            words[name] += [word for row in image for pixel in row for word in pixel]
            due = [word for place in _places(case, _padded(case, image)) for word in place]
            # Padding in front of an image's first word comes before the image does.
            ahead[name] = next(at for at, word in enumerate(due) if word is not None)
            padding = _MARK if case.padding_word is None else case.padding_word
            expected[name] += [padding if word is None else word for word in due]
    units = {name: _unit(case) for name, case in _CASES.items()}
    recorded = run_streams(units, words, expected, simulator, tmp_path, seed, ahead=ahead)
    for name, case in _CASES.items():
        _check_throughput(name, case, recorded[name]["taken"], recorded[name]["given"])
        if not any(case.padding):
            assert recorded[name]["given"][0] == recorded[name]["taken"][0] + 2, name


def _check_throughput(name: str, case: _Case, taken: list[int], given: list[int]) -> None:
    """Checks that the side with more words moves one each cycle, once the first image is in."""
    places = len(_places(case, _padded(case, [[[0] * case.words] * case.columns] * case.rows)))
    words_in = case.rows * case.columns * case.words
    words_out = places * case.kernel[0] * case.kernel[1] * case.words
    assert case.window.cycles == max(words_in, words_out), name
    if words_in >= words_out:
        bubbles = [cycle for cycle, after in pairwise(taken) if after != cycle + 1]
        assert not bubbles, f"{name}: no word was taken after cycles {bubbles}"
    else:
        ends = given[words_out - 1 : _IMAGES * words_out : words_out]
        intervals = [after - cycle for cycle, after in pairwise(ends)]
        assert intervals == [words_out] * (_IMAGES - 1), name


@pytest.mark.parametrize("case", ["square_of_words", "square_same_size", "padding_below", "pool"])
def test_ready_comes_from_a_register(case: str, tmp_path: Path) -> None:
    """No look-up table lies before it, so that paths through what is in front of a window start there."""
    unit = SlidingWindow(_CASES[case].window, _WIDTH, SERIES_7, padding=_CASES[case].padding_word)
    count_cells(emit_verilog(unit, "window", []), "window", BOARDS["pynq-z2"], 100, [], tmp_path)
    paths = longest_paths(read_netlist(tmp_path), "window", lambda name: name)
    assert paths["i__ready"].levels == 0
    assert "(FD" in paths["i__ready"].start
