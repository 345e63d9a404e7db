# SPDX-License-Identifier: Apache-2.0
"""The one intermediate representation: a trained binarized network as integers and bits, checked when it is made.

Bit 1 is +1 and bit 0 is -1. Every executor (numpy, PyTorch, RTL, CUDA, board) computes the same function of it:

- `Dense` on bits: ``matches = popcount(xnor(x, w))`` in 0..K, and the neuron fires iff ``matches >= threshold``;
- `Dense` on 8-bit integers: ``sum = sum(w * x)``, and the neuron fires iff ``sum >= threshold``;
- `Conv`: the same neurons at each place of a window on an image, padded with -1, +1 or true zeros. A true zero is half a
  match, so a layer of bits with zeros around it counts in halves: ``2 * matches + zeros >= threshold``;
- `MaxPool`: OR, or for some channels AND, of a window's bits;
- `Scores`: ``score = scale * sum + offset`` with ``sum = 2 * matches - K`` on bits. The class is the lowest index
  among the greatest scores.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from bnn_hw.errors import ArtefactError

__all__ = [
    "Conv",
    "Dense",
    "Input",
    "Layer",
    "MaxPool",
    "Network",
    "Scores",
    "Signal",
    "Step",
    "Sums",
    "WeightLayer",
    "element_bits",
    "layer_sums",
    "pool_places",
    "score_reach",
    "weight_matrix",
]

Dtype: TypeAlias = Literal["bit", "uint8", "int8", "int32"]

_INPUT_RANGES: Final[Mapping[str, tuple[int, int]]] = {"bit": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_LAYER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_WEIGHT_BITS: Final = 1 << 30
_MAX_WINDOW: Final = 1 << 10
_MAX_PADDING: Final = 1 << 10
_INT32_MAX: Final = (1 << 31) - 1


@dataclass(frozen=True)
class Signal:
    """What flows between two layers: a shape and the type of its elements.

    `shape` is (features,) or (rows, columns, channels), flattened in that order.
    """

    shape: tuple[int, ...]
    dtype: Dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Input:
    """What a network takes: `shape` (features,) or (rows, columns, channels) of ``bit``, ``uint8`` or ``int8``.

    `pixel_threshold`, for ``bit`` inputs that come from 8-bit images: a pixel is bit 1 where it is at least this.
    """

    shape: tuple[int, ...]
    dtype: Literal["bit", "uint8", "int8"]
    pixel_threshold: int | None = None

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3) or not all(_is_int(extent) and 0 < extent <= 1 << 20 for extent in self.shape):
            raise ArtefactError(f"input.shape must be [features] or [rows, columns, channels], each at least 1, not {self.shape}")
        if self.dtype not in _INPUT_RANGES:
            raise ArtefactError(f"input.dtype must be one of {', '.join(_INPUT_RANGES)}, not {self.dtype!r}")
        if self.pixel_threshold is not None and not (
            self.dtype == "bit" and _is_int(self.pixel_threshold) and 0 <= self.pixel_threshold <= 256
        ):
            raise ArtefactError(f"input.pixel_threshold must be 0..256 and goes with dtype bit, not {self.pixel_threshold!r}")

    @property
    def signal(self) -> Signal:
        """The input as the first layer sees it."""
        return Signal(self.shape, self.dtype)


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected binary layer.

    `weights`: [outputs, inputs] bool; `thresholds`: [outputs] int32. On bits a threshold lies in 0..inputs+1, where 0
    always fires and inputs+1 never; on 8-bit integers in the same way from the lowest sum to one past the highest.
    """

    name: str
    weights: np.ndarray
    thresholds: np.ndarray

    def __post_init__(self) -> None:
        _check_layer_name(self.name)
        outputs = _freeze_weights(self)
        _freeze(self, "thresholds", np.int32, (outputs,))


@dataclass(frozen=True, eq=False)
class Conv:
    """A binary convolution: the same neurons at each place of a window on an image.

    `weights`: [outputs, rows, columns, channels] bool, the window's rows and columns; `thresholds`: [outputs] int32, as
    for `Dense` with rows*columns*channels inputs, but on bits with true zeros in units of half a match, from 0 to twice
    the inputs + 1. `stride`: (rows, columns) from one place to the next. `padding`: rows above and below and columns
    left and right of the image that hold `padding_value`: -1, +1 or 0, and 0 where there is no padding.
    """

    name: str
    weights: np.ndarray
    thresholds: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_value: int = 0

    def __post_init__(self) -> None:
        _check_layer_name(self.name)
        outputs = _freeze_weights(self, "outputs, rows, columns, channels")
        _freeze(self, "thresholds", np.int32, (outputs,))
        _check_pair(self.name, "stride", self.stride)
        if len(self.padding) != 4 or not all(_is_int(extent) and 0 <= extent <= _MAX_PADDING for extent in self.padding):
            raise ArtefactError(
                f"layer {self.name}: padding must be (above, below, left, right), each 0..{_MAX_PADDING}, not {self.padding}"
            )
        if not _is_int(self.padding_value) or self.padding_value not in ((-1, 0, 1) if any(self.padding) else (0,)):
            raise ArtefactError(
                f"layer {self.name}: padding_value must be -1, 0 or 1, and 0 without padding, not {self.padding_value!r}"
            )

    @property
    def kernel(self) -> tuple[int, int]:
        """The window's rows and columns."""
        return self.weights.shape[1], self.weights.shape[2]

    def pads_bits_with_zeros(self, signal: Signal) -> bool:
        """Returns whether inputs of three values, -1, 0 and +1, meet the weights when the layer takes `signal`."""
        return signal.dtype == "bit" and any(self.padding) and self.padding_value == 0


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The OR of each window's bits, or their AND in some channels.

    `size` and `stride`: (rows, columns) of the window and from one to the next; rows and columns that fill no window are
    left out, as in PyTorch. `and_channels`: [channels] bool, where the bits are a maximum under a falling function.
    """

    name: str
    size: tuple[int, int]
    stride: tuple[int, int]
    and_channels: np.ndarray

    def __post_init__(self) -> None:
        _check_layer_name(self.name)
        _check_pair(self.name, "size", self.size)
        _check_pair(self.name, "stride", self.stride)
        _freeze(self, "and_channels", np.bool_, np.shape(self.and_channels)[:1] or (1,))


@dataclass(frozen=True, eq=False)
class Scores:
    """The last layer: an integer score for each class.

    `weights`: [classes, inputs] bool; `scale` and `offset`: [classes] int32. All reachable scores fit in int32.
    """

    name: str
    weights: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def __post_init__(self) -> None:
        _check_layer_name(self.name)
        classes = _freeze_weights(self)
        _freeze(self, "scale", np.int32, (classes,))
        _freeze(self, "offset", np.int32, (classes,))


Layer: TypeAlias = Dense | Conv | MaxPool | Scores
WeightLayer: TypeAlias = Dense | Conv | Scores  # those that multiply


@dataclass(frozen=True)
class Step:
    """A layer with what it takes and what it gives."""

    layer: Layer
    input: Signal
    output: Signal


@dataclass(frozen=True, eq=False)
class Network:
    """A binarized network: an input, then layers, the last of which (and only that) is `Scores`.

    `provenance` says where it comes from (JSON values); it does not change what the network computes. Raises
    `ArtefactError` when the parts do not fit together, naming the layer and the field.
    """

    name: str
    input: Input
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ArtefactError(f"network name must be lower-case letters, digits, - and _, from a letter on, not {self.name!r}")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise ArtefactError(f"layer names must differ, not {', '.join(names)}")
        if not self.layers or not isinstance(self.layers[-1], Scores):
            raise ArtefactError("the last layer must be of type scores")
        if self.weight_bits > _MAX_WEIGHT_BITS:
            raise ArtefactError(f"a network may have {_MAX_WEIGHT_BITS:,} weights at the most, not {self.weight_bits:,}")
        for _ in self.steps():  # which checks each layer with what it takes
            pass

    def steps(self) -> Iterator[Step]:
        """Yields the layers in order, each with its input and output signal."""
        signal = self.input.signal
        for layer in self.layers:
            output = _output(layer, signal)
            yield Step(layer, signal, output)
            signal = output

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


def element_bits(signal: Signal) -> int:
    """Returns the width of a signal's elements in bits."""
    return {"bit": 1, "uint8": 8, "int8": 8, "int32": 32}[signal.dtype]


def weight_matrix(layer: WeightLayer) -> np.ndarray:
    """Returns the weights with a row for each neuron: [outputs, inputs] bool, a convolution's inputs those of a window."""
    return layer.weights.reshape(len(layer.weights), -1)


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
        """Returns the sums of a neuron with so many inputs of `dtype`, or of bits and true zeros."""
        if dtype != "bit":
            low = -max(map(abs, _INPUT_RANGES[dtype])) * inputs
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


def layer_sums(layer: WeightLayer, signal: Signal) -> Sums:
    """Returns the sums of a layer's neurons when it takes `signal`."""
    zeros = isinstance(layer, Conv) and layer.pads_bits_with_zeros(signal)
    return Sums.of(layer.weights[0].size, signal.dtype, zeros=zeros)


def score_reach(layer: Scores, signal: Signal) -> np.ndarray:
    """Returns a bound on the magnitude of each class's scores: [classes] int64."""
    return np.abs(layer.scale.astype(np.int64)) * -layer_sums(layer, signal).low + np.abs(layer.offset.astype(np.int64))


def pool_places(extent: int, size: int, stride: int) -> int:
    """Returns in how many places a window of `size` lies on `extent` rows or columns, `stride` from one to the next."""
    return (extent - size) // stride + 1


def _output(layer: Layer, signal: Signal) -> Signal:
    """Returns what a layer gives for `signal`. Raises `ArtefactError` naming the layer and both where they do not fit."""
    if signal.dtype == "int32":
        raise ArtefactError(f"layer {layer.name} follows the scores; scores must be the last layer")
    match layer:
        case Conv():
            output = Signal((*_places(layer, signal, layer.kernel, layer.padding), len(layer.weights)), "bit")
        case MaxPool():
            if signal.dtype != "bit":
                raise ArtefactError(f"layer {layer.name}: a max pooling takes bits, not {signal.dtype}; put it after a convolution")
            return Signal((*_places(layer, signal, layer.size, (0, 0, 0, 0)), len(layer.and_channels)), "bit")
        case Dense():
            output = Signal((len(layer.weights),), "bit")
        case Scores():
            output = Signal((len(layer.weights),), "int32")
    _check_weight_layer(layer, signal)
    return output


def _places(
    layer: Conv | MaxPool, signal: Signal, window: tuple[int, int], padding: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Returns in how many rows and columns of places a layer's window lies on its input."""
    channels = layer.weights.shape[3] if isinstance(layer, Conv) else len(layer.and_channels)
    if len(signal.shape) != 3 or signal.shape[2] != channels:
        raise ArtefactError(
            f"layer {layer.name}: a window of {channels} channels takes [rows, columns, {channels}], "
            f"but what comes before gives {list(signal.shape)}"
        )
    rows, columns = signal.shape[0] + sum(padding[:2]), signal.shape[1] + sum(padding[2:])
    padded = f"input of {rows}×{columns} (shape {list(signal.shape)}" + (f", padding {list(padding)})" if any(padding) else ")")
    for what, extents in (("window", window), ("stride", layer.stride)):
        if extents[0] > rows or extents[1] > columns:
            raise ArtefactError(f"layer {layer.name}: the {what} of {extents[0]}×{extents[1]} is larger than the {padded}")
    places = pool_places(rows, window[0], layer.stride[0]), pool_places(columns, window[1], layer.stride[1])
    for axis, before in enumerate((padding[0], padding[2])):
        first = (place * layer.stride[axis] - before for place in range(places[axis]))
        if not any(at < signal.shape[axis] and at + window[axis] > 0 for at in first):
            raise ArtefactError(
                f"layer {layer.name}: with a stride of {layer.stride[0]}×{layer.stride[1]} no window of {window[0]}×{window[1]} "
                f"touches the image in the {padded}"
            )
    return places


def _check_weight_layer(layer: WeightLayer, signal: Signal) -> None:
    inputs = layer.weights[0].size
    if not isinstance(layer, Conv) and inputs != signal.size:
        raise ArtefactError(
            f"layer {layer.name}: weights of shape {layer.weights.shape} take {inputs} inputs, "
            f"but what comes before gives {signal.size} (shape {signal.shape})"
        )
    sums = layer_sums(layer, signal)
    if max(sums.never, -sums.low) > _INT32_MAX:
        raise ArtefactError(f"layer {layer.name}: the sums of {inputs:,} {signal.dtype} inputs pass int32; take fewer inputs")
    match layer:
        case Dense() | Conv():
            if isinstance(layer, Conv) and signal.dtype == "uint8" and layer.padding_value < 0:
                raise ArtefactError(f"layer {layer.name}: padding_value must be 0 or 1 on uint8, not {layer.padding_value}")
            wrong = np.flatnonzero((layer.thresholds < sums.always) | (layer.thresholds > sums.never))
            if wrong.size:
                raise ArtefactError(
                    f"layer {layer.name}: thresholds[{wrong[0]}] must be in {sums.always}..{sums.never}, "
                    f"not {layer.thresholds[wrong[0]]}"
                )
        case Scores():
            reach = score_reach(layer, signal)
            if reach.max() > _INT32_MAX:
                index = int(reach.argmax())
                raise ArtefactError(
                    f"layer {layer.name}: scale[{index}] and offset[{index}] reach scores of {reach[index]:,}, past int32; "
                    "make both smaller by the same factor in every class"
                )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_layer_name(name: str) -> None:
    if not isinstance(name, str) or not _LAYER_NAME.fullmatch(name):
        raise ArtefactError(f"layer name must be lower-case letters, digits and _, from a letter on, not {name!r}")


def _check_pair(name: str, field_name: str, pair: tuple[int, int]) -> None:
    if len(pair) != 2 or not all(_is_int(extent) and 0 < extent <= _MAX_WINDOW for extent in pair):
        raise ArtefactError(f"layer {name}: {field_name} must be (rows, columns), each 1..{_MAX_WINDOW}, not {pair}")


def _freeze_weights(layer: WeightLayer, axes: str = "outputs, inputs") -> int:
    """Checks and freezes `weights`; returns its number of outputs."""
    if not isinstance(layer.weights, np.ndarray) or layer.weights.ndim != axes.count(",") + 1 or layer.weights.size == 0:
        raise ArtefactError(f"layer {layer.name}: weights must be an array [{axes}], each at least 1")
    _freeze(layer, "weights", np.bool_, layer.weights.shape)
    return layer.weights.shape[0]


def _freeze(layer: Layer, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    """Replaces a field of a frozen layer by a read-only copy, once its dtype and shape are right."""
    array = getattr(layer, name)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ArtefactError(f"layer {layer.name}: {name} must be {np.dtype(dtype)} {shape}, not {found}")
    copy = array.copy()
    copy.flags.writeable = False
    object.__setattr__(layer, name, copy)
