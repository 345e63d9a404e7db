# SPDX-License-Identifier: Apache-2.0
"""The UART shell: the accelerator behind a serial port, for boards without a processor."""

from amaranth.hdl import ClockDomain, Module, Mux
from amaranth.lib import stream
from amaranth.lib.crc.catalog import CRC16_XMODEM
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.contract.frames import Identity, silence_bits
from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.design.lower import Design
from bnn_hw.fpga.serial_clock import baud_divisor
from bnn_rtl.accelerator import Accelerator
from bnn_rtl.argmax import result_layout
from bnn_rtl.emit import Part
from bnn_rtl.uart import UartReceiver, UartTransmitter
from bnn_rtl.uart_frames import AnswerSender, RequestReceiver

__all__ = ["UartFrames", "UartShell"]


class UartFrames(Component):
    """All of the shell but the accelerator: requests from a line, answers to it, one at a time.

    rx, tx  : the lines
    o       : stream of words of images
    results : stream of `result_layout`
    """

    def __init__(self, identity: Identity, divisor: int, silence: int) -> None:
        self._identity, self._divisor, self._silence = identity, divisor, silence
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1),
                "o": Out(stream.Signature(STREAM_BITS)),
                "results": In(stream.Signature(result_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_receiver = uart_receiver = UartReceiver(self._divisor)
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(self._divisor)
        m.submodules.receiver = receiver = RequestReceiver(self._identity, self._silence)
        m.submodules.sender = sender = AnswerSender(self._identity)
        # One CRC for both, since a request is over when its answer begins, and the next begins when that is over.
        m.submodules.frame_crc = crc = CRC16_XMODEM(data_width=8).create()
        m.d.comb += [
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
            receiver.tick.eq(uart_receiver.tick),
            crc.start.eq(receiver.crc_start | sender.crc_start),
            crc.valid.eq(receiver.crc_valid | sender.crc_valid),
            crc.data.eq(Mux(receiver.request.valid, sender.o.payload, receiver.i.payload.byte)),
            receiver.crc.eq(crc.crc),
            sender.crc.eq(crc.crc),
        ]
        connect(m, uart_receiver.o, receiver.i)
        connect(m, receiver.request, sender.request)
        connect(m, sender.o, uart_transmitter.i)
        connect(m, receiver.o, flipped(self.o))
        connect(m, flipped(self.results), sender.results)
        return m


class UartShell(Component):
    """The accelerator behind a serial port: a frame with an image in, a frame with its scores and class out.

    clk : the clock
    rx  : from the host, 8 data bits, no parity, 1 stop bit
    tx  : to the host

    There is no reset: registers start from their initial values, and no frame can leave the shell waiting for ever. The
    frames are those of `bnn_hw.contract.frames`. Raises `UsageError` where the clock does not give the baud rate.

    Throughput: an image in the time that its request and answer take on the line, and that the accelerator takes.
    """

    def __init__(self, design: Design, *, clock_hz: int, baud: int) -> None:
        identity, divisor = Identity.of(design.network), baud_divisor(clock_hz, baud)  # first, as it may raise
        self._frames = UartFrames(identity, divisor, silence_bits(baud))
        self._accelerator = Accelerator(design)
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1)})

    @property
    def parts(self) -> list[Part]:
        """The components that the layers hold instances of, and whose Verilog is emitted beside the shell's."""
        return [*self._accelerator.parts]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.submodules.accelerator = self._accelerator
        m.submodules.frames = self._frames
        m.d.comb += [
            domain.clk.eq(self.clk),
            domain.rst.eq(0),
            self._frames.rx.eq(self.rx),
            self.tx.eq(self._frames.tx),
        ]
        connect(m, self._frames.o, self._accelerator.i)
        connect(m, self._accelerator.o, self._frames.results)
        return m
