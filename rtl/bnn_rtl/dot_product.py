# SPDX-License-Identifier: Apache-2.0
"""Dot products with binary weights: XNOR and popcount on bits, conditional complement and sum on 8-bit integers.

On a family with look-up tables of 6 inputs they are circuits of `bnn_hw.fpga.bit_heap`, on another one trees of adders. Either
way at most `levels` of these lie between two registers. A padding lane holds x = 0 and w = 1.
"""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Final, TypeAlias

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.names import dot_module
from bnn_hw.design.units import Dot
from bnn_hw.fpga.bit_heap import signed_sum_circuit, xnor_popcount_circuit, zero_padded_popcount_circuit
from bnn_hw.fpga.circuit import Circuit
from bnn_hw.fpga.family import SERIES_7, Family
from bnn_rtl.adder_tree import AdderTree, sum_shape
from bnn_rtl.popcount import delayed, popcount
from bnn_rtl.primitives import add_circuit, has_lut6

__all__ = ["DotProduct", "SignedSum", "XnorPopcount", "ZeroPaddedXnorPopcount", "dot_product"]

_LEVELS: Final = 8
_LANES_A_SUM: Final = 64


class XnorPopcount(Component):
    """``o = popcount(xnor(x, w))``, the matches of `lanes` inputs and weights, one result a cycle.

    Latency: `latency` cycles. A padding lane never matches.

    x : [lanes] bits, the inputs
    w : [lanes] bits, the weights
    o : the matches, 0..lanes
    """

    def __init__(self, lanes: int, family: Family = SERIES_7, levels: int = _LEVELS) -> None:
        self.module = dot_module(Dot("bit", lanes), family, levels)
        self._adder: Circuit | AdderTree = (
            xnor_popcount_circuit(lanes, levels) if has_lut6(family) else AdderTree(unsigned(1), lanes, levels)
        )
        super().__init__({"x": In(lanes), "w": In(lanes), "o": Out(sum_shape(unsigned(1), lanes))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        return self._adder.latency

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of `words` results."""
        return sum_shape(unsigned(1), words * len(self.w))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        matches = Signal(len(self.w))
        if isinstance(self._adder, Circuit):
            _add_circuit(m, platform, self, self._adder, lambda: popcount(m, matches, "ones"))
        else:
            m.submodules.tree = self._adder
            m.d.comb += [self._adder.i.as_value().eq(matches), self.o.eq(self._adder.o)]
        m.d.comb += matches.eq(~(self.x ^ self.w))
        return m


class ZeroPaddedXnorPopcount(Component):
    """``o = 2 * popcount(xnor(x, w)) + zeros`` over pixels of `pixel_lanes` inputs, some of which are true zeros.

    A zero stands between +1 and -1, so it is half a match; the result is in halves. One result a cycle. Latency: that of
    a pixel's count and, where there are several pixels, of the sum over them. A padding lane never matches.

    x : [lanes/pixel_lanes] pixels, each its bits and above them a bit that is 1 if all its inputs are zeros
    w : [lanes] bits, the weights
    o : the matches and half matches in halves, 0..2*lanes
    """

    def __init__(self, lanes: int, pixel_lanes: int, family: Family = SERIES_7, levels: int = _LEVELS) -> None:
        assert lanes % pixel_lanes == 0
        self.module = dot_module(Dot("bit", lanes, pixel_lanes), family, levels)
        self._pixel_lanes, self._pixels = pixel_lanes, lanes // pixel_lanes
        self._circuit = zero_padded_popcount_circuit(lanes, pixel_lanes, levels) if has_lut6(family) else None
        if not self._circuit:
            self._counts = [AdderTree(unsigned(1), pixel_lanes, levels) for _ in range(self._pixels)]
            self._total = AdderTree(sum_shape(unsigned(2), pixel_lanes), self._pixels, levels) if self._pixels > 1 else None
        x_bits = self._pixels * (pixel_lanes + 1)
        super().__init__({"x": In(x_bits), "w": In(lanes), "o": Out(unsigned((2 * lanes).bit_length()))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        if self._circuit:
            return self._circuit.latency
        return self._counts[0].latency + (self._total.latency if self._total else 0)

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of `words` results."""
        return unsigned((2 * words * len(self.w)).bit_length())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._circuit:
            _add_circuit(m, platform, self, self._circuit, lambda: self._model(m))
            return m
        halves = []
        for index, count in enumerate(self._counts):
            m.submodules[f"count{index}"] = count
            x, w, zero = self._pixel(index)
            m.d.comb += count.i.as_value().eq(~(x ^ w))
            halves.append(Mux(delayed(m, zero, count.latency, f"zero{index}_"), self._pixel_lanes, count.o << 1))
        if self._total:
            m.submodules.total = self._total
            m.d.comb += [operand.eq(half) for operand, half in zip(self._total.i, halves, strict=True)]
        m.d.comb += self.o.eq(self._total.o if self._total else halves[0])
        return m

    def _model(self, m: Module) -> Value:
        halves = []
        for index in range(self._pixels):
            x, w, zero = self._pixel(index)
            matches = Signal(self._pixel_lanes, name=f"matches{index}")
            m.d.comb += matches.eq(~(x ^ w))
            halves.append(Mux(zero, self._pixel_lanes, popcount(m, matches, f"ones{index}_") << 1))
        return reduce(add, halves)

    def _pixel(self, index: int) -> tuple[Value, Value, Value]:
        """Returns a pixel's inputs and weights, and whether it is zeros."""
        lanes = self._pixel_lanes
        x = self.x.word_select(index, lanes + 1)
        return x[:lanes], self.w.word_select(index, lanes), x[lanes]


class SignedSum(Component):
    """``o = sum(w ? x : ~x)``, which is ``sum(w * x)`` less the number of weights of -1, one result a cycle.

    The complement of x is -x - 1, so the ones that are missing are a constant of each neuron and belong into its
    threshold; a lane then costs XORs that fit the look-up tables that add them. Latency: `latency` cycles. A padding
    lane adds nothing.

    x : [lanes] 8-bit integers, lane 0 lowest
    w : [lanes] bits, the weights
    o : the sum, signed
    """

    def __init__(self, element: Shape, lanes: int, family: Family = SERIES_7, levels: int = _LEVELS) -> None:
        self.module = dot_module(Dot("int8" if element.signed else "uint8", lanes), family, levels)
        self._element = element
        self._operand = element if element.signed else signed(element.width + 1)
        self._adder: Circuit | AdderTree = (
            signed_sum_circuit(element.width, element.signed, lanes, levels)
            if has_lut6(family)
            else AdderTree(self._operand, lanes, levels)
        )
        super().__init__({"x": In(lanes * element.width), "w": In(lanes), "o": Out(sum_shape(self._operand, lanes))})

    @property
    def latency(self) -> int:
        """The number of cycles from `x` and `w` to `o`."""
        return self._adder.latency

    def total_shape(self, words: int) -> Shape:
        """Returns the shape of the sum of `words` results."""
        return sum_shape(self._operand, words * len(self.w))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(self._adder, Circuit):
            _add_circuit(m, platform, self, self._adder, lambda: self._model(m))
        else:
            m.submodules.tree = self._adder
            m.d.comb += [operand.eq(value) for operand, value in zip(self._adder.i, self._operands(), strict=True)]
            m.d.comb += self.o.eq(self._adder.o)
        return m

    def _model(self, m: Module) -> Value:
        """Returns the sum by way of sums of a few lanes, since Amaranth takes expressions apart by recursion."""
        operands, totals = self._operands(), []
        for at in range(0, len(operands), _LANES_A_SUM):
            total = Signal(self.o.shape(), name=f"total{at}")
            m.d.comb += total.eq(reduce(add, operands[at : at + _LANES_A_SUM]))
            totals.append(total)
        return reduce(add, totals)

    def _operands(self) -> list[Value]:
        """Returns what each lane adds."""
        values = []
        for lane, weight in enumerate(self.w):
            x = self.x.word_select(lane, self._element.width)
            extended = x.as_signed() if self._element.signed else Cat(x, 0).as_signed()
            values.append(Mux(weight, extended, ~extended))
        return values


DotProduct: TypeAlias = XnorPopcount | ZeroPaddedXnorPopcount | SignedSum


def dot_product(
    element: Shape, lanes: int, zero_padded_lanes: int | None = None, family: Family = SERIES_7, levels: int = _LEVELS
) -> DotProduct:
    """Returns the dot product for inputs of `element`, bits or 8-bit integers, on a family, with at most `levels` of logic.

    `zero_padded_lanes`: for bits among which are true zeros, the lanes of a pixel, else None.
    """
    if zero_padded_lanes is not None:
        return ZeroPaddedXnorPopcount(lanes, zero_padded_lanes, family, levels)
    return XnorPopcount(lanes, family, levels) if element.width == 1 else SignedSum(element, lanes, family, levels)


def _add_circuit(m: Module, platform: object, dot: DotProduct, circuit: Circuit, model: Callable[[], Value]) -> None:
    """Adds a circuit for a family that has its primitives; without one what gives the same result in the same cycle."""
    if has_lut6(platform):
        m.d.comb += dot.o.eq(add_circuit(m, circuit, Cat(dot.x, dot.w)))
    else:
        m.d.comb += dot.o.eq(delayed(m, model(), circuit.latency, "result"))
