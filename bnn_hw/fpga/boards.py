# SPDX-License-Identifier: Apache-2.0
"""The boards: one entry each."""

from dataclasses import dataclass
from typing import Final

from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.family import ECP5, GOWIN, ICE40, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.fpga.processors import PROCESSOR_FAMILIES, ZYNQ_7000, ZYNQ_ULTRASCALE_PLUS, ProcessorFamily

__all__ = ["BOARDS", "Board", "Processor", "Serial", "find_board", "needed_processor"]


_MOST_LEVELS: Final = 8


@dataclass(frozen=True)
class Serial:
    """A board's oscillator, and the serial line to its USB bridge: the pins of the FPGA."""

    clk: str
    rx: str  # from the bridge
    tx: str
    oscillator_mhz: int
    baud: int


@dataclass(frozen=True)
class Processor:
    """A board's processing system, as the block design has it, and what PYNQ calls the board."""

    ip: str  # in Vivado's catalogue
    pynq_name: str  # that /proc/device-tree/chosen/pynq_board holds on PYNQ's images; empty where there is no image
    ddr_bytes: int  # of memory that the DMA reaches, from address 0
    crystal_mhz: float  # of the reference clock
    registers_base: int  # where the processor sees the programmable logic

    @property
    def family(self) -> ProcessorFamily:
        """The family of the processing system."""
        return PROCESSOR_FAMILIES[self.ip]


@dataclass(frozen=True)
class Board:
    """A board with its FPGA and what that holds (AMD data sheets DS190, DS891, DS987; Lattice FPGA-DS-02012 and
    FPGA-DS-02008; Gowin DS117).

    A board with a processor takes the AXI shell and a block design around it; one without has a serial line, and its FPGA is
    known to nextpnr.
    """

    name: str
    part: str
    family: Family
    clock_mhz: int  # that the accelerator runs at
    luts: int
    block_rams: int
    dsps: int
    lut_ram: int = 0  # of the look-up tables, those that can be written to; 0 where run-time weights are not for the board
    processor: Processor | None = None
    serial: Serial | None = None
    device: str = ""  # what nextpnr calls the FPGA and its package
    package: str = ""

    @property
    def levels(self) -> int:
        """The most levels of logic between two registers, for the clock."""
        return min(max(2, int(1000 / self.clock_mhz / self.family.level_ns)), _MOST_LEVELS)


def _zynq(pynq_name: str, ddr_mib: int, crystal_mhz: float) -> Processor:
    return Processor(ZYNQ_7000.ip, pynq_name, ddr_mib << 20, crystal_mhz, ZYNQ_7000.registers_base)


def _ultrascale(pynq_name: str) -> Processor:
    return Processor(ZYNQ_ULTRASCALE_PLUS.ip, pynq_name, 2 << 30, 100 / 3, ZYNQ_ULTRASCALE_PLUS.registers_base)


# Pins: ULX3S v2.0 and later (github.com/emard/ulx3s, ulx3s_v20.lpf), iCEbreaker (github.com/YosysHQ/icestorm,
# icebreaker.pcf), Tang Nano 9K (Sipeed's schematic 3672).
BOARDS: Final = {
    board.name: board
    for board in (
        Board(
            "pynq-z1",
            "xc7z020clg400-1",
            SERIES_7,
            100,
            luts=53_200,
            block_rams=140,
            dsps=220,
            lut_ram=17_400,
            processor=_zynq("Pynq-Z1", 512, 50),
        ),
        Board(
            "pynq-z2",
            "xc7z020clg400-1",
            SERIES_7,
            100,
            luts=53_200,
            block_rams=140,
            dsps=220,
            lut_ram=17_400,
            processor=_zynq("Pynq-Z2", 512, 50),
        ),
        Board(
            "zc706",
            "xc7z045ffg900-2",
            SERIES_7,
            200,
            luts=218_600,
            block_rams=545,
            dsps=900,
            lut_ram=70_400,
            processor=_zynq("", 1024, 100 / 3),
        ),
        Board(
            "ultra96-v2",
            "xczu3eg-sbva484-1-i",
            ULTRASCALE_PLUS,
            150,
            luts=70_560,
            block_rams=216,
            dsps=360,
            lut_ram=28_800,
            processor=_ultrascale("Ultra96"),
        ),
        Board(
            "zcu104",
            "xczu7ev-ffvc1156-2-e",
            ULTRASCALE_PLUS,
            200,
            luts=230_400,
            block_rams=312,
            dsps=1_728,
            lut_ram=101_760,
            processor=_ultrascale("ZCU104"),
        ),
        Board(
            "kv260",
            "xck26-sfvc784-2LV-c",
            ULTRASCALE_PLUS,
            200,
            luts=117_120,
            block_rams=144,
            dsps=1_248,
            lut_ram=57_600,
            processor=_ultrascale("KV260"),
        ),
        Board(
            "ulx3s-85f",
            "LFE5U-85F-6BG381C",
            ECP5,
            100,
            luts=83_640,
            block_rams=208,
            dsps=156,
            serial=Serial(clk="G2", rx="M1", tx="L4", oscillator_mhz=25, baud=115_200),
            device="85k",
            package="CABGA381",
        ),
        Board(
            "icebreaker",
            "iCE40UP5K-SG48",
            ICE40,
            12,
            luts=5_280,
            block_rams=30,
            dsps=8,
            serial=Serial(clk="35", rx="6", tx="9", oscillator_mhz=12, baud=115_200),
            device="up5k",
            package="sg48",
        ),
        Board(
            "tangnano9k",
            "GW1NR-LV9QN88PC6/I5",
            GOWIN,
            27,
            luts=8_640,
            block_rams=26,
            dsps=20,
            serial=Serial(clk="52", rx="18", tx="17", oscillator_mhz=27, baud=115_200),
            device="GW1N-9C",
        ),
    )
}


def find_board(name: str) -> Board:
    """Returns the board of that name. Raises `ArtefactError` with the known ones."""
    if name not in BOARDS:
        raise ArtefactError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]


def needed_processor(board: Board, without: str) -> Processor:
    """Returns the board's processor. Raises `ArtefactError` where it has none; `without` says what comes of that."""
    if board.processor is None:
        raise ArtefactError(f"{board.name} has no processor{without}")
    return board.processor
