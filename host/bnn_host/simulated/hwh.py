# SPDX-License-Identifier: Apache-2.0
"""The hardware handoff of a build's block design, as far as PYNQ reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bnn_host.simulated.axi_dma import S2MM, DmaRegister
from bnn_host.simulated.registers import pl_clock
from bnn_hw.contract.registers import DIGEST_WORDS, Register
from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.contract.system import (
    ACCELERATOR,
    DMA,
    DMA_LENGTH_BITS,
    DMA_VLNV,
    INTERRUPTS,
    Segment,
    System,
    accelerator_vlnv,
    block_design,
)
from bnn_hw.fpga.boards import Board, Processor
from bnn_hw.fpga.processors import ZYNQ_ULTRASCALE_PLUS

__all__ = ["hwh"]

_PROCESSOR, _CONCAT = "processor", "concat"  # instances
_MEMORY_BITS: Final = 64  # of a word on the DMA's side to memory
_NOWHERE: Final = Segment(0, 0)


@dataclass(frozen=True)
class _Module:
    """An instance of an IP: its interface to the processor through the bus `bus`, and its wires.

    `wires` gives for each port its direction, and the instance and port at its other end.
    """

    instance: str
    vlnv: str
    bus: str = ""
    segment: Segment = _NOWHERE
    registers: Mapping[str, int] = field(default_factory=dict)  # by name, the offset
    parameters: Mapping[str, object] = field(default_factory=dict)
    wires: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def hwh(board: Board, processor: Processor, top: str, address_bits: int) -> str:
    """Returns the .hwh of the block design around the accelerator `top` with `address_bits` of addresses."""
    slaves = _slaves(top, block_design(board, address_bits), processor.family.interrupt_pin)
    root = Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="Thu Jan  1 00:00:00 1970", VIVADOVERSION="simulated")
    SubElement(root, "SYSTEMINFO", ARCH="zynq", NAME="system", DEVICE=board.part)
    SubElement(root, "EXTERNALPORTS")
    SubElement(root, "EXTERNALINTERFACES")
    modules = SubElement(root, "MODULES")
    _processor(modules, board, processor, slaves)
    for slave in slaves:
        _slave(modules, slave)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "unicode") + "\n"


def _slaves(top: str, system: System, interrupt_pin: str) -> tuple[_Module, ...]:
    """Returns all but the processor."""
    return (
        _Module(ACCELERATOR, accelerator_vlnv(top), "s_axi", system.accelerator, _accelerator_registers()),
        _Module(
            DMA,
            DMA_VLNV,
            "S_AXI_LITE",
            system.dma,
            _dma_registers(),
            _dma_parameters(),
            {"mm2s_introut": ("O", _CONCAT, "In0"), "s2mm_introut": ("O", _CONCAT, "In1")},
        ),
        _Module(
            INTERRUPTS,
            "xilinx.com:ip:axi_intc:4.1",
            "s_axi",
            system.interrupts,
            wires={"intr": ("I", _CONCAT, "dout"), "irq": ("O", _PROCESSOR, interrupt_pin)},
        ),
        _Module(
            _CONCAT,
            "xilinx.com:ip:xlconcat:2.1",
            wires={"In0": ("I", DMA, "mm2s_introut"), "In1": ("I", DMA, "s2mm_introut"), "dout": ("O", INTERRUPTS, "intr")},
        ),
    )


def _accelerator_registers() -> dict[str, int]:
    digests = (Register.DIGEST, Register.PLAN_DIGEST, Register.NEXT_DIGEST)
    words = {f"{digest.name}_{word}": digest + 4 * word for digest in digests for word in range(DIGEST_WORDS)}
    return {**{register.name: int(register) for register in Register if register not in digests}, **words}


def _dma_registers() -> dict[str, int]:
    """Returns the registers by PG021's names."""
    names = {DmaRegister.CONTROL: "DMACR", DmaRegister.STATUS: "DMASR", DmaRegister.LENGTH: "LENGTH"}
    registers: dict[str, int] = {}
    for channel, base, address in (("MM2S", 0, "SA"), ("S2MM", S2MM, "DA")):
        own = {**names, DmaRegister.ADDRESS: address, DmaRegister.ADDRESS_MSB: f"{address}_MSB"}
        registers |= {f"{channel}_{name}": base + register for register, name in own.items()}
    return registers


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
    """Returns the parameters of the clocks: the first runs at the board's clock, the others are off."""
    parameters: dict[str, object] = {}
    family, divisors = processor.family, pl_clock(board, processor).divisors
    source, pll = family.clock_source
    for index in range(4):
        prefix = family.clock_prefix.format(index=index)
        parameters |= {family.clock_enable.format(index=index): int(index == 0), f"{prefix}{source}": pll}
        parameters |= {f"{prefix}DIVISOR{which}": value for which, value in enumerate(divisors)}
        # pynq 4.0.0 looks for the actual clock under this name on a Zynq-7000 too.
        parameters[f"{ZYNQ_ULTRASCALE_PLUS.clock_prefix.format(index=index)}ACT_FREQMHZ"] = float(board.clock_mhz)
    return parameters


def _processor(modules: Element, board: Board, processor: Processor, slaves: Sequence[_Module]) -> None:
    family = processor.family
    vlnv = f"xilinx.com:ip:{family.ip}:{family.ip_version}"
    wires = {family.interrupt_pin: ("I", INTERRUPTS, "irq")}
    module = _module(modules, _Module(_PROCESSOR, vlnv, parameters=_processor_parameters(board, processor), wires=wires))
    master = family.registers_port
    _bus(module, master, "MASTER")
    memory_map = SubElement(module, "MEMORYMAP")
    for slave in slaves:
        if slave.bus:
            base, size = slave.segment.base, slave.segment.size
            bounds = {"BASEVALUE": f"0x{base:08X}", "HIGHVALUE": f"0x{base + size - 1:08X}"}
            names = {"INSTANCE": slave.instance, "MASTERBUSINTERFACE": master, "SLAVEBUSINTERFACE": slave.bus}
            SubElement(memory_map, "MEMRANGE", {"ADDRESSBLOCK": "reg0", "MEMTYPE": "REGISTER", **bounds, **names})


def _slave(modules: Element, slave: _Module) -> None:
    module = _module(modules, slave)
    if not slave.bus:
        return
    _bus(module, slave.bus, "SLAVE")
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(blocks, "ADDRESSBLOCK", INTERFACE=slave.bus, NAME="reg0", USAGE="register", RANGE=str(slave.segment.size))
    registers = SubElement(block, "REGISTERS")
    for name, offset in slave.registers.items():
        register = SubElement(registers, "REGISTER", NAME=name)
        for key, value in (("DESCRIPTION", name), ("ADDRESS_OFFSET", hex(offset)), ("SIZE", "32"), ("ACCESS", "read-write")):
            SubElement(register, "PROPERTY", NAME=key, VALUE=value)
        SubElement(register, "PROPERTY", NAME="IS_ENABLED", VALUE="true")


def _module(modules: Element, module: _Module) -> Element:
    """Adds a module with its parameters and wires."""
    name, version = module.vlnv.split(":")[2:]
    names = {"FULLNAME": f"/{module.instance}", "INSTANCE": module.instance, "MODTYPE": name}
    element = SubElement(modules, "MODULE", {**names, "HWVERSION": version, "VLNV": module.vlnv})
    parameters = SubElement(element, "PARAMETERS")
    for key, value in module.parameters.items():
        SubElement(parameters, "PARAMETER", NAME=key, VALUE=str(value))
    ports = SubElement(element, "PORTS")
    for port, (direction, other, other_port) in module.wires.items():
        connections = SubElement(SubElement(ports, "PORT", DIR=direction, NAME=port), "CONNECTIONS")
        SubElement(connections, "CONNECTION", INSTANCE=other, PORT=other_port)
    SubElement(element, "BUSINTERFACES")
    return element


def _bus(module: Element, name: str, kind: str) -> None:
    buses = module.find("BUSINTERFACES")
    assert buses is not None
    SubElement(buses, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV="xilinx.com:interface:aximm:1.0", BUSNAME=name)
