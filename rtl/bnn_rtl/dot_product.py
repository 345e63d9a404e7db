# SPDX-License-Identifier: Apache-2.0
"""Dot products with binary weights: XNOR and popcount on bits, conditional complement and sum on 8-bit integers."""

from typing import TypeAlias

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from bnn_rtl.adder_tree import AdderTree, sum_shape

__all__ = ["DotProduct", "SignedSum", "XnorPopcount", "ZeroPaddedXnorPopcount", "dot_product"]


class XnorPopcount(Component):
    """``o = popcount(xnor(x, w))``, the matches of `lanes` inputs and weights, one result a cycle.

    Latency: that of the adder tree. A lane that pads holds x = 0 and w = 1, which never match.

    x : [lanes] bits, the inputs
    w : [lanes] bits, the weights
    o : the matches, 0..lanes
    """

    def __init__(self, lanes: int) -> None:
        self.module = f"_xnor_popcount_{lanes}"
        self._tree = AdderTree(unsigned(1), lanes)
        super().__init__({"x": In(lanes), "w": In(lanes), "o": Out(sum_shape(unsigned(1), lanes))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        return self._tree.latency

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of so many results."""
        return sum_shape(unsigned(1), words * len(self.w))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = self._tree
        m.d.comb += [self._tree.i.as_value().eq(~(self.x ^ self.w)), self.o.eq(self._tree.o)]
        return m


class ZeroPaddedXnorPopcount(Component):
    """``o = 2 * popcount(xnor(x, w)) + zeros`` over pixels of `pixel_lanes` inputs, some of which are true zeros.

    A zero stands between +1 and -1, so it is half a match; the result is in halves. One result a cycle. Latency: that of
    the adder trees, one over the lanes of a pixel and, where there are several pixels, one over them. A lane that pads
    holds x = 0 and w = 1, which never match.

    x : [lanes/pixel_lanes] pixels, each its bits and above them a bit that is 1 if all its inputs are zeros
    w : [lanes] bits, the weights
    o : the matches and half matches in halves, 0..2*lanes
    """

    def __init__(self, lanes: int, pixel_lanes: int) -> None:
        assert lanes % pixel_lanes == 0
        self.module = f"_zero_padded_xnor_popcount_{lanes}_{pixel_lanes}"
        self._pixel_lanes = pixel_lanes
        self._counts = [AdderTree(unsigned(1), pixel_lanes) for _ in range(lanes // pixel_lanes)]
        halves = sum_shape(unsigned(2), pixel_lanes)
        self._total = AdderTree(halves, len(self._counts)) if len(self._counts) > 1 else None
        x_bits = len(self._counts) * (pixel_lanes + 1)
        super().__init__({"x": In(x_bits), "w": In(lanes), "o": Out(unsigned((2 * lanes).bit_length()))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        return self._counts[0].latency + (self._total.latency if self._total else 0)

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of so many results."""
        return unsigned((2 * words * len(self.w)).bit_length())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._pixel_lanes
        halves = []
        for index, count in enumerate(self._counts):
            m.submodules[f"count{index}"] = count
            x = self.x[index * (lanes + 1) : (index + 1) * (lanes + 1)]
            m.d.comb += count.i.as_value().eq(~(x[:lanes] ^ self.w[index * lanes : (index + 1) * lanes]))
            zeros = Signal(count.latency, name=f"zeros{index}", reset_less=True)
            m.d.sync += Cat(zeros).eq(Cat(x[lanes], zeros))
            halves.append(Mux(zeros[-1], lanes, count.o << 1))
        if self._total:
            m.submodules.total = self._total
            m.d.comb += [operand.eq(half) for operand, half in zip(self._total.i, halves, strict=True)]
            m.d.comb += self.o.eq(self._total.o)
        else:
            m.d.comb += self.o.eq(halves[0])
        return m


class SignedSum(Component):
    """``o = sum(w ? x : ~x)``, which is ``sum(w * x)`` less the number of weights of -1, one result a cycle.

    The complement of x is -x - 1, so the ones that are missing are a constant of each neuron and belong into its
    threshold; a lane then costs an XOR that fits the adder's own look-up table. A lane that pads holds x = 0 and w = 1.

    Latency: that of the adder tree.

    x : [lanes] 8-bit integers, lane 0 lowest
    w : [lanes] bits, the weights
    o : the sum, signed
    """

    def __init__(self, element: Shape, lanes: int) -> None:
        self.module = f"_signed_sum_{'i' if element.signed else 'u'}{element.width}_{lanes}"
        self._element = element
        operand = _operand_shape(element)
        self._tree = AdderTree(operand, lanes)
        super().__init__({"x": In(lanes * element.width), "w": In(lanes), "o": Out(sum_shape(operand, lanes))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        return self._tree.latency

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of so many results."""
        return sum_shape(_operand_shape(self._element), words * len(self.w))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = self._tree
        width = self._element.width
        for lane, operand in enumerate(self._tree.i):
            x = self.x[lane * width : (lane + 1) * width]
            extended = x.as_signed() if self._element.signed else Cat(x, 0).as_signed()
            m.d.comb += operand.eq(Mux(self.w[lane], extended, ~extended))
        m.d.comb += self.o.eq(self._tree.o)
        return m


# `module` is the name of its Verilog module, which all instances share; no network's name starts with _.
DotProduct: TypeAlias = XnorPopcount | ZeroPaddedXnorPopcount | SignedSum


def _operand_shape(element: Shape) -> Shape:
    return element if element.signed else signed(element.width + 1)


def dot_product(element: Shape, lanes: int, zero_padded_lanes: int | None = None) -> DotProduct:
    """Returns the dot product for inputs of `element`, bits or 8-bit integers.

    `zero_padded_lanes`: for bits among which are true zeros, the lanes of a pixel, else None.
    """
    if zero_padded_lanes is not None:
        return ZeroPaddedXnorPopcount(lanes, zero_padded_lanes)
    return XnorPopcount(lanes) if element.width == 1 else SignedSum(element, lanes)
