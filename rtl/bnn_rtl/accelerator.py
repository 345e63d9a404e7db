# SPDX-License-Identifier: Apache-2.0
"""The accelerator: a matrix-vector unit for each layer, chained by ready/valid streams."""

import numpy as np
from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.network import Dense, Network, Scores, Signal, Step, score_reach, threshold_range
from bnn_hw.plan import STREAM_BITS, LayerPlan, Plan
from bnn_rtl.argmax import Argmax, result_layout
from bnn_rtl.dot_product import DotProduct, dot_product
from bnn_rtl.finish import ScaleOffset, ThresholdCompare, shape_for
from bnn_rtl.matrix_vector import MatrixVectorUnit, folds, weight_words
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
        self._network, self._plan = network, plan.check(network)
        pairs = list(zip(network.steps(), plan.layers, strict=True))
        kinds = {(element_shape(step.input), planned.simd) for step, planned in pairs}
        self._dots = {kind: dot_product(*kind) for kind in kinds}
        self._units = [_unit(step, planned, self._dots[element_shape(step.input), planned.simd]) for step, planned in pairs]
        super().__init__({"i": In(stream.Signature(STREAM_BITS)), "o": Out(stream.Signature(result_layout()))})

    @property
    def dots(self) -> list[DotProduct]:
        """The dot products that the layers hold instances of, each once."""
        return list(self._dots.values())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Submodules other than the layers have names with a leading _, which no layer has.
        upstream, lanes = flipped(self.i), STREAM_BITS // element_shape(self._network.input.signal).width
        for step, planned, unit in zip(self._network.steps(), self._plan.layers, self._units, strict=True):
            upstream = self._convert(m, f"_input_{step.layer.name}", upstream, step.input, lanes, planned.simd)
            m.submodules[step.layer.name] = unit
            connect(m, upstream, unit.i)
            upstream, lanes = unit.o, planned.pe
        score_shape = _score_shape(step)
        m.submodules["_argmax"] = argmax = Argmax(score_shape, self._network.classes)
        m.submodules["_argmax_input"] = converter = WidthConverter(score_shape.width, self._network.classes, lanes, 1)
        connect(m, upstream, converter.i)
        m.d.comb += [
            argmax.i.valid.eq(converter.o.valid),
            argmax.i.payload.eq(converter.o.payload),
            converter.o.ready.eq(argmax.i.ready),
        ]
        connect(m, argmax.o, flipped(self.o))
        return m

    @staticmethod
    def _convert(m: Module, name: str, upstream: object, signal: Signal, lanes: int, simd: int) -> object:
        if lanes == simd:
            return upstream
        converter = m.submodules[name] = WidthConverter(element_shape(signal).width, signal.size, lanes, simd)
        connect(m, upstream, converter.i)
        return converter.o


def _unit(step: Step, planned: LayerPlan, dot: DotProduct) -> MatrixVectorUnit:
    layer, element = step.layer, element_shape(step.input)
    outputs, inputs = layer.weights.shape
    sum_shape = MatrixVectorUnit.sum_shape(element, inputs, planned.simd)
    bits = step.input.dtype == "bit"
    # Matches m of bits stand for the sum 2m - inputs; an 8-bit sum lacks 1 for each weight of -1 (see SignedSum).
    missing = np.zeros(outputs, np.int64) if bits else (~layer.weights).sum(axis=1)
    match layer:
        case Dense(thresholds=thresholds):
            never = threshold_range(step.input)[1]
            groups = _groups(thresholds - missing, planned.pe, never)
            finish: ThresholdCompare | ScaleOffset = ThresholdCompare(sum_shape, groups)
        case Scores(scale=scale, offset=offset):
            factor = scale.astype(np.int64) * (2 if bits else 1)
            constant = offset + scale.astype(np.int64) * (-inputs if bits else missing)
            finish = ScaleOffset(sum_shape, _score_shape(step), _groups(factor, planned.pe, 0), _groups(constant, planned.pe, 0))
    words = weight_words(layer.weights, planned.pe, planned.simd)
    return MatrixVectorUnit(dot, words, inputs=inputs, outputs=outputs, pe=planned.pe, finish=finish)


def _groups(values: np.ndarray, pe: int, padding: int) -> list[list[int]]:
    """Returns the outputs' values in groups of `pe`, the last one padded."""
    padded = np.full(folds(len(values), pe) * pe, padding, np.int64)
    padded[: len(values)] = values
    return padded.reshape(-1, pe).tolist()


def _score_shape(step: Step) -> Shape:
    layer = step.layer
    assert isinstance(layer, Scores)
    reach = int(score_reach(layer, step.input).max())
    return signed(max(shape_for(-reach, reach).width, 2))
