# SPDX-License-Identifier: Apache-2.0
"""The accelerator: an engine for each layer, chained by ready/valid streams."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.design.lower import Design
from bnn_hw.design.memories import (
    constant_bits,
    contents,
    lane_words,
    row_integers,
    scaling_groups,
    threshold_groups,
    weight_rows,
)
from bnn_hw.design.names import layer_instance
from bnn_hw.design.runtime_weights import WeightsWindow, weights_window
from bnn_hw.design.stage import STREAM_BITS, Conversion, Stage, Window
from bnn_hw.fpga.family import Family
from bnn_hw.network.network import (
    Conv,
    Dense,
    DenseRelu,
    MaxPool,
    Scores,
    Signal,
    element_bits,
    weight_matrix,
)
from bnn_rtl.argmax import Argmax, result_layout
from bnn_rtl.banked_memory import BankedMemory, WeightsSignature, read_latency
from bnn_rtl.dot_product import DotProduct, dot_product
from bnn_rtl.finish import Finish, Requantize, ScaleOffset, ThresholdCompare
from bnn_rtl.lut_rom import LutRom
from bnn_rtl.matrix_vector import MatrixVectorUnit, folds
from bnn_rtl.max_pool import MaxPoolUnit
from bnn_rtl.sliding_window import SlidingWindow
from bnn_rtl.width_converter import WidthConverter

__all__ = ["Accelerator", "element_shape"]


def element_shape(signal: Signal) -> Shape:
    """Returns the hardware shape of a signal's elements."""
    return {"bit": unsigned(1), "uint8": unsigned(8), "int8": signed(8), "int32": signed(32)}[signal.dtype]


class Accelerator(Component):
    """Computes the scores and the class of each image of its input stream.

    Initiation interval: ``design.cycles`` cycles an image, all layers at work at once on different images.

    i : stream of words of 64 bits, ceil(bits/64) an image; element 0 lowest, what lies past the image's end is 0
    o : stream of `result_layout`: the scores, class 0 first, then the class
    weights : with run-time weights, the master of all memories
    """

    def __init__(self, design: Design) -> None:
        plan = design.plan
        self._classes, self._stages = design.network.classes, design.stages
        kinds = {kind for stage in self._stages if (kind := _dot_kind(stage))}
        self._dots = {kind: dot_product(*kind, plan.family, plan.levels) for kind in kinds}
        self._family = plan.family
        members = {"i": In(stream.Signature(STREAM_BITS)), "o": Out(stream.Signature(result_layout()))}
        self._banks: dict[str, dict[str, BankedMemory]] = {}  # by layer and by what they hold
        if plan.runtime_weights:
            window = weights_window(design)
            self._banks = _banks(window, self._stages)
            members["weights"] = In(WeightsSignature(window.word_bits))
        self._units = [_unit(stage, self._dots, plan.family, self._banks.get(stage.step.layer.name, {})) for stage in self._stages]
        super().__init__(members)

    @property
    def parts(self) -> list[DotProduct | LutRom]:
        """The components that the layers hold instances of, and whose Verilog is emitted beside the accelerator's."""
        return [part for unit in self._units if isinstance(unit, MatrixVectorUnit) for part in unit.parts]

    @property
    def images_held(self) -> int:
        """The most images of which the accelerator can hold words at a time."""
        held = 2  # in the way from the scores to the result
        for stage, unit in zip(self._stages, self._units, strict=True):
            held += len(stage.conversions) + (stage.window.images_held if stage.window else 0)
            held += -(-unit.vectors_held // stage.places) + 1 if isinstance(unit, MatrixVectorUnit) else 1
        return held

    def elaborate(self, platform: object) -> Module:
        m = Module()
        upstream = flipped(self.i)
        for stage, unit in zip(self._stages, self._units, strict=True):
            name = stage.step.layer.name
            width = element_bits(stage.step.input)
            for index, conversion in enumerate(stage.conversions):
                upstream = _append(m, layer_instance(name, f"input{index}"), upstream, _converter(width, conversion))
            if stage.window:
                upstream = _append(m, layer_instance(name, "window"), upstream, _window(stage, stage.window, self._family))
            if stage.window and stage.simd > stage.window_lanes:
                area = stage.window.kernel[0] * stage.window.kernel[1]
                pixels = WidthConverter(len(upstream.payload), area, 1, stage.simd // stage.window_lanes)
                upstream = _append(m, layer_instance(name, "pixels"), upstream, pixels)
            upstream = _append(m, layer_instance(name), upstream, unit)
        last = self._stages[-1]
        score_shape = signed(last.scaled_bits)
        converter = WidthConverter(score_shape.width, self._classes, last.pe, 1)
        upstream = _append(m, "_argmax_input", upstream, converter)
        m.submodules["_argmax"] = argmax = Argmax(score_shape, self._classes)
        m.d.comb += [
            argmax.i.valid.eq(upstream.valid),
            argmax.i.payload.eq(upstream.payload),
            upstream.ready.eq(argmax.i.ready),
        ]
        connect(m, argmax.o, flipped(self.o))
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


def _banks(window: WeightsWindow, stages: Sequence[Stage]) -> dict[str, dict[str, BankedMemory]]:
    """Returns the memories of each layer with run-time weights."""
    held = {stage.step.layer.name: contents(stage) for stage in stages}
    made: dict[str, dict[str, BankedMemory]] = {name: {} for name in held}
    shared = read_latency(window.memories), window.word_bits
    for memory, address in zip(window.memories, window.addresses, strict=False):
        words = lane_words(held[memory.layer][memory.what])
        made[memory.layer][memory.what] = BankedMemory(memory, address, words, *shared)
    return made


def _append(m: Module, name: str, upstream: stream.Interface, component: Component) -> stream.Interface:
    """Feeds a component from a stream; returns the stream that it gives."""
    m.submodules[name] = component
    connect(m, upstream, component.i)
    return component.o


def _converter(element_bits: int, conversion: Conversion) -> WidthConverter:
    return WidthConverter(element_bits, conversion.count, conversion.lanes_in, conversion.lanes_out)


def _window(stage: Stage, window: Window, family: Family) -> SlidingWindow:
    layer, signal = stage.step.layer, stage.step.input
    width = element_bits(signal)
    if isinstance(layer, MaxPool):
        return SlidingWindow(window, stage.window_lanes, family, words_first=True)
    assert isinstance(layer, Conv)
    element = layer.padding_value % (1 << width) if signal.dtype != "bit" else int(layer.padding_value > 0)
    word = sum(element << lane * width for lane in range(stage.window_lanes))
    padding = None if layer.pads_bits_with_zeros(signal) else word
    return SlidingWindow(window, width * stage.window_lanes, family, padding=padding)


def _dot_kind(stage: Stage) -> tuple[Shape, int, int | None] | None:
    """Returns what a stage's dot product is made of, None where it has none."""
    layer = stage.step.layer
    if isinstance(layer, MaxPool):
        return None
    zeros = isinstance(layer, Conv) and layer.pads_bits_with_zeros(stage.step.input)
    return element_shape(stage.step.input), stage.simd, stage.window_lanes if zeros else None


def _unit(
    stage: Stage, dots: dict[tuple[Shape, int, int | None], DotProduct], family: Family, banks: dict[str, BankedMemory]
) -> MatrixVectorUnit | MaxPoolUnit:
    layer = stage.step.layer
    if isinstance(layer, MaxPool):
        return MaxPoolUnit(layer.size[0] * layer.size[1], stage.pe, banks.get("and_channels", layer.and_channels))
    kind = _dot_kind(stage)
    assert kind is not None
    dot = dots[kind]
    outputs, inputs = weight_matrix(layer).shape
    total_shape = dot.total_shape(folds(inputs, stage.simd))
    match layer:
        case Dense() | Conv():
            finish: Finish = ThresholdCompare(threshold_groups(stage).tolist(), stage.reach)
        case DenseRelu() | Scores():
            scale, offset = (values.tolist() for values in scaling_groups(stage))
            shape = signed(stage.scaled_bits)
            bits = constant_bits(stage) if banks else None
            scaled = ScaleOffset(layer.name, total_shape, shape, scale, offset, family, bits=bits, banks=banks.get("scales"))
            finish = Requantize(scaled, layer.shift) if isinstance(layer, DenseRelu) else scaled
    words = row_integers(weight_rows(weight_matrix(layer), stage.pe, stage.simd))
    sizes = {"inputs": inputs, "outputs": outputs, "pe": stage.pe, "lut_bits": stage.lut_bits}
    return MatrixVectorUnit(layer.name, dot, words, family, finish=finish, banks=banks, **sizes)
