# SPDX-License-Identifier: Apache-2.0
"""The checks of the scripts for Vivado can fail: a script with one thing wrong is refused, and the message says what."""

import re
import shutil
from pathlib import Path

import pytest

from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.network.network import Input
from bnn_hw.vivado.project import write_project
from support.strategies import random_network
from support.vivado_recorder import needs_tcl, run_scripts

_NETWORK = random_network(Input((8, 3, 1), "uint8"), (6, 4), seed=3)


def _project(folder: Path, board: str) -> Path:
    built = build(_NETWORK, BOARDS[board], find_plan(_NETWORK, BOARDS[board]), folder, verify=False)
    return write_project(built.folder, built.manifest)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _project(tmp_path_factory.mktemp("builds") / "pynq-z2", "pynq-z2")


_MUTATIONS = [
    ("block_design.tcl", "    assign_bd_address ", "    asign_bd_address ", 'invalid command name "asign_bd_address"'),
    ("block_design.tcl", "-target_address_space [get_bd_addr_spaces $space] [", "-to $space [", "unknown option -to"),
    ("block_design.tcl", "M01_AXI dma/S_AXI_LITE", "M01_AXI dma/S_AXI", r"cell dma .* has no S_AXI among its interfaces"),
    ("block_design.tcl", "accelerator/aclk ", "", "validate_bd_design: accelerator/aclk is not connected"),
    ("block_design.tcl", "accelerator/aresetn ", "", "validate_bd_design: accelerator/aresetn is not connected"),
    ("settings.tcl", " S_AXI_HP0_ACLK}", "}", "validate_bd_design: processor/S_AXI_HP0_ACLK is not connected"),
    ("block_design.tcl", "MM2S accelerator/s_axis", "MM2S accelerator/m_axis", "accelerator/m_axis a Master of axis"),
    ("block_design.tcl", "M00_AXI accelerator/s_axi\n", "M00_AXI accelerator/s_axis\n", "accelerator/s_axis a Slave of axis"),
    ("block_design.tcl", "bus memory/M00_AXI processor/$memory_port\n", "", "dma/Data_MM2S does not reach processor/S_AXI_HP0"),
    ("block_design.tcl", "CONFIG.c_include_sg 0", "CONFIG.c_include_scatter 0", r"dma has no property CONFIG\.c_include_scatter"),
    ("block_design.tcl", "CONFIG.c_include_sg 0", "CONFIG.c_include_sg 1", "m_axi_sg_aclk is not connected"),
    ("block_design.tcl", "$dma_length_bits", "32", r"CONFIG\.c_sg_length_width of dma must be 8 to 26, not 32"),
    ("block_design.tcl", "tdata_width $m_axis_bits", "tdata_width 64", "has 32 bits, dma/S_AXIS_S2MM 64"),
    ("block_design.tcl", "NUM_MI 3", "NUM_MI 2", "has no M02_AXI among its interfaces"),
    ("block_design.tcl", "NUM_MI 3", "NUM_MI 4", "registers/M03_AXI is not connected"),
    ("block_design.tcl", "wire processor/$reset_pin ", "wire processor/$clock_pin ", "FCLK_CLK0 is of type clk, resets/ext_res"),
    ("block_design.tcl", "resets/peripheral_aresetn", "resets/peripheral_reset", "peripheral_reset is of type rst"),
    ("block_design.tcl", "wire dma/s2mm_introut concat/In1\n", "", "concat/In1 is not connected"),
    ("block_design.tcl", "concat/In1\n", "concat/In0\n", "concat/In0 is driven by dma/mm2s_introut already"),
    ("block_design.tcl", "wire interrupts/irq processor/$interrupt_pin\n", "", "processor/IRQ_F2P is not connected"),
    ("block_design.tcl", "C_IRQ_CONNECTION 1", "C_IRQ_CONNECTION 0", "has no irq among its pins"),
    ("block_design.tcl", "place processor/Data dma", "#", "dma/S_AXI_LITE/Reg is not mapped into processor/Data"),
    ("block_design.tcl", "ddrx_rtl", "ddr_rtl", "DDR is a Slave of ddr, processor/DDR a Master of ddrx"),
    ("block_design.tcl", "validate_bd_design\n", "", "save_bd_design: the design has changed since it was validated"),
    ("block_design.tcl", "save_bd_design\n", "", r"get_files: no file is called system\.bd"),
    ("block_design.tcl", "update_ip_catalog\n", "", r"create_bd_cell: there is no IP bnn_hw:ip:random_[0-9a-f]{8}:1\.0"),
    ("implement.tcl", "launch_runs impl_1", "launch_runs synth_1", "launch_runs: impl_1 needs a saved block design"),
    ("implement.tcl", "write_bitstream", "write_bits", "launch_runs: impl_1 needs a saved block design"),
    ("implement.tcl", "set_property top system_wrapper", "set_property top wrapper", "no file of the project has a module wrapper"),
    ("implement.tcl", "wait_on_run impl_1\n", "", "synth_1 stopped at: Not started"),
    ("implement.tcl", "open_run impl_1\n", "", "report_timing_summary: no design is open"),
    ("implement.tcl", "report_power -file", "report_power -fil", "report_power: unknown option -fil"),
    ("package_ip.tcl", "set_property range", "set_property size", r"has no property size"),
    ("package_ip.tcl", "    ipx::remove_memory_map", "#", "ipx::add_memory_map: there is one called s_axi already"),
    ("package_ip.tcl", "-clock aclk", "-clock clk", "the IP has no interface clk"),
    ("package_ip.tcl", "ipx::associate_bus_interfaces -clock aclk -reset", "#", "no reset goes with the clock"),
    ("package_ip.tcl", "close_project\n", "", "create_project: package is open"),
    ("settings.tcl", "set part xc7z020clg400-1", "set part xc7z020", "create_project: there is no part xc7z020"),
    ("settings.tcl", "set part xc7z020clg400-1", "set part xczu7ev-ffvc1156-2-e", "e has no .*processing_system7"),
    ("settings.tcl", "accelerator_base 0x40000000", "accelerator_base 0x48000000", "dma/S_AXI_LITE/Reg overlaps"),
    ("settings.tcl", "accelerator_base 0x40000000", "accelerator_base 0x10000000", "s_axi/reg0 cannot be at"),
    ("settings.tcl", "memory_size 0x20000000", "memory_size 0x30000000", "S_AXI_HP0/HP0_DDR_LOWOCM cannot be at"),
    ("settings.tcl", "memory_segment HP0_DDR_LOWOCM", "memory_segment HP0_DDR_LOW", "HP0_DDR_LOW"),
    ("settings.tcl", "reached_clock CONFIG.PCW_ACT_FPGA0", "reached_clock CONFIG.PCW_ACT_FPGA9", "PCW_ACT_FPGA9"),
    ("settings.tcl", "clock_mhz 100", "clock_mhz 400", r"processor must be 0\.1 to 250, not 400"),
    ("TOP.v", "s_axis_tvalid;", "s_axis_valid;", r"the ports of TOP\.v that begin with s_axis_ are no interface"),
    ("TOP.v", "xilinx.com:signal:clock:1.0", "xilinx.com:signal:data:1.0", "aclk is a data"),
    ("TOP.v", "input [63:0] s_axis_tdata", "input [31:0] s_axis_tdata", "accelerator/s_axis has 32 bits"),
    ("TOP.v", "module TOP(", "module other(", "no file of the project has a module TOP"),
]


@needs_tcl
@pytest.mark.parametrize(("file", "old", "new", "message"), _MUTATIONS)
def test_a_wrong_name_option_or_order_is_an_error(
    file: str, old: str, new: str, message: str, project: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "vivado"))
    top = next(folder.glob("*.v")).stem
    file, old, message = (text.replace("TOP", top) for text in (file, old, message))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    finished = run_scripts(folder)
    assert finished.returncode == 1
    assert re.search(f"^ERROR: .*{message}", finished.stdout), finished.stdout
    assert not (folder / "out" / "build.json").exists()


@needs_tcl
def test_memory_that_the_dma_must_not_reach_is_excluded(tmp_path: Path) -> None:
    folder = _project(tmp_path / "build", "kv260")
    script = folder / "block_design.tcl"
    script.write_text(script.read_text().replace("            exclude_bd_addr_seg ", "#"))
    assert re.search(r"^ERROR: .*SAXIGP2/HP0_LPS_OCM is not mapped into dma/Data_MM2S", run_scripts(folder).stdout)
