# SPDX-License-Identifier: Apache-2.0
"""The hardware handoff of a build's block design, as far as PYNQ reads it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bnn_host.simulated.registers import pl_clock
from bnn_hw.boards import Board, Processor
from bnn_hw.registers import DIGEST_WORDS, Register
from bnn_hw.stage import STREAM_BITS
from bnn_hw.system import ACCELERATOR, ACCELERATOR_VLNV, DMA, DMA_LENGTH_BITS, DMA_VLNV, Segment, block_design

__all__ = ["PROCESSING_SYSTEM", "hwh"]

PROCESSING_SYSTEM = "processing_system"
_CHANNELS = {"MM2S": 0x00, "S2MM": 0x30}
_DMA_REGISTERS = {"DMACR": 0x00, "DMASR": 0x04, "ADDRESS": 0x18, "ADDRESS_MSB": 0x1C, "LENGTH": 0x28}
_MEMORY_BITS = 64  # of a word on the DMA's side to memory
_VERSIONS = {"processing_system7": "5.5", "zynq_ultra_ps_e": "3.5"}
_MASTERS = {"processing_system7": "M_AXI_GP0", "zynq_ultra_ps_e": "M_AXI_HPM0_FPD"}


@dataclass(frozen=True)
class _Slave:
    """A module whose registers the processor sees through the bus `bus`."""

    instance: str
    vlnv: str
    bus: str
    segment: Segment
    registers: Mapping[str, int]  # by name, the offset
    parameters: Mapping[str, object]


def hwh(board: Board, processor: Processor, address_bits: int) -> str:
    """Returns the .hwh of the block design around an accelerator with `address_bits` of addresses."""
    # The interrupt controller is left out: PYNQ.remote has no interrupts, and warns of each line that it finds.
    system = block_design(board, address_bits)
    accelerator = _Slave(ACCELERATOR, ACCELERATOR_VLNV, "s_axi", system.accelerator, _accelerator_registers(), {})
    dma = _Slave(DMA, DMA_VLNV, "S_AXI_LITE", system.dma, _dma_registers(), _dma_parameters())
    root = Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="Thu Jan  1 00:00:00 1970", VIVADOVERSION="simulated")
    SubElement(root, "SYSTEMINFO", ARCH="zynq", NAME="system", DEVICE=board.part)
    SubElement(root, "EXTERNALPORTS")
    SubElement(root, "EXTERNALINTERFACES")
    modules = SubElement(root, "MODULES")
    _processor(modules, board, processor, (accelerator, dma))
    for slave in (accelerator, dma):
        _slave(modules, slave)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "unicode") + "\n"


def _accelerator_registers() -> dict[str, int]:
    digests = (Register.DIGEST, Register.PLAN_DIGEST, Register.NEXT_DIGEST)
    words = {f"{digest.name}_{word}": digest + 4 * word for digest in digests for word in range(DIGEST_WORDS)}
    return {**{register.name: int(register) for register in Register if register not in digests}, **words}


def _dma_registers() -> dict[str, int]:
    registers = {
        f"{channel}_{name}": base + offset for channel, base in _CHANNELS.items() for name, offset in _DMA_REGISTERS.items()
    }
    # PG021 calls them source and destination address.
    names = {"MM2S_ADDRESS": "MM2S_SA", "S2MM_ADDRESS": "S2MM_DA"}
    return {next((name.replace(a, b) for a, b in names.items() if a in name), name): at for name, at in registers.items()}


def _dma_parameters() -> dict[str, object]:
    return {
        "c_include_sg": 0,
        "c_micro_dma": 0,
        "c_sg_length_width": DMA_LENGTH_BITS,
        "c_include_mm2s": 1,
        "c_include_mm2s_dre": 0,
        "c_include_s2mm": 1,
        "c_include_s2mm_dre": 0,
        "c_m_axi_mm2s_data_width": _MEMORY_BITS,
        "c_m_axi_s2mm_data_width": _MEMORY_BITS,
        "c_m_axis_mm2s_tdata_width": STREAM_BITS,
        "c_s_axis_s2mm_tdata_width": 32,
    }


def _processor_parameters(board: Board, processor: Processor) -> dict[str, object]:
    """Returns the parameters of the clocks, of which the first runs at the board's clock and the others are off."""
    parameters: dict[str, object] = {}
    divisors = pl_clock(board, processor).divisors
    for index in range(4):
        if processor.ip == "processing_system7":
            prefix, divisor = f"PCW_FCLK{index}_PERIPHERAL_", "DIVISOR"
            parameters[f"PCW_FPGA_FCLK{index}_ENABLE"] = int(index == 0)
            parameters[f"{prefix}CLKSRC"] = "IO PLL"
        else:
            prefix, divisor = f"PSU__CRL_APB__PL{index}_REF_CTRL__", "DIVISOR"
            parameters[f"PSU__FPGA_PL{index}_ENABLE"] = int(index == 0)
            parameters[f"{prefix}SRCSEL"] = "IOPLL"
        parameters |= {f"{prefix}{divisor}{which}": value for which, value in enumerate(divisors)}
        # pynq 4.0.0 looks for the achieved clock of a Zynq-7000 under this name too.
        parameters[f"PSU__CRL_APB__PL{index}_REF_CTRL__ACT_FREQMHZ"] = float(board.clock_mhz)
    return parameters


def _processor(modules: Element, board: Board, processor: Processor, slaves: Iterable[_Slave]) -> None:
    vlnv = f"xilinx.com:ip:{processor.ip}:{_VERSIONS[processor.ip]}"
    module = _module(modules, PROCESSING_SYSTEM, vlnv, _processor_parameters(board, processor))
    master = _MASTERS[processor.ip]
    _bus(module, master, "MASTER")
    memory_map = SubElement(module, "MEMORYMAP")
    for slave in slaves:
        base, high = slave.segment.base, slave.segment.base + slave.segment.size - 1
        SubElement(
            memory_map,
            "MEMRANGE",
            ADDRESSBLOCK="reg0",
            BASEVALUE=f"{base:#010X}".replace("X", "x"),
            HIGHVALUE=f"{high:#010X}".replace("X", "x"),
            INSTANCE=slave.instance,
            MASTERBUSINTERFACE=master,
            MEMTYPE="REGISTER",
            SLAVEBUSINTERFACE=slave.bus,
        )


def _slave(modules: Element, slave: _Slave) -> None:
    module = _module(modules, slave.instance, slave.vlnv, slave.parameters)
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(blocks, "ADDRESSBLOCK", INTERFACE=slave.bus, NAME="reg0", USAGE="register", RANGE=str(slave.segment.size))
    registers = SubElement(block, "REGISTERS")
    for name, offset in slave.registers.items():
        register = SubElement(registers, "REGISTER", NAME=name)
        for key, value in (("DESCRIPTION", name), ("ADDRESS_OFFSET", hex(offset)), ("SIZE", "32"), ("ACCESS", "read-write")):
            SubElement(register, "PROPERTY", NAME=key, VALUE=value)
        SubElement(register, "PROPERTY", NAME="IS_ENABLED", VALUE="true")
        SubElement(register, "FIELDS")
    _bus(module, slave.bus, "SLAVE")


def _module(modules: Element, instance: str, vlnv: str, parameters: Mapping[str, object]) -> Element:
    name, version = vlnv.split(":")[2:]
    attributes = {"FULLNAME": f"/{instance}", "INSTANCE": instance, "MODTYPE": name, "HWVERSION": version, "VLNV": vlnv}
    module = SubElement(modules, "MODULE", attributes)
    listed = SubElement(module, "PARAMETERS")
    for key, value in parameters.items():
        SubElement(listed, "PARAMETER", NAME=key, VALUE=str(value))
    SubElement(module, "PORTS")
    SubElement(module, "BUSINTERFACES")
    return module


def _bus(module: Element, name: str, kind: str) -> None:
    buses = module.find("BUSINTERFACES")
    assert buses is not None
    SubElement(buses, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV="xilinx.com:interface:aximm:1.0", BUSNAME=name)
