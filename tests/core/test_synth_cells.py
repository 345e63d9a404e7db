# SPDX-License-Identifier: Apache-2.0
"""Cells and modules of small synthesized designs, counted by hand."""

import re
from collections import Counter

import pytest

from bnn_hw.errors import ArtefactError
from bnn_hw.synth.cells import Usage, cell_usage, usage_sum
from bnn_hw.synth.hierarchy import cells_by_layer, kept_modules
from bnn_hw.synth.yosys import short_initial_blocks


@pytest.mark.parametrize(
    ("kind", "usage"),
    [
        ("LUT1", Usage(luts=1)),
        ("LUT6", Usage(luts=1)),
        ("LUT6_2", Usage(luts=1)),
        ("INV", Usage(luts=1)),
        ("RAM32M", Usage(luts=4, lut_ram=4)),
        ("RAM64M", Usage(luts=4, lut_ram=4)),
        ("RAM32X1D", Usage(luts=2, lut_ram=2)),
        ("RAM64X1D", Usage(luts=2, lut_ram=2)),
        ("RAM128X1D", Usage(luts=4, lut_ram=4)),
        ("RAM256X1S", Usage(luts=4, lut_ram=4)),
        ("RAM32M16", Usage(luts=8, lut_ram=8)),
        ("SRL16E", Usage(luts=1, lut_ram=1)),
        ("SRLC32E", Usage(luts=1, lut_ram=1)),
        ("FDRE", Usage(flip_flops=1)),
        ("FDSE_1", Usage(flip_flops=1)),
        ("RAMB36E1", Usage(block_rams=1)),
        ("RAMB18E2", Usage(block_rams=0.5)),
        ("DSP48E2", Usage(dsps=1)),
        ("CARRY4", Usage()),
        ("MUXF8", Usage()),
        ("LUT4", Usage(luts=1)),
        ("CCU2C", Usage(luts=2)),
        ("PFUMX", Usage()),
        ("L6MUX21", Usage()),
        ("TRELLIS_DPR16X4", Usage(luts=6, lut_ram=6)),
        ("TRELLIS_FF", Usage(flip_flops=1)),
        ("DP16KD", Usage(block_rams=1)),
        ("MULT18X18D", Usage(dsps=1)),
        ("SB_LUT4", Usage(luts=1)),
        ("SB_CARRY", Usage()),
        ("SB_DFFESR", Usage(flip_flops=1)),
        ("SB_RAM40_4KNRNW", Usage(block_rams=1)),
        ("SB_MAC16", Usage(dsps=1)),
        ("ALU", Usage(luts=1)),
        ("MUX2_LUT5", Usage()),
        ("DFFNPE", Usage(flip_flops=1)),
        ("DFF", Usage(flip_flops=1)),
        ("RAM16SDP4", Usage(luts=6, lut_ram=6)),
        ("RAM16SDP1", Usage(luts=3, lut_ram=3)),
        ("SP", Usage(block_rams=1)),
        ("SDPX9B", Usage(block_rams=1)),
        ("pROM", Usage(block_rams=1)),
        ("MULT9X9", Usage(dsps=0.5)),
        ("URAM288", None),
        ("$add", None),
        ("LUT7", None),
    ],
)
def test_cell_takes(kind: str, usage: Usage | None) -> None:
    assert cell_usage(kind) == usage


def test_usage_is_summed_and_unknown_cells_count_nothing() -> None:
    found = usage_sum({"LUT6": 3, "RAM32M": 2, "RAMB18E1": 3, "FDRE": 5, "DSP48E1": 1, "NEW": 9})
    assert found == Usage(luts=11, lut_ram=8, flip_flops=5, block_rams=1.5, dsps=1)


_VERILOG = """
module top(clk);
  \\top.core  core (
    .clk(clk)
  );
endmodule
module \\top.core (clk);
  \\top.core.accelerator  accelerator (
    .clk(clk)
  );
endmodule
module \\top.core.accelerator (clk);
endmodule
module \\top.core.accelerator._argmax (clk);
endmodule
module \\top.core.accelerator._window_conv1 (clk);
endmodule
module \\top.core.accelerator.layer_conv1 (clk);
  _dot_3 dot0 (
    .clk(clk)
  );
  _dot_3 dot1 (
    .clk(clk)
  );
  _rom_conv1 rom (
    .clk(clk)
  );
endmodule
module \\top.core.accelerator.layer_conv1.finish (clk);
endmodule
`ifdef SYNTHESIS
module _dot_3(clk);
endmodule
`else
module _dot_3(clk);
  _ones ones0 (
    .clk(clk)
  );
  _ones ones1 (
    .clk(clk)
  );
endmodule
`endif
`ifndef SYNTHESIS
module _ones(clk);
endmodule
`endif
module \\_dot_3.tree (clk);
endmodule
module _rom_conv1(clk);
endmodule
"""


def test_borders_are_kept_of_the_accelerators_parts_and_of_what_is_there_twice() -> None:
    assert kept_modules(_VERILOG, "top") == [
        "top.core.accelerator._argmax",
        "top.core.accelerator._window_conv1",
        "top.core.accelerator.layer_conv1",
        "_dot_3",
    ]


@pytest.mark.parametrize(("verilog", "top"), [(_VERILOG, "pot"), (_VERILOG.replace("accelerator", "engine"), "top")])
def test_verilog_without_an_accelerator_is_refused(verilog: str, top: str) -> None:
    with pytest.raises(ArtefactError, match=rf"^the Verilog must have a module {top} and an accelerator in it; "):
        kept_modules(verilog, top)


def test_cells_are_summed_over_the_instances_of_modules() -> None:
    modules = {
        "top": {
            "LUT2": 3,
            "top.core.accelerator.layer_fc1": 1,
            "top.core.accelerator._input0_fc1": 1,
            "top.core.accelerator.layer_fc2": 1,
            "top.core.accelerator._argmax": 1,
        },
        "top.core.accelerator.layer_fc1": {"LUT6": 10, "_dot": 3},
        "top.core.accelerator._input0_fc1": {"FDRE": 4, "LUT6": 1},
        "top.core.accelerator.layer_fc2": {"_dot": 1},
        "top.core.accelerator._argmax": {"CARRY4": 2},
        "_dot": {"LUT6": 5, "_pair": 2},
        "_pair": {"LUT6_2": 7},
    }
    cells = cells_by_layer(modules, "top", ["fc1", "fc2", "pool"])
    assert cells.layers == {
        "fc1": Counter({"LUT6": 10 + 3 * 5 + 1, "LUT6_2": 3 * 2 * 7, "FDRE": 4}),
        "fc2": Counter({"LUT6": 5, "LUT6_2": 14}),
        "pool": Counter(),
    }
    assert (cells.result, cells.shell) == (Counter({"CARRY4": 2}), Counter({"LUT2": 3}))
    assert cells.total == Counter({"LUT6": 31, "LUT6_2": 56, "FDRE": 4, "CARRY4": 2, "LUT2": 3})


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 1000])
def test_initial_blocks_are_cut_and_nothing_else_changes(count: int) -> None:
    statements = [f"    weights[{index}] = 4'h{index % 16:x};" for index in range(count)]
    verilog = "\n".join(["module m;", "  initial begin", *statements, "  end", *["  assign a = b;"] * 100, "endmodule", ""])
    cut = short_initial_blocks(verilog)
    blocks = re.findall(r"  initial begin\n((?:    .*\n)+)  end\n", cut)
    assert len(blocks) == cut.count("initial begin")  # none is empty
    assert "".join(blocks).splitlines() == statements
    assert [len(block.splitlines()) for block in blocks] == [64] * (count // 64) + [count % 64] * (count % 64 > 0)
    assert re.sub(r"  end\n  initial begin\n", "", cut) == verilog
