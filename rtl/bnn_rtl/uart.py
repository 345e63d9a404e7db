# SPDX-License-Identifier: Apache-2.0
"""Bytes on a serial line: 8 data bits, no parity, 1 stop bit."""

from typing import Final

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

__all__ = ["UartReceiver", "UartTransmitter", "received_layout"]

_FRAME_BITS: Final = 10  # start bit, data, stop bit


def received_layout() -> data.StructLayout:
    """Returns the layout of a received byte: what it is, and whether its stop bit was 0."""
    return data.StructLayout({"byte": 8, "framing_error": 1})


class UartReceiver(Component):
    """Takes bytes from a line, lowest bit first, each bit sampled once in its middle.

    A start bit that is gone by its middle is a spike and is ignored; a line that stays low is one byte with a framing
    error, whatever the time. Its own clock's error and the other side's may come to ``(1/2 - 1/divisor) / 9.5`` of a bit
    time. Registers start as 0, which stands for a line that is high.

    Latency: 2 cycles of synchronizer, and the byte is there in the middle of its stop bit.

    rx   : the line, of any clock
    o    : stream of `received_layout`, which waits for nobody
    tick : high for one cycle a bit time, to measure silence with
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"rx": In(1), "o": Out(stream.Signature(received_layout(), always_ready=True)), "tick": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = Signal()
        before = Signal()
        m.submodules.synchronizer = FFSynchronizer(~self.rx, low)
        timer = Signal(range(self._divisor))
        bits = Signal(range(_FRAME_BITS + 1))  # that are still to come, 0 between bytes
        held = Signal(8)
        m.d.comb += [
            self.tick.eq(timer == 0),
            self.o.valid.eq(self.tick & (bits == 1)),
            self.o.payload.byte.eq(held),
            self.o.payload.framing_error.eq(low),
        ]
        m.d.sync += [before.eq(low), timer.eq(Mux(self.tick, self._divisor - 1, timer - 1))]
        with m.If(bits == 0), m.If(low & ~before):
            m.d.sync += [timer.eq(self._divisor // 2 - 1), bits.eq(_FRAME_BITS)]
        with m.Elif(self.tick):
            spike = (bits == _FRAME_BITS) & ~low
            m.d.sync += bits.eq(Mux(spike, 0, bits - 1))
            with m.If(bits != 1):
                m.d.sync += held.eq(Cat(held[1:], ~low))
        return m


class UartTransmitter(Component):
    """Puts bytes on a line, lowest bit first.

    Throughput: a byte in ``10 * divisor + 1`` cycles. Registers start as 0, which stands for a line that is high.

    i  : stream of bytes
    tx : the line
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self._divisor))
        bits = Signal(range(_FRAME_BITS + 1))  # that are still on their way, 0 between bytes
        low = Signal(_FRAME_BITS - 1)  # of the bits to come, which are low; the stop bit follows as what is shifted in
        m.d.comb += [self.tx.eq(~low[0]), self.i.ready.eq(bits == 0)]
        with m.If(bits == 0), m.If(self.i.valid):
            m.d.sync += [low.eq(Cat(Const(1), ~self.i.payload)), bits.eq(_FRAME_BITS), timer.eq(self._divisor - 1)]
        with m.Elif(timer == 0):
            m.d.sync += [low.eq(low >> 1), bits.eq(bits - 1), timer.eq(self._divisor - 1)]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
