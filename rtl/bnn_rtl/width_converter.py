# SPDX-License-Identifier: Apache-2.0
"""A stream's words made wider or narrower, vector by vector."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

__all__ = ["WidthConverter"]


class WidthConverter(Component):
    """Turns vectors of `count` elements in words of `lanes_in` into words of `lanes_out`.

    Each vector starts with a word of its own on both sides. Lanes past its end are 0 at the output if they are 0 at
    the input.

    Throughput: a word a cycle on the side that has more words; no bubble between vectors. Latency: 1 cycle after the
    last element of an output word.

    i : stream of words of `lanes_in` elements, lane 0 lowest
    o : stream of words of `lanes_out` elements
    """

    def __init__(self, element_bits: int, count: int, lanes_in: int, lanes_out: int) -> None:
        self._unit = element_bits * gcd(lanes_in, lanes_out)
        self._in, self._out = element_bits * lanes_in // self._unit, element_bits * lanes_out // self._unit
        self._words_in, self._words_out = -(-count // lanes_in), -(-count // lanes_out)
        # Where the last two words of output wait for the last word of input, the next vector comes in behind them.
        before_last = (self._words_out - 1) * lanes_out - 1  # the last element of the last word of output but one
        self._overlaps = lanes_in < lanes_out < count and before_last // lanes_in == self._words_in - 1
        super().__init__(
            {
                "i": In(stream.Signature(element_bits * lanes_in)),
                "o": Out(stream.Signature(element_bits * lanes_out)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        capacity = self._in + self._out - (not self._overlaps)  # in units of the greatest common divisor
        held = [Signal(self._unit, name=f"held{place}") for place in range(capacity)]
        fill = Signal(range(capacity + 1))
        word_in = Signal(range(self._words_in))
        word_out = Signal(range(self._words_out))
        whole = Signal()  # all of the present vector has come in
        last_in = Signal()
        last_out = Signal()
        do_in = Signal()
        do_out = Signal()
        m.d.comb += [
            last_in.eq(word_in == self._words_in - 1),
            last_out.eq(word_out == self._words_out - 1),
            do_in.eq(self.i.valid & self.i.ready),
            do_out.eq(self.o.valid & self.o.ready),
            self.o.valid.eq((fill >= self._out) | whole),
            self.o.payload.eq(Cat(held[: self._out])),
        ]
        # The units that stay once this cycle's output word is gone; after the last word of a vector none does, or what has
        # come of the next vector, behind the place of that word.
        rest = Signal.like(fill)
        m.d.comb += rest.eq(fill)
        with m.If(do_out):
            m.d.comb += rest.eq(fill - self._out)
            with m.If(last_out & whole):
                m.d.comb += rest.eq(0)
        room = (rest + self._in < self._in + self._out) & ~whole
        m.d.comb += self.i.ready.eq(room | (do_out & last_out))
        if self._overlaps:
            with m.If(do_out & whole & (word_out == self._words_out - 2)):
                m.d.comb += [self.i.ready.eq(1), rest.eq(self._out)]

        m.d.sync += fill.eq(rest)
        with m.If(do_out):
            m.d.sync += word_out.eq(Mux(last_out, 0, word_out + 1))
            with m.If(last_out):
                m.d.sync += whole.eq(0)
        with m.If(do_in):
            m.d.sync += [word_in.eq(Mux(last_in, 0, word_in + 1)), fill.eq(rest + self._in), whole.eq(last_in)]
        self._move(m, held, rest, do_in, do_out, last_out & whole)
        return m

    def _move(self, m: Module, held: list[Signal], rest: Signal, do_in: Signal, do_out: Signal, done: Value) -> None:
        """Moves the units that are held down by a word of output, and takes a word of input behind those that stay."""
        with m.If(do_out):
            m.d.sync += [unit.eq(after) for unit, after in zip(held, held[self._out :], strict=False)]
            if self._words_out * self._out > self._words_in * self._in:  # zeros end the last word of output
                m.d.sync += [unit.eq(0) for unit in held[-self._out :]]
                with m.If(done):  # the next word of input takes the lowest places
                    m.d.sync += [unit.eq(0) for unit in held[self._in :]]
        with m.If(do_in):
            for place in range(len(held) - self._in + 1):
                taken = self.i.payload.word_select
                with m.If(rest == place):
                    m.d.sync += [held[place + index].eq(taken(index, self._unit)) for index in range(self._in)]
