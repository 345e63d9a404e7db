# SPDX-License-Identifier: Apache-2.0
"""The top of an FPGA whose board has a serial line: the UART shell at the accelerator's clock."""

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.lower import Design
from bnn_hw.fpga.boards import Board, Serial
from bnn_hw.fpga.serial_clock import board_pll
from bnn_rtl.emit import Part
from bnn_rtl.uart_shell import UartShell

__all__ = ["UartBoard"]


class UartBoard(Component):
    """The UART shell, on the board's oscillator or, where the accelerator has another clock, behind a PLL.

    The clock that a PLL gives is held back until it has locked, since the shell has no reset.

    clk    : the board's oscillator
    rx, tx : the serial line
    """

    def __init__(self, design: Design, board: Board, serial: Serial) -> None:
        self._board, self._serial = board, serial
        self._shell = UartShell(design, clock_hz=board.clock_mhz * 1_000_000, baud=serial.baud)
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1)})

    @property
    def parts(self) -> list[Part]:
        """The components that the layers hold instances of, and whose Verilog is emitted beside the shell's."""
        return [*self._shell.parts]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.shell = shell = self._shell
        m.d.comb += [shell.rx.eq(self.rx), self.tx.eq(shell.tx)]
        dividers = board_pll(self._board, self._serial)
        if dividers is None:
            m.d.comb += shell.clk.eq(self.clk)
        else:
            self._ecp5_pll(m, *dividers)
        return m

    def _ecp5_pll(self, m: Module, reference: int, feedback: int, output: int) -> None:
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=reference,
            p_CLKFB_DIV=feedback,
            p_CLKOP_DIV=output,
            p_CLKOP_CPHASE=output - 1,  # as a PLL without a shift has it
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            a_FREQUENCY_PIN_CLKI=str(self._serial.oscillator_mhz),
            a_FREQUENCY_PIN_CLKOP=str(self._board.clock_mhz),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=self.clk,
            i_CLKFB=clock,
            i_RST=0,
            i_STDBY=0,
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=locked, o_CLKO=self._shell.clk)
