# SPDX-License-Identifier: Apache-2.0
"""The winner among the scores."""

from amaranth.hdl import Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.contract.streams import RESULT_BITS

__all__ = ["Argmax", "result_layout"]


def result_layout() -> data.StructLayout:
    """Returns the layout of a result word: an int32 and whether it ends the image."""
    return data.StructLayout({"value": signed(RESULT_BITS), "last": 1})


class Argmax(Component):
    """Passes the `classes` scores of an image through and appends the index of the greatest; of equals, the lowest.

    Throughput: ``classes + 1`` cycles an image. Latency: 0 cycles for a score.

    i : stream of scores, class 0 first
    o : stream of `result_layout`: the scores, then the class, with `last`
    """

    def __init__(self, score_shape: Shape, classes: int) -> None:
        self._classes = classes
        super().__init__({"i": In(stream.Signature(score_shape)), "o": Out(stream.Signature(result_layout()))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index = Signal(range(self._classes + 1))
        best = Signal(self.i.payload.shape())
        winner = Signal(range(self._classes))
        with m.If(index == self._classes):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.value.eq(winner), self.o.payload.last.eq(1)]
        with m.Else():
            m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.value.eq(self.i.payload), self.i.ready.eq(self.o.ready)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(self.o.payload.last, 0, index + 1))
            with m.If(~self.o.payload.last & ((index == 0) | (self.i.payload > best))):
                m.d.sync += [best.eq(self.i.payload), winner.eq(index)]
        return m
