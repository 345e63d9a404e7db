# SPDX-License-Identifier: Apache-2.0
"""What a matrix-vector unit does with a finished group of sums: compare with thresholds, make scores or 8-bit integers.

All have `starts`: for each group where its PE sums start.
"""

from collections.abc import Sequence
from typing import TypeAlias

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from bnn_rtl.group_memory import group_memory

__all__ = ["Finish", "Requantize", "ScaleOffset", "ThresholdCompare", "shape_for"]


def shape_for(low: int, high: int) -> Shape:
    """Returns the narrowest shape that holds low..high."""
    if low >= 0:
        return unsigned(max(1, high.bit_length()))
    return signed(max((-low - 1).bit_length(), high.bit_length()) + 1)


class ThresholdCompare(Component):
    """``o[p] = (sums[p] >= 0)`` for each of the PE sums of a group, which started at minus the threshold.

    Latency: 0 cycles. Throughput: a group a cycle.

    i_valid, sums : a group of PE sums
    o_valid, o    : its PE bits, bit 0 for the first neuron

    `thresholds`: for each group a sequence of PE integers; `reach`: the least and the greatest that a sum less its
    threshold comes to.
    """

    latency = 0

    def __init__(self, thresholds: Sequence[Sequence[int]], reach: tuple[int, int]) -> None:
        self.starts = [[-threshold for threshold in group] for group in thresholds]
        # A sum may leave its reach on its way: it wraps around, and in the end it is right.
        shape = shape_for(min(-1, reach[0]), max(0, reach[1]))
        pe = len(thresholds[0])
        super().__init__({"i_valid": In(1), "sums": In(data.ArrayLayout(shape, pe)), "o_valid": Out(1), "o": Out(pe)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.o.eq(Cat(total >= 0 for total in self.sums)), self.o_valid.eq(self.i_valid)]
        return m


class ScaleOffset(Component):
    """``o[p] = scale[group][p] * sums[p] + offset[group][p]`` for each of the PE sums of a group; groups come in order.

    Latency: 3 cycles (operands, product and sum registered, as a DSP block does). Throughput: a group a cycle.

    i_valid, sums : a group of PE sums
    o_valid, o    : its PE results of `result_shape`, which holds them all, the first one lowest

    `scale`, `offset`: for each group a sequence of PE integers.
    """

    latency = 3

    def __init__(
        self, sum_shape: Shape, result_shape: Shape, scale: Sequence[Sequence[int]], offset: Sequence[Sequence[int]]
    ) -> None:
        self._scale, self._offset, self.result_shape = scale, offset, result_shape
        pe = len(scale[0])
        self.starts = [[0] * pe for _ in scale]
        super().__init__(
            {
                "i_valid": In(1),
                "sums": In(data.ArrayLayout(sum_shape, pe)),
                "o_valid": Out(1),
                "o": Out(pe * result_shape.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        scale_shape = shape_for(min(map(min, self._scale)), max(map(max, self._scale)))
        offset_shape = shape_for(min(map(min, self._offset)), max(map(max, self._offset)))
        layout = data.ArrayLayout(data.StructLayout({"scale": scale_shape, "offset": offset_shape}), len(self.sums))
        rows = [
            [{"scale": s, "offset": o} for s, o in zip(scales, offsets, strict=True)]
            for scales, offsets in zip(self._scale, self._offset, strict=True)
        ]
        constants = group_memory(m, "constants", layout, rows, self.i_valid)
        results = []
        for index, (total, constant) in enumerate(zip(self.sums, constants, strict=True)):
            operand = Signal(total.shape(), name=f"operand{index}")
            factor = Signal(scale_shape, name=f"factor{index}")
            product = Signal((total * constant.scale).shape(), name=f"product{index}")
            offset1 = Signal(offset_shape, name=f"offset1_{index}")
            offset2 = Signal(offset_shape, name=f"offset2_{index}")
            result = Signal(self.result_shape, name=f"result{index}")
            m.d.sync += [
                operand.eq(total),
                factor.eq(constant.scale),
                offset1.eq(constant.offset),
                product.eq(operand * factor),
                offset2.eq(offset1),
                result.eq(product + offset2),
            ]
            results.append(result)
        valid = Signal(2)
        m.d.sync += [Cat(valid, self.o_valid).eq(Cat(self.i_valid, valid))]
        m.d.comb += self.o.eq(Cat(*results))
        return m


class Requantize(Component):
    """``o[p] = clamp((scale[group][p] * sums[p] + offset[group][p]) >> shift, 0, 255)``; groups come in order.

    The shift is arithmetic. Latency: 4 cycles, the 3 of `ScaleOffset` and 1 for the clamp. Throughput: a group a cycle.

    i_valid, sums : a group of PE sums
    o_valid, o    : its PE unsigned 8-bit integers, the first one lowest

    `scaled`: what makes scaled sums of a signed shape.
    """

    def __init__(self, scaled: ScaleOffset, shift: int) -> None:
        assert scaled.result_shape.signed
        self._scaled, self._shift = scaled, shift
        self.starts = scaled.starts
        self.latency = scaled.latency + 1
        sums = scaled.sums.shape()
        super().__init__({"i_valid": In(1), "sums": In(sums), "o_valid": Out(1), "o": Out(8 * sums.length)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scaled = scaled = self._scaled
        m.d.comb += [scaled.i_valid.eq(self.i_valid), scaled.sums.eq(self.sums)]
        for index in range(len(self.o) // 8):
            shifted = scaled.o.word_select(index, scaled.result_shape.width).as_signed().shift_right(self._shift)
            clamped = Signal(8, name=f"clamped{index}")
            m.d.sync += clamped.eq(Mux(shifted < 0, 0, Mux(shifted > 255, 255, shifted)))
            m.d.comb += self.o.word_select(index, 8).eq(clamped)
        m.d.sync += self.o_valid.eq(scaled.o_valid)
        return m


Finish: TypeAlias = ThresholdCompare | ScaleOffset | Requantize
