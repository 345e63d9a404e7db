# SPDX-License-Identifier: Apache-2.0
"""Cells and modules of small synthesized designs, counted by hand."""

import re
from collections import Counter

import pytest

from bnn_hw.design.lower import Design, lower
from bnn_hw.design.names import ACCELERATOR
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import Input
from bnn_hw.synth.cells import cell_usage, usage_sum
from bnn_hw.synth.hierarchy import cells_by_layer, shared_modules, unit_modules
from bnn_hw.synth.yosys import short_initial_blocks
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from support.strategies import WindowShape, random_conv_network


@pytest.mark.parametrize(
    ("kind", "usage"),
    [
        ("LUT1", Resources(luts=1)),
        ("LUT6", Resources(luts=1)),
        ("LUT6_2", Resources(luts=1)),
        ("INV", Resources(luts=1)),
        ("RAM32M", Resources(luts=4, lut_ram=4)),
        ("RAM64M", Resources(luts=4, lut_ram=4)),
        ("RAM32X1D", Resources(luts=2, lut_ram=2)),
        ("RAM64X1D", Resources(luts=2, lut_ram=2)),
        ("RAM128X1D", Resources(luts=4, lut_ram=4)),
        ("RAM256X1S", Resources(luts=4, lut_ram=4)),
        ("RAM32M16", Resources(luts=8, lut_ram=8)),
        ("SRL16E", Resources(luts=1, lut_ram=1)),
        ("SRLC32E", Resources(luts=1, lut_ram=1)),
        ("FDRE", Resources(flip_flops=1)),
        ("FDSE_1", Resources(flip_flops=1)),
        ("RAMB36E1", Resources(block_rams=1)),
        ("RAMB18E2", Resources(block_rams=0.5)),
        ("DSP48E2", Resources(dsps=1)),
        ("CARRY4", Resources()),
        ("MUXF8", Resources()),
        ("LUT4", Resources(luts=1)),
        ("CCU2C", Resources(luts=2)),
        ("PFUMX", Resources()),
        ("L6MUX21", Resources()),
        ("TRELLIS_DPR16X4", Resources(luts=6, lut_ram=6)),
        ("TRELLIS_FF", Resources(flip_flops=1)),
        ("DP16KD", Resources(block_rams=1)),
        ("MULT18X18D", Resources(dsps=1)),
        ("SB_LUT4", Resources(luts=1)),
        ("SB_CARRY", Resources()),
        ("SB_DFFESR", Resources(flip_flops=1)),
        ("SB_RAM40_4KNRNW", Resources(block_rams=1)),
        ("SB_MAC16", Resources(dsps=1)),
        ("ALU", Resources(luts=1)),
        ("MUX2_LUT5", Resources()),
        ("DFFNPE", Resources(flip_flops=1)),
        ("DFF", Resources(flip_flops=1)),
        ("RAM16SDP4", Resources(luts=6, lut_ram=6)),
        ("RAM16SDP1", Resources(luts=3, lut_ram=3)),
        ("SP", Resources(block_rams=1)),
        ("SDPX9B", Resources(block_rams=1)),
        ("pROM", Resources(block_rams=1)),
        ("MULT9X9", Resources(dsps=0.5)),
        ("URAM288", None),
        ("$add", None),
        ("LUT7", None),
    ],
)
def test_cell_takes(kind: str, usage: Resources | None) -> None:
    assert cell_usage(kind) == usage


def test_usage_is_summed_and_unknown_cells_count_nothing() -> None:
    found = usage_sum({"LUT6": 3, "RAM32M": 2, "RAMB18E1": 3, "FDRE": 5, "DSP48E1": 1, "NEW": 9})
    assert found == Resources(luts=11, lut_ram=8, flip_flops=5, block_rams=1.5, dsps=1)


def _design() -> Design:
    """A convolution with true zeros around bits, a pooling, and two layers of which one has a dot product a cycle."""
    network = random_conv_network(
        Input((4, 4, 2), "bit"), [WindowShape((2, 2), (1, 1), 4, (1, 0, 1, 0)), WindowShape((2, 2), (2, 2))], (3, 2), 1
    )
    layers = (LayerPlan("conv1", 4, 4), LayerPlan("fc1", 1, 4), LayerPlan("scores", 1, 3))
    return lower(network, Plan(layers))


def test_the_units_of_a_design_are_the_modules_that_are_kept_and_of_the_others_those_that_are_there_twice() -> None:
    """As the Verilog has them."""
    design = _design()
    shell = Shell(design)
    verilog = emit_verilog(shell, "top", shell.parts)
    units = unit_modules(design, "top", ACCELERATOR)
    modules = re.findall(r"^module \\(top\.core\.accelerator\.[^.\s]+) ", verilog, re.MULTILINE)
    assert sorted(units) == sorted(modules)
    assert set(units.values()) == {layer.name for layer in design.network.layers} | {"(result)"}
    assert units["top.core.accelerator._argmax"] == "(result)"
    assert units["top.core.accelerator._window_conv1"] == "conv1"
    # Four of the convolution's; the two dense layers have one each, of 4 and of 3 lanes.
    assert shared_modules(design, "top") == ["top__zero_padded_xnor_popcount_4_2_xc7_8"]
    for module in shared_modules(design, "top"):
        assert verilog.count(f"  {module} dot") == 4


def test_cells_are_summed_over_the_instances_of_modules() -> None:
    modules = {
        "top": {
            "LUT2": 3,
            "top.core.accelerator.layer_fc1": 1,
            "top.core.accelerator._window_conv1": 1,
            "top.core.accelerator.layer_scores": 1,
            "top.core.accelerator._argmax": 1,
        },
        "top.core.accelerator.layer_fc1": {"LUT6": 10, "_dot": 3},
        "top.core.accelerator._window_conv1": {"FDRE": 4, "LUT6": 1},
        "top.core.accelerator.layer_scores": {"_dot": 1},
        "top.core.accelerator._argmax": {"CARRY4": 2},
        "_dot": {"LUT6": 5, "_pair": 2},
        "_pair": {"LUT6_2": 7},
    }
    design = _design()
    cells = cells_by_layer(modules, "top", unit_modules(design, "top", ACCELERATOR), design)
    assert cells == {
        "conv1": Counter({"FDRE": 4, "LUT6": 1}),
        "pool2": Counter(),
        "fc1": Counter({"LUT6": 10 + 3 * 5, "LUT6_2": 3 * 2 * 7}),
        "scores": Counter({"LUT6": 5, "LUT6_2": 14}),
        "(result)": Counter({"CARRY4": 2}),
        "(shell)": Counter({"LUT2": 3}),
    }


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
