# SPDX-License-Identifier: Apache-2.0
"""The design: an accelerator as data, between the plan and everything that executes it.

Units from a closed union (`bnn_hw.design.units`), with an edge for each stream between them. What follows from a design (the
Amaranth components, the resources, the memories of run-time weights, the simulation's taps, the rows of synthesis) is one
`match` over its units or one loop over its edges.
"""

from dataclasses import dataclass, replace
from math import prod

from bnn_hw.contract.streams import RESULT_BITS, STREAM_BITS
from bnn_hw.design.names import layer_instance
from bnn_hw.design.plan import LayerPlan, Plan, check_plan
from bnn_hw.design.units import Argmax, Compare, Convert, Dot, MatVec, Pool, Rescale, Slide, Unit, Window
from bnn_hw.network.network import (
    Conv,
    Dense,
    DenseRelu,
    Dtype,
    MaxPool,
    Network,
    Scores,
    Step,
    WeightLayer,
    element_bits,
    layer_sums,
    scaled_limits,
    scaled_reach,
    weight_layer,
    weight_matrix,
)

__all__ = [
    "Design",
    "Edge",
    "divisors",
    "engine_units",
    "input_converts",
    "input_cycles",
    "input_lanes",
    "layer_units",
    "lower",
    "pool_lanes",
    "pool_units",
]


@dataclass(frozen=True)
class Edge:
    """A stream of words of `lanes` elements from a unit to another, by their names; None is a port of the accelerator.

    `mark_bits`: of a word, beside its elements. `step`: the layer whose output it carries, or None where that is none's.
    """

    source: str | None
    target: str | None
    lanes: int
    element_bits: int
    mark_bits: int = 0
    step: Step | None = None

    @property
    def payload_bits(self) -> int:
        """The width of a word."""
        return self.lanes * self.element_bits + self.mark_bits


@dataclass(frozen=True, eq=False)
class Design:
    """The hardware of a network under a plan, made by `lower`: units in the order of the data's way, and their streams."""

    network: Network
    plan: Plan
    units: tuple[Unit, ...]
    edges: tuple[Edge, ...]

    @property
    def cycles(self) -> int:
        """The initiation interval: cycles from one image to the next."""
        return max(input_cycles(self.network), *(unit.cycles for unit in self.units))

    @property
    def engines(self) -> tuple[MatVec | Pool, ...]:
        """The unit of each layer that computes it, in order."""
        return tuple(unit for unit in self.units if isinstance(unit, MatVec | Pool))

    @property
    def activations(self) -> tuple[tuple[Edge, Step], ...]:
        """The output stream of each layer before the scores, in order, with the layer."""
        return tuple((edge, edge.step) for edge in self.edges if edge.step and edge.step.output.dtype != "int32")

    def layer_cycles(self, layer: str) -> int:
        """Returns the cycles that an image takes in a layer: its engine and the window before it."""
        return max(unit.cycles for unit in self.units if isinstance(unit, Slide | MatVec | Pool) and unit.layer == layer)


def lower(network: Network, plan: Plan) -> Design:
    """Returns the hardware of `network` under `plan`. Raises `ArtefactError` naming the layer where they do not fit."""
    check_plan(network, plan)
    remaining, units, edges = iter(plan.layers), list[Unit](), list[Edge]()
    stream = Edge(None, None, input_lanes(network), element_bits(network.input.signal))

    def append(unit: Unit, step: Step | None) -> Edge:
        units.append(unit)
        edges.append(replace(stream, target=unit.name))
        return _output(unit, step)

    for index, step in enumerate(network.steps):
        planned = next(remaining) if weight_layer(step.layer) else None
        for unit in layer_units(step, stream.lanes, planned, first=index == 0, runtime_weights=plan.runtime_weights):
            stream = append(unit, step)
    stream = append(Convert("_argmax_input", None, stream.element_bits, network.classes, stream.lanes, 1, 1), None)
    stream = append(Argmax("_argmax", network.classes, stream.element_bits), None)
    return Design(network, plan, tuple(units), (*edges, stream))


def layer_units(
    step: Step, lanes: int, planned: LayerPlan | None, *, first: bool, runtime_weights: bool = False
) -> tuple[Unit, ...]:
    """Returns the units of a layer that takes words of `lanes` elements, of images if it is the first one.

    A pooling works on the words that come, so `planned` is None for it.
    """
    if planned is None:
        width = pool_lanes(step, lanes, first=first)
        converts = input_converts(step, lanes, width, first=first)
        return *converts, *pool_units(step, width, runtime_weights=runtime_weights)
    converts = input_converts(step, lanes, planned.simd, first=first)
    return *converts, *engine_units(step, planned, runtime_weights=runtime_weights)


def input_converts(step: Step, lanes: int, simd: int, *, first: bool) -> tuple[Convert, ...]:
    """Returns what makes words of `lanes` elements into those that a layer's engine of `simd` inputs a cycle takes."""
    layer, signal = step.layer, step.input
    # The elements that the words that come are laid out for: an image, or what the layer before gives at a place.
    vector = signal.size if first else signal.shape[-1]
    match layer:
        case Conv():
            sizes = _conversions(vector, vector, lanes, min(simd, signal.shape[2]))
        case MaxPool():
            sizes = _conversions(vector, vector, lanes, simd)
        case Dense() | DenseRelu() | Scores():
            sizes = _conversions(vector, signal.size, lanes, simd)
    return tuple(
        Convert(layer_instance(layer.name, f"input{index}"), layer.name, element_bits(signal), *size, signal.size // size[0])
        for index, size in enumerate(sizes)
    )


def engine_units(step: Step, planned: LayerPlan, *, runtime_weights: bool = False) -> tuple[Slide | Convert | MatVec, ...]:
    """Returns the engine of a layer with weights, and the window before it where the layer has one."""
    layer, signal, simd = step.layer, step.input, planned.simd
    assert not isinstance(layer, MaxPool)
    before: tuple[Slide | Convert, ...] = ()
    pixel_lanes: int | None = None
    if isinstance(layer, Conv):
        lanes, bits = min(simd, signal.shape[2]), element_bits(signal)
        zeros = layer.pads_bits_with_zeros(signal)
        window = Window(signal.shape[0], signal.shape[1], signal.shape[2] // lanes, layer.kernel, layer.stride, layer.padding)
        padding = None if zeros else _padding_word(layer, signal.dtype, lanes, bits)
        slide = Slide(layer_instance(layer.name, "window"), layer.name, window, lanes, bits, padding)
        before, pixel_lanes = (slide,), lanes if zeros else None
        if simd > lanes:  # whole pixels
            name, area, places = layer_instance(layer.name, "pixels"), prod(layer.kernel), prod(window.places)
            before = slide, Convert(name, layer.name, lanes * bits, area, 1, simd // lanes, places, True, slide.mark_bits)
    engine = MatVec(
        layer_instance(layer.name),
        layer.name,
        Dot(signal.dtype, simd, pixel_lanes),
        weight_matrix(layer),
        layer_sums(layer, signal),
        _finish(layer, step),
        planned.pe,
        planned.lut_bits,
        prod(step.output.shape[:-1]),
        runtime_weights,
    )
    return *before, engine


def pool_units(step: Step, lanes: int, *, runtime_weights: bool = False) -> tuple[Slide, Pool]:
    """Returns the engine of a pooling that takes and gives words of `lanes` channels, and the window before it."""
    layer, signal = step.layer, step.input
    assert isinstance(layer, MaxPool)
    width = min(lanes, signal.shape[2])
    window = Window(signal.shape[0], signal.shape[1], -(-signal.shape[2] // width), layer.size, layer.stride, (0, 0, 0, 0))
    slide = Slide(layer_instance(layer.name, "window"), layer.name, window, width, element_bits(signal), words_first=True)
    places, name = prod(window.places), layer_instance(layer.name)
    return slide, Pool(name, layer.name, prod(layer.size), lanes, layer.and_channels, places, runtime_weights)


def pool_lanes(step: Step, lanes: int, *, first: bool) -> int:
    """Returns the channels a cycle of a pooling to which words of `lanes` elements come, of images if it is the first layer."""
    return max(divisor for divisor in divisors(step.input.shape[-1]) if divisor <= lanes) if first else lanes


def input_lanes(network: Network) -> int:
    """Returns the elements of an image in a word of the input stream."""
    return STREAM_BITS // element_bits(network.input.signal)


def input_cycles(network: Network) -> int:
    """Returns the words of `STREAM_BITS` bits that an image takes on the input stream, one a cycle."""
    return -(-network.input.signal.size // input_lanes(network))


def divisors(count: int) -> list[int]:
    """Returns the divisors of a number, rising."""
    return [divisor for divisor in range(1, count + 1) if count % divisor == 0]


def _output(unit: Unit, step: Step | None) -> Edge:
    """Returns the stream that a unit, of the layer `step` or of none, gives, to no unit yet."""
    match unit:
        case Convert():
            return Edge(unit.name, None, unit.lanes_out, unit.element_bits, unit.lanes_out * unit.mark_bits)
        case Slide():
            return Edge(unit.name, None, unit.lanes, unit.element_bits, unit.mark_bits)
        case MatVec():
            return Edge(unit.name, None, unit.pe, unit.result_bits, step=step)
        case Pool():
            return Edge(unit.name, None, unit.lanes, 1, step=step)
        case Argmax():
            return Edge(unit.name, None, 1, RESULT_BITS, mark_bits=1)


def _conversions(vector_in: int, vector_out: int, lanes_in: int, lanes_out: int) -> tuple[tuple[int, int, int], ...]:
    """Returns count, lanes in and lanes out of what makes vectors of `vector_in` elements into longer ones, or into other words."""
    if vector_in != vector_out and vector_in % lanes_in:  # the words have gaps, which a longer vector has not
        return (vector_in, lanes_in, vector_in), *_conversions(vector_in, vector_out, vector_in, lanes_out)
    return () if lanes_in == lanes_out else ((vector_out, lanes_in, lanes_out),)


def _padding_word(layer: Conv, dtype: Dtype, lanes: int, bits: int) -> int:
    """Returns a word of `lanes` elements of a convolution's padding."""
    element = int(layer.padding_value > 0) if dtype == "bit" else layer.padding_value % (1 << bits)
    return sum(element << lane * bits for lane in range(lanes))


def _finish(layer: WeightLayer, step: Step) -> Compare | Rescale:
    """Returns what makes the outputs of a layer of its sums."""
    match layer:
        case Dense() | Conv():
            return Compare(layer.thresholds)
        case DenseRelu() | Scores():
            reach, limits = int(scaled_reach(layer, step.input).max()), scaled_limits(layer, step.input)
            shift = layer.shift if isinstance(layer, DenseRelu) else None
            return Rescale(layer.scale, layer.offset, reach, *limits, shift)
