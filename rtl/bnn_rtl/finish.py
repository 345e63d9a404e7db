# SPDX-License-Identifier: Apache-2.0
"""What a matrix-vector unit does with a finished group of sums: compare with thresholds, make scores or 8-bit integers.

All have `starts`, for each group where its PE sums start, and `parts`, the components that they hold instances of.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.names import module_beside
from bnn_hw.fpga.family import SERIES_7, Family
from bnn_hw.fpga.memory_layout import rom_in_luts
from bnn_rtl.banked_memory import BankedMemory
from bnn_rtl.group_memory import group_address, group_memory
from bnn_rtl.lut_rom import LutRom, lut_rom, read_rom

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
    parts: Sequence[LutRom] = ()

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

    `name`: of the layer. `scale`, `offset`: for each group a sequence of PE integers, which are held in look-up tables or in
    block RAM, where they cost less; or in `banks`, where their widths are `bits`.
    """

    latency = 3

    def __init__(
        self,
        name: str,
        sum_shape: Shape,
        result_shape: Shape,
        scale: Sequence[Sequence[int]],
        offset: Sequence[Sequence[int]],
        family: Family = SERIES_7,
        *,
        bits: tuple[int, int] | None = None,
        banks: BankedMemory | None = None,
    ) -> None:
        self.result_shape = result_shape
        self._scale_shape = shape_for(min(map(min, scale)), max(map(max, scale))) if bits is None else signed(bits[0])
        self._offset_shape = shape_for(min(map(min, offset)), max(map(max, offset))) if bits is None else signed(bits[1])
        pe = len(scale[0])
        self._layout = data.ArrayLayout(data.StructLayout({"scale": self._scale_shape, "offset": self._offset_shape}), pe)
        self._rows = [
            [{"scale": s, "offset": o} for s, o in zip(scales, offsets, strict=True)]
            for scales, offsets in zip(scale, offset, strict=True)
        ]
        words = [self._layout.const(row).as_value().value for row in self._rows]
        in_luts = rom_in_luts(family, len(words), self._layout.size)
        self._rom = banks or (lut_rom(module_beside(f"scales_{name}"), self._layout.size, words) if in_luts else None)
        self.parts = [self._rom] if isinstance(self._rom, LutRom) else []
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
        constants = self._constants(m)
        results = []
        for index, (total, constant) in enumerate(zip(self.sums, constants, strict=True)):
            operand = Signal(total.shape(), name=f"operand{index}")
            factor = Signal(self._scale_shape, name=f"factor{index}")
            product = Signal((total * constant.scale).shape(), name=f"product{index}")
            offset1 = Signal(self._offset_shape, name=f"offset1_{index}")
            offset2 = Signal(self._offset_shape, name=f"offset2_{index}")
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

    def _constants(self, m: Module) -> Any:
        """Returns scale and offset of each output of the present group."""
        if self._rom is None:
            return group_memory(m, "constants", self._layout, self._rows, self.i_valid, {"ram_style": "block"})
        return self._layout(read_rom(m, "constants", self._rom, group_address(m, len(self._rows), self.i_valid)))


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
        self.starts, self.parts = scaled.starts, scaled.parts
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
