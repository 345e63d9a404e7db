# SPDX-License-Identifier: Apache-2.0
"""Constants in look-up tables: both forms against the words, bit by bit, and the cells that they take."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from amaranth.hdl import Const, Module
from amaranth.lib.wiring import Component, In

from bnn_hw.errors import MismatchError
from bnn_hw.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.memory import lut_rom_luts
from bnn_rtl.emit import emit_verilog
from bnn_rtl.equivalence import check_primitives
from bnn_rtl.lut_rom import LutRom, lut_rom
from cocotb_run import fresh_seed

# Around what a look-up table of 5 and of 6 inputs holds, 2 and 4 of the latter, and blocks of 4.
_DEPTHS: Final = (2, 31, 32, 33, 63, 64, 65, 128, 129, 200, 256, 257, 600)
_SHAPES: Final = (*((depth, 5) for depth in _DEPTHS), (2, 1), (32, 1), (32, 2), (33, 2), (600, 1))


class _Nothing(Component):
    """A top module for modules that are emitted beside it."""

    def __init__(self) -> None:
        super().__init__({"i": In(1)})

    def elaborate(self, platform: object) -> Module:
        return Module()


def _rom(depth: int, width: int, draw: random.Random) -> tuple[LutRom, list[int]]:
    words = [draw.getrandbits(width) for _ in range(depth - 2)] + [0, 2**width - 1]
    draw.shuffle(words)
    return LutRom(f"rom_{depth}_{width}", width, words), words


@dataclass(frozen=True)
class _Forms:
    """A memory of random words and its Verilog."""

    module: str
    words: list[int]
    primitive: str  # with the comment that gives the limit of the address; empty where there is only the model
    model: str


def _emit(rom: LutRom, family: Family = SERIES_7) -> str:
    _, text = emit_verilog(_Nothing(), "nothing", [rom], family).split("endmodule\n", 1)
    return text


@pytest.fixture(scope="module")
def forms() -> dict[tuple[int, int], _Forms]:
    """The forms of each shape of memory, depth and width."""
    draw = random.Random(fresh_seed())
    found = {}
    for shape in _SHAPES:
        rom, words = _rom(*shape, draw)
        text = _emit(rom)
        both = re.fullmatch(r"\n`ifdef SYNTHESIS\n(.*)`else\n(.*)`endif\n", text, re.DOTALL)
        found[shape] = _Forms(rom.module, words, *(both.groups() if both else ("", text)))
    return found


def _naive(module: str, width: int, words: list[int]) -> str:
    """Returns the module as one long constant."""
    bits = "".join(f"{word:0{width}b}" for word in reversed(words))
    address_bits = max(1, (len(words) - 1).bit_length())
    return (
        f"module {module}(input clk, input rst, input [{address_bits - 1}:0] address, output reg [{width - 1}:0] data);\n"
        f"  wire [{len(bits) - 1}:0] words = {len(bits)}'b{bits};\n"
        f"  always @(posedge clk) data <= words[{width} * address +: {width}];\nendmodule\n"
    )


def _beside_words(form: str, module: str, width: int, words: list[int]) -> str:
    """Returns a form where `check_primitives` expects the primitives, and the words where it expects their model."""
    return f"`ifdef SYNTHESIS\n// address < {len(words)}\n{form}`else\n{_naive(module, width, words)}`endif\n"


def test_both_forms_give_the_words(forms: dict[tuple[int, int], _Forms], tmp_path: Path) -> None:
    text = []
    for (depth, width), form in forms.items():
        if depth <= 256:
            assert form.primitive.startswith(f"// address < {depth}\n")
            text.append(_beside_words(form.primitive, form.module, width, form.words))
        renamed = f"model_{form.module}"
        text.append(_beside_words(form.model.replace(form.module, renamed), renamed, width, form.words))
    assert check_primitives("\n".join(text), tmp_path) > max(_DEPTHS)


@pytest.mark.parametrize("shape", [(32, 1), (200, 5)])
def test_a_wrong_bit_of_a_table_is_found(shape: tuple[int, int], forms: dict[tuple[int, int], _Forms], tmp_path: Path) -> None:
    """The test above can fail: whichever bit of a word is wrong."""
    depth, width = shape
    form = forms[shape]
    *_, init = re.finditer(r"\.INIT\((32|64)'([dh])([0-9a-f]+)\)", form.primitive)  # of the last words, or of the only ones
    address = random.Random(fresh_seed()).choice(range((depth - 1) // 64 * 64, depth))
    value = int(init[3], {"d": 10, "h": 16}[init[2]]) ^ 1 << address % 64
    wrong = f"{form.primitive[: init.start()]}.INIT({init[1]}'d{value}){form.primitive[init.end() :]}"
    with pytest.raises(MismatchError, match=rf"^module {form.module}: "):
        check_primitives(_beside_words(wrong, form.module, width, form.words), tmp_path)


def test_cells_are_as_many_as_memory_says(forms: dict[tuple[int, int], _Forms]) -> None:
    """A bit takes a look-up table for 64 words, or half of one for 32; MUXF7 joins 2 and MUXF8 4 of them."""
    joins = {65: (1, 0), 128: (1, 0), 129: (2, 1), 200: (2, 1), 256: (2, 1)}
    for (depth, width), form in forms.items():
        cells = Counter(re.findall(r"^ +(LUT5|LUT6|LUT6_2|MUXF7|MUXF8) (?:#\(|\\?\w)", form.primitive, re.MULTILINE))
        if depth > 256:
            assert not form.primitive, (depth, width)
            continue
        tables = cells["LUT5"] + cells["LUT6"] + cells["LUT6_2"]
        assert tables == lut_rom_luts(SERIES_7, depth, width) == lut_rom_luts(ULTRASCALE_PLUS, depth, width), (depth, width)
        multiplexers = joins.get(depth, (0, 0))
        assert (cells["MUXF7"], cells["MUXF8"]) == (multiplexers[0] * width, multiplexers[1] * width), (depth, width)


def test_families_of_the_same_cells_have_the_same_form() -> None:
    rom, _ = _rom(70, 3, random.Random(1))
    assert _emit(rom, SERIES_7) == _emit(rom, ULTRASCALE_PLUS)


@pytest.mark.parametrize("family", [ECP5, ICE40, GOWIN])
def test_families_of_smaller_tables_take_the_model(family: Family) -> None:
    rom, _ = _rom(70, 3, random.Random(1))
    verilog = _emit(rom, family)
    assert "`ifdef" not in verilog
    assert "LUT" not in verilog
    assert verilog.count(f"module {rom.module}(") == 1
    assert 'rom_style = "logic"' in verilog


def test_words_that_are_all_the_same_take_no_memory() -> None:
    for words in ([5], [5] * 40):
        constant = lut_rom("rom", 3, words)
        assert isinstance(constant, Const)
        assert (constant.value, len(constant)) == (5, 3)
    nothing = lut_rom("rom", 0, [0] * 40)
    assert isinstance(nothing, Const)
    assert len(nothing) == 0
    memory = lut_rom("rom", 3, [5, 5, 5, 4])
    assert isinstance(memory, LutRom)
    assert "module rom(" in _emit(memory)
