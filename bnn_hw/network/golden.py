# SPDX-License-Identifier: Apache-2.0
"""The golden model: what a network computes, exactly, in numpy.

Products of +1 and -1 run as floating-point matrix products, because numpy's are fast and because they are exact here:
every partial sum is an integer below 2**24 in float32, or below 2**53 in float64 where float32 would not hold it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np

from bnn_hw.network.images import as_batch, prepare_images
from bnn_hw.network.network import (
    Conv,
    Dense,
    DenseRelu,
    Layer,
    MaxPool,
    Network,
    Scores,
    Signal,
    Step,
    WeightLayer,
    layer_sums,
    least_sums,
    weight_matrix,
)

__all__ = ["Trace", "classify", "prepare", "scores", "trace"]

_CHUNK_ELEMENTS: Final = 1 << 22  # operands of a product at a time, so that they stay near the processor and memory stays small
_FLOAT32_EXACT: Final = 1 << 24


@dataclass(frozen=True, eq=False)
class Trace:
    """What every layer gave: `activations` has [images, outputs] for each layer before the scores, flattened.

    They are bool, or uint8 where the layer gives 8-bit integers. `scores`: [images, classes] int32.
    """

    activations: tuple[np.ndarray, ...]
    scores: np.ndarray


def prepare(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns images as the network's first layer takes them, [images, inputs], as `bnn_hw.network.images.prepare_images` does."""
    return prepare_images(network.input, images)


def trace(network: Network, images: np.ndarray) -> Trace:
    """Returns every layer's output for `images`, which are as in `prepare`."""
    chunks = [list(_run(network, chunk)) for chunk in _chunks(network, images)]
    outputs = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    *activations, scores = (
        output.reshape(len(output), step.output.size) for output, step in zip(outputs, network.steps, strict=True)
    )
    return Trace(tuple(activations), scores)


def scores(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns the scores of `images`, which are as in `prepare`: [images, classes] int32, or [classes] for one image alone."""
    batch, one = as_batch(images, network.input)
    last = [deque(_run(network, chunk), maxlen=1) for chunk in _chunks(network, batch)]
    found = np.concatenate([scores for (scores,) in last])
    return found[0] if one else found


def classify(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns the class of each image, the lowest among the greatest scores: [images] int64, or [] for one image alone."""
    return scores(network, images).argmax(axis=-1)


def _chunks(network: Network, images: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images as the first layer takes them, so many at a time that its work stays small; once if none."""
    inputs = prepare(network, images)
    greatest = max(_operands(step) for step in network.steps)
    count = max(1, _CHUNK_ELEMENTS // greatest)
    for at in range(0, max(len(inputs), 1), count):
        yield inputs[at : at + count].reshape(-1, *network.input.shape)


def _operands(step: Step) -> int:
    """Returns the number of inputs that all neurons of a layer take for an image, each place's counted."""
    if isinstance(step.layer, Conv):
        return step.output.size // len(step.layer.weights) * step.layer.weights[0].size
    return step.input.size


def _run(network: Network, x: np.ndarray) -> Iterator[np.ndarray]:
    """Yields each layer's output: [images, ...] bool or uint8 in its own shape, and at last [images, classes] int32."""
    for step in network.steps:
        x = _output(step.layer, x, step.input)
        yield x


def _output(layer: Layer, x: np.ndarray, signal: Signal) -> np.ndarray:
    match layer:
        case Dense() | Conv():
            sums = _sums(layer, x, signal)
            return sums >= least_sums(layer, signal).astype(sums.dtype)
        case MaxPool():
            return _pool(layer, x)
        case DenseRelu(shift=shift):
            return np.clip(_scaled_sums(layer, x, signal) >> shift, 0, 255).astype(np.uint8)
        case Scores():
            return _scaled_sums(layer, x, signal).astype(np.int32)


def _scaled_sums(layer: DenseRelu | Scores, x: np.ndarray, signal: Signal) -> np.ndarray:
    """Returns scale * sum + offset: [images, outputs] int64."""
    return _sums(layer, x, signal).astype(np.int64) * layer.scale + layer.offset


def _sums(layer: WeightLayer, x: np.ndarray, signal: Signal) -> np.ndarray:
    """Returns sum(w * x) over +1 and -1, or over the raw integers: [images, (rows, columns,) outputs] float, exact."""
    dtype = np.float32 if -layer_sums(layer, signal).low < _FLOAT32_EXACT else np.float64
    operand = _signs(x, dtype) if signal.dtype == "bit" else x.astype(dtype)
    weights = _signs(weight_matrix(layer), dtype)
    if isinstance(layer, Conv):
        above, below, left, right = layer.padding
        pads = ((0, 0), (above, below), (left, right), (0, 0))
        padded = np.pad(operand, pads, constant_values=layer.padding_value)
        operand = np.concatenate(_under_window(padded, layer.kernel, layer.stride), axis=3)
    else:
        operand = operand.reshape(len(operand), weights.shape[1])
    return operand @ weights.T


def _pool(layer: MaxPool, x: np.ndarray) -> np.ndarray:
    """Returns each window's OR, or AND: [images, rows, columns, channels] bool."""
    # An AND is the OR of the complements, complemented.
    return reduce(np.logical_or, _under_window(x ^ layer.and_channels, layer.size, layer.stride)) ^ layer.and_channels


def _under_window(x: np.ndarray, size: tuple[int, int], stride: tuple[int, int]) -> list[np.ndarray]:
    """Returns for each pixel of a window, row by row, what lies under it at each place.

    `x`: [images, rows, columns, channels]; the results: [images, rows', columns', channels], views of it.
    """
    last_row, last_column = x.shape[1] - size[0], x.shape[2] - size[1]
    return [
        x[:, row : last_row + row + 1 : stride[0], column : last_column + column + 1 : stride[1]]
        for row in range(size[0])
        for column in range(size[1])
    ]


def _signs(bits: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    return 2 * bits.astype(dtype) - dtype(1)
