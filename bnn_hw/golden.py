# SPDX-License-Identifier: Apache-2.0
"""The golden model: what a network computes, exactly, in numpy.

Products of +1 and -1 run as floating-point matrix products, because numpy's are fast and because they are exact here:
every partial sum is an integer below 2**24 in float32, or below 2**53 in float64 where float32 would not hold it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network import Dense, Network, Scores, Signal, sum_range

__all__ = ["Trace", "classify", "prepare", "scores", "trace"]

_CHUNK: Final = 1000  # images at a time, so that activations stay in cache and memory stays small
_FLOAT32_EXACT: Final = 1 << 24


@dataclass(frozen=True, eq=False)
class Trace:
    """What every layer gave: `activations` has [images, outputs] bool for each layer before the scores.

    `scores`: [images, classes] int32.
    """

    activations: tuple[np.ndarray, ...]
    scores: np.ndarray


def prepare(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns images as the network's first layer takes them: [images, inputs] of bool, uint8 or int8.

    `images`: [images, ...] in the network's input shape or flattened. For ``bit`` inputs they are bool, or uint8
    pixels that are compared with the network's `pixel_threshold`; otherwise of the input's own dtype. Raises
    `ArtefactError` for another shape or dtype.
    """
    shape, dtype = network.input.shape, network.input.dtype
    size = network.input.signal.size
    if images.ndim == 0 or images.shape[1:] not in (shape, (size,), shape[:-1] if shape[-1] == 1 else shape):
        raise ArtefactError(f"images must be [images, {', '.join(map(str, shape))}], not {list(images.shape)}")
    flat = images.reshape(len(images), size)
    if dtype == "bit":
        if flat.dtype == np.uint8 and network.input.pixel_threshold is not None:
            return flat >= network.input.pixel_threshold
        wanted = "bool, or uint8 pixels" if network.input.pixel_threshold is not None else "bool"
        if flat.dtype != np.bool_:
            raise ArtefactError(f"images must be {wanted}, not {flat.dtype}")
    elif flat.dtype != dtype:
        raise ArtefactError(f"images must be {dtype}, not {flat.dtype}")
    return flat


def trace(network: Network, images: np.ndarray) -> Trace:
    """Returns every layer's output for `images`, which are as in `prepare`."""
    inputs = prepare(network, images)
    chunks = [_run(network, inputs[at : at + _CHUNK]) for at in range(0, max(len(inputs), 1), _CHUNK)]
    return Trace(
        tuple(np.concatenate(parts) for parts in zip(*(chunk.activations for chunk in chunks), strict=True)),
        np.concatenate([chunk.scores for chunk in chunks]),
    )


def scores(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns the scores of `images`, which are as in `prepare`: [images, classes] int32."""
    return trace(network, images).scores


def classify(network: Network, images: np.ndarray) -> np.ndarray:
    """Returns the class of each image, the lowest among the greatest scores: [images] int64."""
    return scores(network, images).argmax(axis=1)


def _run(network: Network, x: np.ndarray) -> Trace:
    activations = []
    for step in network.steps():
        sums = _sums(x, step.layer.weights, step.input)
        match step.layer:
            case Dense(thresholds=thresholds):
                totals = (sums + step.input.size) // 2 if step.input.dtype == "bit" else sums
                x = totals >= thresholds
                activations.append(x)
            case Scores(scale=scale, offset=offset):
                return Trace(tuple(activations), (sums * scale + offset).astype(np.int32))
    raise AssertionError("a Network ends with Scores")


def _sums(x: np.ndarray, weights: np.ndarray, signal: Signal) -> np.ndarray:
    """Returns sum(w * x) over +1 and -1, or over the raw integers: [images, outputs] int64."""
    dtype = np.float32 if sum_range(signal)[1] < _FLOAT32_EXACT else np.float64
    operand = _signs(x, dtype) if signal.dtype == "bit" else x.astype(dtype)
    return (operand @ _signs(weights, dtype).T).astype(np.int64)


def _signs(bits: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    return 2 * bits.astype(dtype) - dtype(1)
