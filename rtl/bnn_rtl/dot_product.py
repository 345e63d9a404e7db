# SPDX-License-Identifier: Apache-2.0
"""Dot products with binary weights: XNOR and popcount on bits, conditional complement and sum on 8-bit integers."""

from typing import TypeAlias

from amaranth.hdl import Cat, Module, Mux, Shape, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from bnn_rtl.adder_tree import AdderTree, sum_shape

__all__ = ["DotProduct", "SignedSum", "XnorPopcount", "dot_product", "dot_shape"]


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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = self._tree
        m.d.comb += [self._tree.i.as_value().eq(~(self.x ^ self.w)), self.o.eq(self._tree.o)]
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
DotProduct: TypeAlias = XnorPopcount | SignedSum


def _operand_shape(element: Shape) -> Shape:
    return element if element.signed else signed(element.width + 1)


def dot_shape(element: Shape, lanes: int) -> Shape:
    """Returns the shape of the dot product of so many lanes."""
    return sum_shape(element if element.width == 1 else _operand_shape(element), lanes)


def dot_product(element: Shape, lanes: int) -> DotProduct:
    """Returns the dot product for inputs of `element`, bits or 8-bit integers."""
    return XnorPopcount(lanes) if element.width == 1 else SignedSum(element, lanes)
