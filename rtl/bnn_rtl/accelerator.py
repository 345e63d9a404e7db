# SPDX-License-Identifier: Apache-2.0
"""The accelerator: an engine for each layer, chained by ready/valid streams."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TypeAlias

from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.design.lower import Design
from bnn_hw.design.memories import constant_bits, contents, lane_words, row_integers, scaling_groups, threshold_groups, weight_rows
from bnn_hw.design.runtime_weights import WeightsWindow, weights_window
from bnn_hw.design.units import Argmax as ArgmaxUnit
from bnn_hw.design.units import Compare, Convert, Dot, MatVec, Pool, Rescale, Slide, Unit
from bnn_hw.fpga.family import Family
from bnn_hw.network.network import Dtype
from bnn_rtl.argmax import Argmax, result_layout
from bnn_rtl.banked_memory import BankedMemory, WeightsSignature, read_latency
from bnn_rtl.dot_product import DotProduct, dot_product
from bnn_rtl.finish import Finish, Requantize, ScaleOffset, ThresholdCompare
from bnn_rtl.lut_rom import LutRom
from bnn_rtl.matrix_vector import MatrixVectorUnit
from bnn_rtl.max_pool import MaxPoolUnit
from bnn_rtl.sliding_window import SlidingWindow
from bnn_rtl.width_converter import WidthConverter

__all__ = ["Accelerator"]


def _element_shape(dtype: Dtype) -> Shape:
    """Returns the hardware shape of an element."""
    return {"bit": unsigned(1), "uint8": unsigned(8), "int8": signed(8), "int32": signed(32)}[dtype]


class Accelerator(Component):
    """Computes the scores and the class of each image of its input stream.

    Initiation interval: ``design.cycles`` cycles an image, all layers at work at once on different images.

    i : stream of words of 64 bits, ceil(bits/64) an image; element 0 lowest, what lies past the image's end is 0
    o : stream of `result_layout`: the scores, class 0 first, then the class
    weights : with run-time weights, the master of all memories
    """

    def __init__(self, design: Design) -> None:
        plan, self._design = design.plan, design
        kinds = {unit.dot for unit in design.units if isinstance(unit, MatVec)}
        dots = {dot: dot_product(_element_shape(dot.dtype), dot.lanes, dot.pixel_lanes, plan.family, plan.levels) for dot in kinds}
        members = {"i": In(stream.Signature(STREAM_BITS)), "o": Out(stream.Signature(result_layout()))}
        self._banks: dict[str, dict[str, BankedMemory]] = {}  # by layer and by what they hold
        if plan.runtime_weights:
            window = weights_window(design)
            self._banks = _banks(window, design)
            members["weights"] = In(WeightsSignature(window.word_bits))
        self._components: dict[str, _UnitComponent] = {}
        for unit in design.units:
            banks = self._banks.get(unit.layer, {}) if unit.layer else {}
            self._components[unit.name] = _component(unit, dots, plan.family, banks)
        super().__init__(members)

    @property
    def parts(self) -> list[DotProduct | LutRom]:
        """The components that the layers hold instances of, and whose Verilog is emitted beside the accelerator's."""
        return [part for unit in self._components.values() if isinstance(unit, MatrixVectorUnit) for part in unit.parts]

    @property
    def images_held(self) -> int:
        """The most images of which the accelerator can hold words at a time."""
        return sum(self._images_held(unit) for unit in self._design.units)

    def _images_held(self, unit: Unit) -> int:
        """Returns the most images of which a unit can hold words at a time."""
        match unit:
            case Convert(joins_pixels=True):  # of a place, which the engine behind it counts
                return 0
            case Convert() | Pool() | ArgmaxUnit():
                return 1
            case Slide(window=window):
                return window.images_held
            case MatVec():
                component = self._components[unit.name]
                assert isinstance(component, MatrixVectorUnit)
                return -(-component.vectors_held // unit.places) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for unit, edge in zip(self._design.units, self._design.edges, strict=False):
            component = self._components[unit.name]
            source = self._components[edge.source].o if edge.source else flipped(self.i)
            m.submodules[unit.name] = component
            if isinstance(component, Argmax):  # which takes signed integers
                m.d.comb += [
                    component.i.valid.eq(source.valid),
                    component.i.payload.eq(source.payload),
                    source.ready.eq(component.i.ready),
                ]
            else:
                connect(m, source, component.i)
        connect(m, component.o, flipped(self.o))
        self._share_weights(m)
        return m

    def _share_weights(self, m: Module) -> None:
        """Brings what writes and reads back the memories to all of them, wherever they are; one at most finds a word."""
        memories = [memory for banks in self._banks.values() for memory in banks.values()]
        for memory in memories:
            for name, member in memory.weights.signature.members.items():
                if member.flow == In:
                    m.d.comb += getattr(memory.weights, name).eq(getattr(self.weights, name))
        if memories:
            m.d.comb += self.weights.found.eq(reduce(or_, (memory.weights.found for memory in memories)))


def _banks(window: WeightsWindow, design: Design) -> dict[str, dict[str, BankedMemory]]:
    """Returns the memories of each layer with run-time weights."""
    held = {unit.layer: contents(unit) for unit in design.engines}
    made: dict[str, dict[str, BankedMemory]] = {name: {} for name in held}
    shared = read_latency(window.memories), window.word_bits
    for memory, address in zip(window.memories, window.addresses, strict=False):
        words = lane_words(held[memory.layer][memory.what])
        made[memory.layer][memory.what] = BankedMemory(memory, address, words, *shared)
    return made


_UnitComponent: TypeAlias = WidthConverter | SlidingWindow | MatrixVectorUnit | MaxPoolUnit | Argmax


def _component(unit: Unit, dots: Mapping[Dot, DotProduct], family: Family, banks: Mapping[str, BankedMemory]) -> _UnitComponent:
    """Returns the component of a unit."""
    match unit:
        case Convert():
            return WidthConverter(unit.element_bits + unit.mark_bits, unit.count, unit.lanes_in, unit.lanes_out)
        case Slide():
            bits = unit.lanes * unit.element_bits
            return SlidingWindow(unit.window, bits, family, padding=unit.padding_word, words_first=unit.words_first)
        case MatVec():
            return _matrix_vector(unit, dots[unit.dot], family, banks)
        case Pool():
            return MaxPoolUnit(unit.taps, unit.lanes, banks.get("and_channels", unit.and_channels))
        case ArgmaxUnit():
            return Argmax(signed(unit.score_bits), unit.classes)


def _matrix_vector(unit: MatVec, dot: DotProduct, family: Family, banks: Mapping[str, BankedMemory]) -> MatrixVectorUnit:
    match unit.finish:
        case Compare() as compare:
            finish: Finish = ThresholdCompare(threshold_groups(unit, compare).tolist(), unit.reach)
        case Rescale(shift=shift) as rescale:
            scale, offset = (values.tolist() for values in scaling_groups(unit, rescale))
            shapes = dot.total_shape(unit.input_words), signed(unit.scaled_bits)
            bits = constant_bits(unit, rescale) if banks else None
            scaled = ScaleOffset(unit.layer, *shapes, scale, offset, family, bits=bits, banks=banks.get("scales"))
            finish = scaled if shift is None else Requantize(scaled, shift)
    words = row_integers(weight_rows(unit.weights, unit.pe, unit.simd))
    sizes = {"inputs": unit.inputs, "outputs": unit.outputs, "pe": unit.pe, "lut_bits": unit.lut_bits}
    return MatrixVectorUnit(unit.layer, dot, words, family, finish=finish, banks=banks, **sizes)
