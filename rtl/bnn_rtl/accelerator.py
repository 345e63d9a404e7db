# SPDX-License-Identifier: Apache-2.0
"""The accelerator: an engine for each layer, chained by ready/valid streams."""

from functools import partial

import numpy as np
from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.family import Family
from bnn_hw.network import (
    Conv,
    Dense,
    DenseRelu,
    MaxPool,
    Network,
    Scores,
    Signal,
    element_bits,
    layer_sums,
    scaled_reach,
    weight_matrix,
)
from bnn_hw.plan import Plan
from bnn_hw.stage import STREAM_BITS, Conversion, Stage, Window
from bnn_rtl.argmax import Argmax, result_layout
from bnn_rtl.dot_product import DotProduct, dot_product
from bnn_rtl.finish import Finish, Requantize, ScaleOffset, ThresholdCompare, shape_for
from bnn_rtl.lut_rom import LutRom
from bnn_rtl.matrix_vector import MatrixVectorUnit, folds, weight_words
from bnn_rtl.max_pool import MaxPoolUnit
from bnn_rtl.sliding_window import SlidingWindow
from bnn_rtl.width_converter import WidthConverter

__all__ = ["Accelerator", "element_shape"]


def element_shape(signal: Signal) -> Shape:
    """Returns the hardware shape of a signal's elements."""
    return {"bit": unsigned(1), "uint8": unsigned(8), "int8": signed(8), "int32": signed(32)}[signal.dtype]


class Accelerator(Component):
    """Computes the scores and the class of each image of its input stream.

    Initiation interval: ``plan.cycles(network)`` cycles an image, all layers at work at once on different images.

    i : stream of words of 64 bits, ceil(bits/64) an image; element 0 lowest, what lies past the image's end is 0
    o : stream of `result_layout`: the scores, class 0 first, then the class
    """

    def __init__(self, network: Network, plan: Plan) -> None:
        self._network = network
        self._stages = plan.check(network).stages(network)
        kinds = {kind for stage in self._stages if (kind := _dot_kind(stage))}
        self._dots = {kind: dot_product(*kind, plan.family, plan.levels) for kind in kinds}
        self._family = plan.family
        self._units = [_unit(stage, self._dots, plan.family) for stage in self._stages]
        super().__init__({"i": In(stream.Signature(STREAM_BITS)), "o": Out(stream.Signature(result_layout()))})

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
        # Submodules other than the layers have names with a leading _, which no layer has.
        upstream = flipped(self.i)
        for stage, unit in zip(self._stages, self._units, strict=True):
            name = stage.step.layer.name
            width = element_bits(stage.step.input)
            for index, conversion in enumerate(stage.conversions):
                upstream = _append(m, f"_input{index}_{name}", upstream, _converter(width, conversion))
            if stage.window:
                upstream = _append(m, f"_window_{name}", upstream, _window(stage, stage.window, self._family))
            if stage.window and stage.simd > stage.window_lanes:
                area = stage.window.kernel[0] * stage.window.kernel[1]
                pixels = WidthConverter(len(upstream.payload), area, 1, stage.simd // stage.window_lanes)
                upstream = _append(m, f"_pixels_{name}", upstream, pixels)
            upstream = _append(m, name, upstream, unit)
        last = self._stages[-1]
        score_shape = _scaled_shape(last)
        converter = WidthConverter(score_shape.width, self._network.classes, last.pe, 1)
        upstream = _append(m, "_argmax_input", upstream, converter)
        m.submodules["_argmax"] = argmax = Argmax(score_shape, self._network.classes)
        m.d.comb += [
            argmax.i.valid.eq(upstream.valid),
            argmax.i.payload.eq(upstream.payload),
            upstream.ready.eq(argmax.i.ready),
        ]
        connect(m, argmax.o, flipped(self.o))
        return m


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


def _unit(stage: Stage, dots: dict[tuple[Shape, int, int | None], DotProduct], family: Family) -> MatrixVectorUnit | MaxPoolUnit:
    layer, signal = stage.step.layer, stage.step.input
    if isinstance(layer, MaxPool):
        return MaxPoolUnit(layer.size[0] * layer.size[1], stage.pe, layer.and_channels)
    kind = _dot_kind(stage)
    assert kind is not None
    dot = dots[kind]
    outputs, inputs = weight_matrix(layer).shape
    total_shape = dot.total_shape(folds(inputs, stage.simd))
    bits = signal.dtype == "bit"
    # Matches m of bits stand for the sum 2m - inputs; an 8-bit sum lacks 1 for each weight of -1 (see SignedSum).
    missing = np.zeros(outputs, np.int64) if bits else (~weight_matrix(layer)).sum(axis=1)
    groups = partial(_groups, pe=stage.pe)
    match layer:
        case Dense(thresholds=thresholds) | Conv(thresholds=thresholds):
            never = layer_sums(layer, signal).never
            finish: Finish = ThresholdCompare(groups(thresholds - missing, padding=never), stage.reach)
        case DenseRelu(scale=scale, offset=offset) | Scores(scale=scale, offset=offset):
            factor = scale.astype(np.int64) * (2 if bits else 1)
            constant = offset + scale.astype(np.int64) * (-inputs if bits else missing)
            constants = groups(factor, padding=0), groups(constant, padding=0)
            scaled = ScaleOffset(layer.name, total_shape, _scaled_shape(stage), *constants, family)
            finish = Requantize(scaled, layer.shift) if isinstance(layer, DenseRelu) else scaled
    words = weight_words(weight_matrix(layer), stage.pe, stage.simd)
    shape = {"inputs": inputs, "outputs": outputs, "pe": stage.pe, "lut_bits": stage.lut_bits}
    return MatrixVectorUnit(layer.name, dot, words, family, finish=finish, **shape)


def _groups(values: np.ndarray, pe: int, padding: int) -> list[list[int]]:
    """Returns the outputs' values in groups of `pe`, the last one padded."""
    padded = np.full(folds(len(values), pe) * pe, padding, np.int64)
    padded[: len(values)] = values
    return padded.reshape(-1, pe).tolist()


def _scaled_shape(stage: Stage) -> Shape:
    """Returns the shape that holds scale * sum + offset of each of a layer's outputs."""
    layer = stage.step.layer
    assert isinstance(layer, DenseRelu | Scores)
    reach = int(scaled_reach(layer, stage.step.input).max())
    return signed(max(shape_for(-reach, reach).width, 2))
