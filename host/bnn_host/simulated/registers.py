# SPDX-License-Identifier: Apache-2.0
"""Registers that hold the values written to them: the processor's, with which PYNQ sets clocks and port widths.

Addresses and fields are those of the processors' manuals (AMD UG585, UG1085, UG1087).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bnn_hw.contract.system import Segment
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import Board, Processor
from bnn_hw.fpga.processors import ZYNQ_7000

__all__ = ["Clock", "PlainRegisters", "pl_clock", "processor_registers"]

_SLCR: Final = 0xF800_0000  # Zynq-7000
_CRL_APB: Final = 0xFF5E_0000  # Zynq UltraScale+
_CRF_APB: Final = 0xFD1A_0000
_WIDTHS: Final = (0xFD61_5000, 0xFF41_9000, *range(0xFD36_0000, 0xFD3B_0000, 0x1_0000), 0xFF9B_0000)  # of the ports to the PL
_WORD: Final = 0xFFFF_FFFF
_MOST_DIVISOR: Final = 63


class PlainRegisters:
    """Words that read as they were written."""

    def __init__(self, values: Mapping[int, int] = MappingProxyType({})) -> None:
        self._values = dict(values)

    def read(self, offset: int) -> int:
        """Returns a register."""
        return self._values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes a register."""
        self._values[offset] = value & _WORD


@dataclass(frozen=True)
class Clock:
    """How the processor makes the programmable logic's clock: from a PLL by two divisors."""

    multiplier: int
    divisors: tuple[int, int]


def pl_clock(board: Board, processor: Processor) -> Clock:
    """Returns the setting that gives the board's clock.

    Raises `ArtefactError` if no divisors give it.
    """
    pll_mhz, halves = processor.family.pll_mhz, processor.family.pll_halves
    for divisor in range(1, _MOST_DIVISOR + 1):
        if pll_mhz == divisor * board.clock_mhz:
            return Clock(round(pll_mhz * halves / processor.crystal_mhz), (divisor, 1))
    raise ArtefactError(f"clock_mhz of a board with {processor.ip} must divide {pll_mhz}, not {board.clock_mhz}")


def processor_registers(board: Board, processor: Processor) -> list[tuple[Segment, PlainRegisters]]:
    """Returns the processor's registers after its start: their addresses and their values."""
    clock = pl_clock(board, processor)
    first, second = clock.divisors
    if processor.family is ZYNQ_7000:
        pll, pl = clock.multiplier << 12, second << 20 | first << 8
        plls = dict.fromkeys((0x100, 0x104, 0x108), pll)  # ARM, DDR, IO
        clocks = dict.fromkeys((0x170, 0x180, 0x190, 0x1A0), pl)
        return [(Segment(_SLCR, 0x1000), PlainRegisters({**plls, 0x120: 2 << 8, **clocks}))]
    pll, pl = 1 << 16 | clock.multiplier << 8, 1 << 24 | second << 16 | first << 8
    low = {**dict.fromkeys((0x20, 0x30), pll), **dict.fromkeys((0xC0, 0xC4, 0xC8, 0xCC), pl)}  # IOPLL, RPLL; PL clocks
    full = {**dict.fromkeys((0x20, 0x2C, 0x38), pll), 0x60: 1 << 8}  # APLL, DPLL, VPLL; processor
    widths = [(Segment(base, 0x1000), PlainRegisters()) for base in _WIDTHS]
    return [(Segment(_CRL_APB, 0x1000), PlainRegisters(low)), (Segment(_CRF_APB, 0x1000), PlainRegisters(full)), *widths]
