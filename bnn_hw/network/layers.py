# SPDX-License-Identifier: Apache-2.0
"""The layers of a network and what flows between them, each checked by itself when it is made."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from bnn_hw.errors import ArtefactError

__all__ = [
    "INPUT_RANGES",
    "MAX_PADDING",
    "MAX_WINDOW",
    "Conv",
    "Dense",
    "DenseRelu",
    "Dtype",
    "Input",
    "Layer",
    "MaxPool",
    "Scores",
    "Signal",
    "WeightLayer",
    "dtype_bits",
    "element_bits",
    "pixel_channels",
    "weight_layer",
    "weight_matrix",
]

Dtype: TypeAlias = Literal["bit", "uint8", "int8", "int32"]

INPUT_RANGES: Final[Mapping[str, tuple[int, int]]] = {"bit": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}
_LAYER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
MAX_WINDOW: Final = 1 << 10
MAX_PADDING: Final = 1 << 10
_MAX_SHIFT: Final = 31


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
        return math.prod(self.shape)


@dataclass(frozen=True)
class Input:
    """What a network takes: `shape` (features,) or (rows, columns, channels) of ``bit``, ``uint8`` or ``int8``.

    `pixel_threshold`, for ``bit`` inputs that come from 8-bit images: a pixel is bit 1 where it is at least this.
    """

    shape: tuple[int, ...]
    dtype: Literal["bit", "uint8", "int8"]
    pixel_threshold: int | None = None

    def __post_init__(self) -> None:
        if not any(_are_ints(self.shape, count, 1, 1 << 20) for count in (1, 3)):
            raise ArtefactError(
                f"input.shape must be integers [features] or [rows, columns, channels], each 1..{1 << 20}, not {self.shape!r}"
            )
        if self.dtype not in INPUT_RANGES:
            raise ArtefactError(f"input.dtype must be one of {', '.join(INPUT_RANGES)}, not {self.dtype!r}")
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
class DenseRelu:
    """A fully connected binary layer whose outputs are rectified 8-bit integers.

    `weights`: [outputs, inputs] bool; `scale` and `offset`: [outputs] int32, of any sign; `shift`: 0..31. An output is
    ``clamp((scale * sum + offset) >> shift, 0, 255)``, where the shift rounds down. What is shifted fits in 48 bits.
    """

    name: str
    weights: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    shift: int

    def __post_init__(self) -> None:
        _check_layer_name(self.name)
        outputs = _freeze_weights(self)
        _freeze(self, "scale", np.int32, (outputs,))
        _freeze(self, "offset", np.int32, (outputs,))
        if not _is_int(self.shift) or not 0 <= self.shift <= _MAX_SHIFT:
            raise ArtefactError(f"layer {self.name}: shift must be an integer in 0..{_MAX_SHIFT}, not {self.shift!r}")


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
        _check_pair(self.name, "kernel", self.kernel)
        _check_pair(self.name, "stride", self.stride)
        if not _are_ints(self.padding, 4, 0, MAX_PADDING):
            raise ArtefactError(
                f"layer {self.name}: padding must be integers (above, below, left, right), each 0..{MAX_PADDING}, "
                f"not {self.padding!r}"
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
        if not isinstance(self.and_channels, np.ndarray) or self.and_channels.ndim != 1 or self.and_channels.size == 0:
            raise ArtefactError(f"layer {self.name}: and_channels must be an array [channels], at least 1")
        _freeze(self, "and_channels", np.bool_, self.and_channels.shape)


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


Layer: TypeAlias = Dense | DenseRelu | Conv | MaxPool | Scores
WeightLayer: TypeAlias = Dense | DenseRelu | Conv | Scores  # those that multiply


def dtype_bits(dtype: Dtype) -> int:
    """Returns the width of an element in bits."""
    return {"bit": 1, "uint8": 8, "int8": 8, "int32": 32}[dtype]


def element_bits(signal: Signal) -> int:
    """Returns the width of a signal's elements in bits."""
    return dtype_bits(signal.dtype)


def weight_layer(layer: Layer) -> WeightLayer | None:
    """Returns the layer if it has weights, else None."""
    match layer:
        case Dense() | DenseRelu() | Conv() | Scores():
            return layer
        case MaxPool():
            return None


def pixel_channels(layer: WeightLayer) -> int | None:
    """Returns the channels of a pixel of a layer that reads windows, or None for one that reads whole vectors."""
    match layer:
        case Conv():
            return layer.weights.shape[3]
        case Dense() | DenseRelu() | Scores():
            return None


def weight_matrix(layer: WeightLayer) -> np.ndarray:
    """Returns the weights with a row for each neuron: [outputs, inputs] bool, a convolution's inputs those of a window."""
    return layer.weights.reshape(len(layer.weights), -1)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_ints(values: object, count: int, least: int, most: int) -> bool:
    """Returns whether `values` is a tuple of `count` integers in least..most."""
    return isinstance(values, tuple) and len(values) == count and all(_is_int(value) and least <= value <= most for value in values)


def _check_layer_name(name: str) -> None:
    if not isinstance(name, str) or not _LAYER_NAME.fullmatch(name):
        raise ArtefactError(f"layer name must be lower-case letters, digits and _, from a letter on, not {name!r}")


def _check_pair(name: str, field_name: str, pair: tuple[int, int]) -> None:
    if not _are_ints(pair, 2, 1, MAX_WINDOW):
        raise ArtefactError(f"layer {name}: {field_name} must be integers (rows, columns), each 1..{MAX_WINDOW}, not {pair!r}")


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
