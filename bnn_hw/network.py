# SPDX-License-Identifier: Apache-2.0
"""The one intermediate representation: a trained binarized network as integers and bits, checked when it is made.

Bit 1 is +1 and bit 0 is -1. Every executor (numpy, PyTorch, RTL, CUDA, board) computes the same function of it:

- `Dense` on bits: ``matches = popcount(xnor(x, w))`` in 0..K, and the neuron fires iff ``matches >= threshold``;
- `Dense` on 8-bit integers: ``sum = sum(w * x)``, and the neuron fires iff ``sum >= threshold``;
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
    "Dense",
    "Input",
    "Layer",
    "Network",
    "Scores",
    "Signal",
    "Step",
    "element_bits",
    "score_reach",
    "sum_range",
    "threshold_range",
]

Dtype: TypeAlias = Literal["bit", "uint8", "int8", "int32"]

_INPUT_RANGES: Final[Mapping[str, tuple[int, int]]] = {"bit": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_LAYER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_WEIGHT_BITS: Final = 1 << 30
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


Layer: TypeAlias = Dense | Scores


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
        for step in self.steps():
            _check_step(step)

    def steps(self) -> Iterator[Step]:
        """Yields the layers in order, each with its input and output signal."""
        signal = self.input.signal
        for layer in self.layers:
            match layer:
                case Dense():
                    output = Signal((layer.weights.shape[0],), "bit")
                case Scores():
                    output = Signal((layer.weights.shape[0],), "int32")
            yield Step(layer, signal, output)
            signal = output

    @property
    def classes(self) -> int:
        """The number of scores."""
        return self.layers[-1].weights.shape[0]

    @property
    def weight_bits(self) -> int:
        """The number of binary weights, a bit each."""
        return sum(layer.weights.size for layer in self.layers)


def element_bits(signal: Signal) -> int:
    """Returns the width of a signal's elements in bits."""
    return {"bit": 1, "uint8": 8, "int8": 8, "int32": 32}[signal.dtype]


def sum_range(signal: Signal) -> tuple[int, int]:
    """Returns the least and the greatest ``sum(w * x)`` over all weights of +1 and -1 and all inputs of `signal`."""
    if signal.dtype == "bit":
        return -signal.size, signal.size
    low, high = _INPUT_RANGES[signal.dtype]
    reach = max(-low, high) * signal.size
    return -reach, reach


def threshold_range(signal: Signal) -> tuple[int, int]:
    """Returns the threshold that always fires and the one that never does, for a binary layer on `signal`."""
    if signal.dtype == "bit":
        return 0, signal.size + 1
    low, high = sum_range(signal)
    return low, high + 1


def score_reach(layer: Scores, signal: Signal) -> np.ndarray:
    """Returns a bound on the magnitude of each class's scores: [classes] int64."""
    return np.abs(layer.scale.astype(np.int64)) * sum_range(signal)[1] + np.abs(layer.offset.astype(np.int64))


def _check_step(step: Step) -> None:
    layer, signal = step.layer, step.input
    if signal.dtype == "int32":
        raise ArtefactError(f"layer {layer.name} follows the scores; scores must be the last layer")
    inputs = layer.weights.shape[1]
    if inputs != signal.size:
        raise ArtefactError(
            f"layer {layer.name}: weights of shape {layer.weights.shape} take {inputs} inputs, "
            f"but what comes before gives {signal.size} (shape {signal.shape})"
        )
    if threshold_range(signal)[1] > _INT32_MAX:
        raise ArtefactError(f"layer {layer.name}: the sums of {inputs:,} {signal.dtype} inputs pass int32; take fewer inputs")
    match layer:
        case Dense():
            low, high = threshold_range(signal)
            wrong = np.flatnonzero((layer.thresholds < low) | (layer.thresholds > high))
            if wrong.size:
                raise ArtefactError(
                    f"layer {layer.name}: thresholds[{wrong[0]}] must be in {low}..{high}, not {layer.thresholds[wrong[0]]}"
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


def _freeze_weights(layer: Layer) -> int:
    """Checks and freezes `weights`; returns its number of outputs."""
    if not isinstance(layer.weights, np.ndarray) or layer.weights.ndim != 2 or layer.weights.size == 0:
        raise ArtefactError(f"layer {layer.name}: weights must be an array [outputs, inputs], each at least 1")
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
