# SPDX-License-Identifier: Apache-2.0
"""The one intermediate representation: a trained binarized network as integers and bits, checked when it is made.

Bit 1 is +1 and bit 0 is -1. Every executor (numpy, PyTorch, RTL, CUDA, board) computes the same function of it:

- `Dense` on bits: ``matches = popcount(xnor(x, w))`` in 0..K, and the neuron fires iff ``matches >= threshold``;
- `Dense` on 8-bit integers: ``sum = sum(w * x)``, and the neuron fires iff ``sum >= threshold``;
- `DenseRelu`: ``(scale * sum + offset) >> shift``, clamped to 0..255, is an 8-bit integer for the layer after it, with
  ``sum = 2 * matches - K`` on bits. The shift rounds down;
- `Conv`: the same neurons at each place of a window on an image, padded with -1, +1 or true zeros. A true zero is half a
  match, so a layer of bits with zeros around it counts in halves: ``2 * matches + zeros >= threshold``;
- `MaxPool`: OR, or for some channels AND, of a window's bits;
- `Scores`: ``score = scale * sum + offset`` with the sum of a `DenseRelu`. The class is the lowest index among the
  greatest scores.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import (
    INPUT_RANGES,
    Conv,
    Dense,
    DenseRelu,
    Dtype,
    Input,
    Layer,
    MaxPool,
    Scores,
    Signal,
    WeightLayer,
    dtype_bits,
    element_bits,
    pixel_channels,
    weight_layer,
    weight_matrix,
)

__all__ = [  # the layers too, so that a network and its layers come from one place
    "MAX_WEIGHT_BITS",
    "Conv",
    "Dense",
    "DenseRelu",
    "Dtype",
    "Input",
    "Layer",
    "MaxPool",
    "Network",
    "Scores",
    "Signal",
    "Step",
    "Sums",
    "WeightLayer",
    "check_network_name",
    "dtype_bits",
    "element_bits",
    "layer_sums",
    "least_sums",
    "pixel_channels",
    "scaled_limits",
    "scaled_reach",
    "weight_layer",
    "weight_matrix",
    "window_places",
]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MAX_WEIGHT_BITS: Final = 1 << 30
_MAX_ELEMENTS: Final = 1 << 26
_INT32_MAX: Final = (1 << 31) - 1
_INT48_MAX: Final = (1 << 47) - 1  # of the accumulator of a DSP48


@dataclass(frozen=True)
class Step:
    """A layer with what it takes and what it gives."""

    layer: Layer
    input: Signal
    output: Signal


@dataclass(frozen=True, eq=False)
class Network:
    """A binarized network: an input, then layers, the last of which (and only that) is `Scores`.

    `provenance` says where it comes from (JSON values); it does not change what the network computes. `steps`: the layers in
    order, each with its input and output signal. Raises `ArtefactError` when the parts do not fit together, naming the layer
    and the field.
    """

    name: str
    input: Input
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_network_name(self.name)
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise ArtefactError(f"layer names must differ, not {', '.join(names)}")
        if not self.layers or not isinstance(self.layers[-1], Scores):
            raise ArtefactError("the last layer must be of type scores")
        if self.weight_bits > MAX_WEIGHT_BITS:
            raise ArtefactError(f"a network may have at most {MAX_WEIGHT_BITS:,} weights, not {self.weight_bits:,}")
        object.__setattr__(self, "steps", tuple(_steps(self.input.signal, self.layers)))
        for step in self.steps:
            if max(step.input.size, step.output.size) > _MAX_ELEMENTS:
                raise ArtefactError(
                    f"layer {step.layer.name}: input and output may have {_MAX_ELEMENTS:,} elements, "
                    f"not {step.input.shape} and {step.output.shape}"
                )

    @property
    def classes(self) -> int:
        """The number of scores."""
        *_, last = self.layers
        assert isinstance(last, Scores)
        return len(last.weights)

    @property
    def weight_bits(self) -> int:
        """The number of binary weights, a bit each."""
        return sum(layer.weights.size for layer in self.layers if not isinstance(layer, MaxPool))


@dataclass(frozen=True)
class Sums:
    """The sums that a neuron can come to, ``low, low + unit, ..., -low``, over all its weights and inputs.

    `always` and `never` are the thresholds that every sum reaches, and that none does; the sum ``low + unit * n`` reaches
    the thresholds up to ``always + n``.
    """

    low: int
    unit: int
    always: int

    @classmethod
    def of(cls, inputs: int, dtype: str, *, zeros: bool = False) -> "Sums":
        """Returns the sums of a neuron with `inputs` inputs of `dtype`, or of bits and true zeros."""
        if dtype != "bit":
            low = -max(map(abs, INPUT_RANGES[dtype])) * inputs
            return cls(low, 1, low)
        return cls(-inputs, 1 if zeros else 2, 0)  # without zeros, sums have the parity of the number of inputs

    @property
    def count(self) -> int:
        """The number of different sums."""
        return -2 * self.low // self.unit + 1

    @property
    def never(self) -> int:
        """The threshold that no sum reaches."""
        return self.always + self.count


def check_network_name(name: object) -> None:
    """Raises `ArtefactError` where a network cannot have that name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArtefactError(f"network name must be lower-case letters, digits, - and _, from a letter on, not {name!r}")


def layer_sums(layer: WeightLayer, signal: Signal) -> Sums:
    """Returns the sums of a layer's neurons when it takes `signal`."""
    zeros = isinstance(layer, Conv) and layer.pads_bits_with_zeros(signal)
    return Sums.of(layer.weights[0].size, signal.dtype, zeros=zeros)


def least_sums(layer: Dense | Conv, signal: Signal) -> np.ndarray:
    """Returns the least sum with which each neuron fires when the layer takes `signal`: [outputs] int64."""
    sums = layer_sums(layer, signal)
    return sums.low + sums.unit * (layer.thresholds.astype(np.int64) - sums.always)


def scaled_reach(layer: DenseRelu | Scores, signal: Signal) -> np.ndarray:
    """Returns a bound on the magnitude of each output's ``scale * sum + offset``: [outputs] int64."""
    return np.abs(layer.scale.astype(np.int64)) * -layer_sums(layer, signal).low + np.abs(layer.offset.astype(np.int64))


def scaled_limits(layer: DenseRelu | Scores, signal: Signal) -> tuple[int, int]:
    """Returns the greatest magnitude that a scale may have in a layer of this shape, and that ``scale * sum + offset`` may."""
    reach = -layer_sums(layer, signal).low
    most = _INT32_MAX if isinstance(layer, Scores) else _INT48_MAX
    scale = min(1 << 31, most // reach)
    return scale, min(most, scale * reach + (1 << 31))


def window_places(extent: int, size: int, stride: int) -> int:
    """Returns in how many places a window of `size` lies on `extent` rows or columns, `stride` from one to the next."""
    return (extent - size) // stride + 1


def _steps(signal: Signal, layers: Iterable[Layer]) -> Iterator[Step]:
    """Yields the layers in order, each with what it takes and gives, once it is checked with what it takes."""
    for layer in layers:
        output = _output(layer, signal)
        yield Step(layer, signal, output)
        signal = output


def _output(layer: Layer, signal: Signal) -> Signal:
    """Returns what a layer gives for `signal`. Raises `ArtefactError` naming the layer and both where they do not fit."""
    if signal.dtype == "int32":
        raise ArtefactError(f"layer {layer.name} follows the scores; scores must be the last layer")
    match layer:
        case Dense():
            _check_inputs(layer, signal)
            _check_thresholds(layer, signal)
            return Signal((len(layer.weights),), "bit")
        case DenseRelu():
            _check_inputs(layer, signal)
            _check_scaled(layer, signal)
            return Signal((len(layer.weights),), "uint8")
        case Conv():
            places = _places(layer, signal, layer.weights.shape[3], layer.kernel, layer.padding)
            if signal.dtype == "uint8" and layer.padding_value < 0:
                raise ArtefactError(f"layer {layer.name}: padding_value must be 0 or 1 on uint8, not {layer.padding_value}")
            _check_thresholds(layer, signal)
            return Signal((*places, len(layer.weights)), "bit")
        case MaxPool():
            if signal.dtype != "bit":
                raise ArtefactError(f"layer {layer.name}: a max pooling takes bits, not {signal.dtype}; put it after a convolution")
            places = _places(layer, signal, len(layer.and_channels), layer.size, (0, 0, 0, 0))
            return Signal((*places, len(layer.and_channels)), "bit")
        case Scores():
            _check_inputs(layer, signal)
            _check_scaled(layer, signal)
            return Signal((len(layer.weights),), "int32")


def _places(
    layer: Conv | MaxPool, signal: Signal, channels: int, window: tuple[int, int], padding: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Returns in how many rows and columns of places a layer's window lies on its input."""
    if len(signal.shape) != 3 or signal.shape[2] != channels:
        raise ArtefactError(
            f"layer {layer.name}: a window of {channels} channels takes [rows, columns, {channels}], "
            f"but what comes before gives {list(signal.shape)}"
        )
    rows, columns = signal.shape[0] + sum(padding[:2]), signal.shape[1] + sum(padding[2:])
    padded = f"input of {rows}x{columns} (shape {list(signal.shape)}" + (f", padding {list(padding)})" if any(padding) else ")")
    if window[0] > rows or window[1] > columns:
        raise ArtefactError(f"layer {layer.name}: the window of {window[0]}x{window[1]} is larger than the {padded}")
    places = window_places(rows, window[0], layer.stride[0]), window_places(columns, window[1], layer.stride[1])
    for axis, before in enumerate((padding[0], padding[2])):
        first = (place * layer.stride[axis] - before for place in range(places[axis]))
        if not any(at < signal.shape[axis] and at + window[axis] > 0 for at in first):
            raise ArtefactError(
                f"layer {layer.name}: with a stride of {layer.stride[0]}x{layer.stride[1]} no window of {window[0]}x{window[1]} "
                f"touches the image in the {padded}"
            )
    return places


def _check_inputs(layer: Dense | DenseRelu | Scores, signal: Signal) -> None:
    inputs = layer.weights.shape[1]
    if inputs != signal.size:
        raise ArtefactError(
            f"layer {layer.name}: weights of shape {layer.weights.shape} take {inputs} inputs, "
            f"but what comes before gives {signal.size} (shape {signal.shape})"
        )


def _check_thresholds(layer: Dense | Conv, signal: Signal) -> None:
    sums = _checked_sums(layer, signal)
    wrong = np.flatnonzero((layer.thresholds < sums.always) | (layer.thresholds > sums.never))
    if wrong.size:
        raise ArtefactError(
            f"layer {layer.name}: thresholds[{wrong[0]}] must be in {sums.always}..{sums.never}, not {layer.thresholds[wrong[0]]}"
        )


def _check_scaled(layer: DenseRelu | Scores, signal: Signal) -> None:
    _checked_sums(layer, signal)
    reach = scaled_reach(layer, signal)
    index = int(reach.argmax())
    found = f"layer {layer.name}: scale[{index}] and offset[{index}] reach"
    if isinstance(layer, Scores) and reach[index] > _INT32_MAX:
        raise ArtefactError(f"{found} scores of {reach[index]:,}, past int32; make both smaller by the same factor in every class")
    if reach[index] > _INT48_MAX:
        raise ArtefactError(f"{found} {reach[index]:,} before the shift, past 48 bits; make both smaller, and shift less")


def _checked_sums(layer: WeightLayer, signal: Signal) -> Sums:
    """Returns the sums of a layer's neurons, once they fit in int32."""
    sums = layer_sums(layer, signal)
    if max(sums.never, -sums.low) > _INT32_MAX:
        inputs = layer.weights[0].size
        raise ArtefactError(f"layer {layer.name}: the sums of {inputs:,} {signal.dtype} inputs pass int32; take fewer inputs")
    return sums
