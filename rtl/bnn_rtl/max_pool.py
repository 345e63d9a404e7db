# SPDX-License-Identifier: Apache-2.0
"""Max pooling of bits: the OR of a window's bits, or their AND in some channels."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.memories import grouped, row_integers
from bnn_rtl.banked_memory import BankedMemory
from bnn_rtl.group_memory import group_address, group_memory
from bnn_rtl.lut_rom import read_rom

__all__ = ["MaxPoolUnit"]


class MaxPoolUnit(Component):
    """Reduces `taps` words to one: channels of `and_channels` fire if they do in all of them, others if in any.

    Throughput: a word in a cycle. Latency: 0 cycles from the last of the words to the word that they make.

    i : stream of words of `lanes` channels; all taps of a pixel's first word, then of its next one, as a `SlidingWindow`
        with `words_first` gives them; lanes past the last channel must be 0
    o : stream of words of `lanes` channels, ``ceil(channels/lanes)`` a pixel; lanes past the last channel are 0

    `and_channels`: [channels] bool, or the memory that holds them in two banks.
    """

    def __init__(self, taps: int, lanes: int, and_channels: np.ndarray | BankedMemory) -> None:
        self._taps, self._lanes, self._and_channels = taps, lanes, and_channels
        super().__init__({"i": In(stream.Signature(lanes)), "o": Out(stream.Signature(lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tap = Signal(range(self._taps))
        last = Signal()
        do_take = Signal()
        m.d.comb += [
            last.eq(tap == self._taps - 1),
            self.o.valid.eq(self.i.valid & last),
            self.i.ready.eq(~last | self.o.ready),
            do_take.eq(self.i.valid & self.i.ready),
        ]
        # An AND is the OR of the complements, complemented.
        complement = Signal(self._lanes)
        found = Signal(self._lanes)
        found_now = Signal(self._lanes)
        m.d.comb += [
            complement.eq(self._complement(m, do_take & last)),
            found_now.eq(found | (self.i.payload ^ complement)),
            self.o.payload.eq(found_now ^ complement),
        ]
        with m.If(do_take):
            m.d.sync += [
                tap.eq(Mux(last, 0, tap + 1)),
                found.eq(Mux(last, 0, found_now)),
            ]
        return m

    def _complement(self, m: Module, advance: Value) -> Value:
        """Returns which channels of the present word are ANDed."""
        if isinstance(self._and_channels, BankedMemory):
            groups = self._and_channels.rows
            return read_rom(m, "and_channels", self._and_channels, group_address(m, groups, advance))
        words = row_integers(grouped(self._and_channels, self._lanes, padding=0).astype(bool))
        if len(set(words)) == 1:
            return Value.cast(words[0])
        return group_memory(m, "and_channels", self._lanes, words, advance)
