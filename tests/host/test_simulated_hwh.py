# SPDX-License-Identifier: Apache-2.0
"""The generated hardware handoff and bitstream, as pynq's own parsers read them, for every board with a processor."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from bnn_host.simulated.bitfile import bin_content, bit_file
from bnn_host.simulated.files import BoardFiles
from bnn_host.simulated.hwh import hwh
from bnn_host.simulated.registers import processor_registers
from bnn_hw.contract.registers import DIGEST_WORDS, Register
from bnn_hw.contract.system import DMA_VLNV, block_design
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import BOARDS, Board, Processor
from support.simulated_board import needs_pynq

WITH_PROCESSOR = [board for board in BOARDS.values() if board.processor]


def processor(board: Board) -> Processor:
    assert board.processor is not None
    return board.processor


def parsed(board: Board, address_bits: int, folder: Path) -> Any:
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime import RuntimeMetadataParser

    path = folder / "design.hwh"
    path.write_text(hwh(board, processor(board), "small_0123abcd", address_bits))
    return RuntimeMetadataParser(Metadata(input=str(path)))


@needs_pynq
@pytest.mark.parametrize("address_bits", [8, 20])
@pytest.mark.parametrize("board", WITH_PROCESSOR, ids=lambda board: board.name)
def test_what_pynq_reads(board: Board, address_bits: int, tmp_path: Path) -> None:
    parser, system = parsed(board, address_bits, tmp_path), block_design(board, address_bits)
    assert parser.family_ps == processor(board).ip
    ips = {name: ip for name, ip in parser.ip_dict.items() if name != parser.ps_name}
    assert {name: (ip["type"], ip["phys_addr"], ip["addr_range"]) for name, ip in ips.items()} == {
        "accelerator": ("bnn_hw:ip:small_0123abcd:1.0", system.accelerator.base, system.accelerator.size),
        "dma": (DMA_VLNV, system.dma.base, system.dma.size),
        "interrupts": ("xilinx.com:ip:axi_intc:4.1", system.interrupts.base, system.interrupts.size),
    }
    assert parser.ip_dict["accelerator"]["registers"]["IMAGES_OUT"]["address_offset"] == Register.IMAGES_OUT
    assert parser.ip_dict["accelerator"]["registers"]["PLAN_DIGEST_7"]["address_offset"] == 0x60 + 4 * (DIGEST_WORDS - 1)
    offsets = {name: register["address_offset"] for name, register in ips["dma"]["registers"].items()}
    assert (offsets["MM2S_SA"], offsets["S2MM_DMASR"], offsets["S2MM_DA_MSB"], offsets["S2MM_LENGTH"]) == (0x18, 0x34, 0x4C, 0x58)
    assert int(ips["dma"]["parameters"]["c_sg_length_width"]) == 26
    assert parser.interrupt_controllers["interrupts"]["parent"] == ""
    pins = {name: (pin["controller"], pin["index"]) for name, pin in parser.interrupt_pins.items() if name.startswith("dma/")}
    assert pins == {"dma/mm2s_introut": ("interrupts", 0), "dma/s2mm_introut": ("interrupts", 1)}


@needs_pynq
@pytest.mark.parametrize("board", WITH_PROCESSOR, ids=lambda board: board.name)
def test_clocks(board: Board, tmp_path: Path) -> None:
    """The handoff's clock and the processor's registers both give the board's, by pynq's own reckoning."""
    clocks = parsed(board, 8, tmp_path).clock_dict
    assert [clock["enable"] for clock in clocks.values()] == [1, 0, 0, 0]
    assert clocks[0]["frequency"] == board.clock_mhz
    registers = {segment.base: plain for segment, plain in processor_registers(board, processor(board))}
    if processor(board).ip == "processing_system7":
        pll, control = registers[0xF800_0000].read(0x108), registers[0xF800_0000].read(0x170)
        pll_mhz, divisors = processor(board).crystal_mhz * (pll >> 12 & 127), (control >> 8 & 63, control >> 20 & 63)
    else:
        pll, control = registers[0xFF5E_0000].read(0x20), registers[0xFF5E_0000].read(0xC0)
        pll_mhz = processor(board).crystal_mhz * (pll >> 8 & 127) / (1 + (pll >> 16 & 1))
        divisors = control >> 8 & 63, control >> 16 & 63
    assert pll_mhz / divisors[0] / divisors[1] == pytest.approx(board.clock_mhz, rel=1e-4)
    assert (clocks[0]["divisor0"], clocks[0]["divisor1"]) == divisors


@needs_pynq
def test_a_bitstream_is_read_as_pynq_reads_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pynq.pl_server.embedded_device import bit2bin, parse_bit_header
    path, content = tmp_path / "x.bit", bytes(range(64))
    path.write_bytes(bit_file("design", "xc7z020clg400-1", content))
    header = parse_bit_header(path.read_bytes())
    assert (header["design"], header["part"], header["data"]) == ("design", "xc7z020clg400-1", content)
    assert bin_content(path) == bit2bin(path.read_bytes())


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, bit_file("d", "p", bytes(8))[:-1], bit_file("d", "p", bytes(8)) + b"\0"])
def test_no_bitstream(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.bit"
    path.write_bytes(damage)
    expected = rf"^{re.escape(str(path))} must be a \.bit file of Vivado's, whole; make it again with `bnn_hw bitstream`$"
    with pytest.raises(ArtefactError, match=expected):
        bin_content(path)


def test_files() -> None:
    configured = []
    files = BoardFiles(processor(BOARDS["kv260"]), configured.append)
    assert b"aarch64" in files.read("/proc/version")
    assert files.read("/proc/device-tree/chosen/pynq_board") == b"KV260\0"
    assert files.exists("/proc")
    assert not files.exists("/lib/firmware/x.bin")
    files.write("/lib/firmware/x.bin", b"one")
    assert files.exists("/lib/firmware/x.bin")
    files.write("/sys/class/fpga_manager/fpga0/firmware", b"x.bin\n")
    assert configured == [b"one"]
    assert files.read("/sys/class/fpga_manager/fpga0/state") == b"operating\n"
    with pytest.raises(FileNotFoundError, match=r"^/lib/firmware has no x\.bin$"):  # so the next client sends its own
        files.write("/sys/class/fpga_manager/fpga0/firmware", b"x.bin")
    with pytest.raises(FileNotFoundError, match=r"^/etc/passwd is not on the simulated board$"):
        files.read("/etc/passwd")
    for path in ("/etc/passwd", "/lib/firmware/../../etc/passwd", "/proc/version"):
        with pytest.raises(PermissionError, match=rf"^{path} cannot be written on the simulated board$"):
            files.write(path, b"")
    assert not BoardFiles(processor(BOARDS["zc706"]), configured.append).exists("/proc/device-tree/chosen/pynq_board")
