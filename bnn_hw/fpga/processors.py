# SPDX-License-Identifier: Apache-2.0
"""The families of processing systems: what Vivado, Linux and PYNQ call their parts (AMD PG082, PG201, UG585, UG1085).

Vivado's scripts read these names from a build's settings, and the simulated board has its own of them.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["PROCESSOR_FAMILIES", "ZYNQ_7000", "ZYNQ_ULTRASCALE_PLUS", "ProcessorFamily"]


@dataclass(frozen=True)
class ProcessorFamily:
    """A family of processing systems. Names of pins and ports are those of its IP; `{index}` is a clock's number."""

    ip: str  # in Vivado's catalogue
    ip_version: str  # that the simulated handoff says
    machine: str  # what Linux calls the processor
    registers_base: int  # where the processor sees the programmable logic
    registers_port: str  # AXI to the registers
    memory_port: str  # AXI from the DMA
    memory_space: str  # what the addresses behind `memory_port` belong to
    memory_segment: str  # of them, DDR
    port_clock_pins: tuple[str, str]  # of `registers_port` and `memory_port`
    clock_pin: str
    reset_pin: str
    interrupt_pin: str
    reached_clock: str  # the property with the clock that Vivado reached
    clock_enable: str  # a clock's parameters: whether it runs,
    clock_prefix: str  # what the others begin with,
    clock_source: tuple[str, str]  # and from which PLL
    pll_mhz: int  # that the simulated board divides its clock from
    pll_halves: int  # by which that PLL's own frequency is divided first


ZYNQ_7000: Final = ProcessorFamily(
    ip="processing_system7",
    ip_version="5.5",
    machine="armv7l",
    registers_base=0x4000_0000,
    registers_port="M_AXI_GP0",
    memory_port="S_AXI_HP0",
    memory_space="S_AXI_HP0",
    memory_segment="HP0_DDR_LOWOCM",
    port_clock_pins=("M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK"),
    clock_pin="FCLK_CLK0",
    reset_pin="FCLK_RESET0_N",
    interrupt_pin="IRQ_F2P",
    reached_clock="CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ",
    clock_enable="PCW_FPGA_FCLK{index}_ENABLE",
    clock_prefix="PCW_FCLK{index}_PERIPHERAL_",
    clock_source=("CLKSRC", "IO PLL"),
    pll_mhz=1000,
    pll_halves=1,
)
ZYNQ_ULTRASCALE_PLUS: Final = ProcessorFamily(
    ip="zynq_ultra_ps_e",
    ip_version="3.5",
    machine="aarch64",
    registers_base=0xA000_0000,
    registers_port="M_AXI_HPM0_FPD",
    memory_port="S_AXI_HP0_FPD",
    memory_space="SAXIGP2",
    memory_segment="HP0_DDR_LOW",
    port_clock_pins=("maxihpm0_fpd_aclk", "saxihp0_fpd_aclk"),
    clock_pin="pl_clk0",
    reset_pin="pl_resetn0",
    interrupt_pin="pl_ps_irq0",
    reached_clock="CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ",
    clock_enable="PSU__FPGA_PL{index}_ENABLE",
    clock_prefix="PSU__CRL_APB__PL{index}_REF_CTRL__",
    clock_source=("SRCSEL", "IOPLL"),
    pll_mhz=1200,  # of which 100, 150 and 200 MHz are divisors
    pll_halves=2,
)
PROCESSOR_FAMILIES: Final = {family.ip: family for family in (ZYNQ_7000, ZYNQ_ULTRASCALE_PLUS)}
