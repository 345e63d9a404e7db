# SPDX-License-Identifier: Apache-2.0
"""Random networks, inputs and trained layers for hypothesis. Structure is drawn and shrinks; content follows from a drawn seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from hypothesis import strategies as st

from bnn_hw.network import Dense, Input, Layer, Network, Scores, Signal, sum_range, threshold_range

__all__ = ["DTYPES", "TrainedLayer", "networks", "random_inputs", "random_network", "trained_layers"]

DTYPES: Final = ("bit", "uint8", "int8")
_EDGES: Final = (1, 2, 3, 7, 8, 9, 13, 31, 32, 33, 61, 63, 64, 65, 97, 127, 128, 129, 191, 199, 200)
_SCORE_KINDS: Final = ("plain", "twins", "zero", "widest", "mixed")


def _widths(greatest: int) -> st.SearchStrategy[int]:
    edges = [width for width in _EDGES if width <= greatest]
    return st.one_of(st.sampled_from(edges), st.integers(1, greatest))


@st.composite
def networks(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[Literal["bit", "uint8", "int8"]] = DTYPES,
    max_width: int = 200,
    max_layers: int = 4,
    max_classes: int | None = None,
) -> Network:
    """Random networks of 1 to `max_layers` layers, scores included, each 1 to `max_width` wide.

    Thresholds lie at both ends of their range, beside them, and where a neuron fires for about half of the inputs;
    scores often tie (`random_network` has the details).
    """
    dtype = draw(st.sampled_from(tuple(dtypes)))
    widths = draw(st.lists(_widths(max_width), min_size=1, max_size=max_layers))
    classes = draw(_widths(max_classes or max_width))
    kind = draw(st.sampled_from(_SCORE_KINDS))
    shape = draw(st.sampled_from(_shapes(widths[0])))
    pixel_threshold = draw(st.sampled_from((None, 0, 1, 128, 255, 256))) if dtype == "bit" else None
    seed = draw(st.integers(0, 2**32 - 1))
    return random_network(Input(shape, dtype, pixel_threshold), (*widths[1:], classes), seed, kind)


def random_network(input_: Input, widths: Sequence[int], seed: int, kind: str = "plain") -> Network:
    """Returns a network of layers of `widths`, the last of which gives scores of one of these kinds.

    plain: scale 1 and offset 0, so that ties are common; twins: each class twice, so that all winners tie; zero: all
    scores equal; widest: at the ends of int32; mixed: any scale and offset of either sign.
    """
    rng = np.random.default_rng(seed)
    signal, layers = input_.signal, list[Layer]()
    for index, outputs in enumerate(widths[:-1], 1):
        weights = _random_weights(rng, outputs, signal.size)
        layers.append(Dense(f"fc{index}", weights, _random_thresholds(rng, weights, signal)))
        signal = Signal((outputs,), "bit")
    layers.append(_random_scores(rng, widths[-1], signal, kind))
    return Network("random", input_, tuple(layers))


def random_inputs(network: Network, images: int, seed: int) -> np.ndarray:
    """Returns images for a network, [images, inputs] of its dtype: the lowest, the highest, then random ones."""
    rng = np.random.default_rng(seed)
    shape = (images, network.input.signal.size)
    if network.input.dtype == "bit":
        inputs = rng.random(shape) < rng.random((images, 1))
        inputs[:1], inputs[1:2] = False, True
        return inputs
    limits = np.iinfo(network.input.dtype)
    inputs = rng.integers(limits.min, limits.max, shape, network.input.dtype, endpoint=True)
    inputs[:1], inputs[1:2] = limits.min, limits.max
    return inputs


@dataclass(frozen=True, eq=False)
class TrainedLayer:
    """What training leaves of one layer: `weights` [outputs, inputs] bool, the rest [outputs] float32."""

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


@st.composite
def trained_layers(draw: st.DrawFn, *, inputs: int, outputs: int, extreme: bool = True) -> TrainedLayer:
    """Random trained layers: slopes of either sign, zero and tiny, and with `extreme` values up to 1e30.

    Means and biases are often integers or halves, so that the sign changes exactly at a reachable sum.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from((1.0, 4.0, float(inputs), 128.0 * inputs)))
    size = draw(st.sampled_from((1e-30, 1e-6, 1.0, 1e6, 1e30))) if extreme else 1.0
    gamma = rng.normal(size=outputs) * size
    chosen = rng.integers(0, 8, outputs)
    gamma = np.select([chosen == 0, chosen == 1, chosen == 2, chosen == 3], [0.0, -0.0, 1e-38, -1e-42], gamma)
    variance = 10.0 ** rng.uniform(-12, 6, outputs)
    beta = np.where(rng.random(outputs) < 0.5, 0.0, rng.normal(size=outputs) * size)
    mean, bias = (_sometimes_round(rng, rng.normal(size=outputs) * spread) for _ in range(2))
    parts = (bias, mean, variance, gamma, beta)
    return TrainedLayer(rng.random((outputs, inputs)) < 0.5, *(part.astype(np.float32) for part in parts))


def _shapes(features: int) -> list[tuple[int, ...]]:
    rows = next(rows for rows in range(int(features**0.5), 0, -1) if features % rows == 0)
    return [(features,), (features, 1, 1), (rows, features // rows, 1), (1, rows, features // rows)]


def _random_weights(rng: np.random.Generator, outputs: int, inputs: int) -> np.ndarray:
    weights = rng.random((outputs, inputs)) < rng.random((outputs, 1))
    weights[rng.random(outputs) < 0.1] = rng.random() < 0.5  # some neurons with all weights equal
    return weights


def _random_thresholds(rng: np.random.Generator, weights: np.ndarray, signal: Signal) -> np.ndarray:
    always, never = threshold_range(signal)
    centre = np.full(len(weights), signal.size / 2)
    width = 0.5 * signal.size**0.5
    if signal.dtype != "bit":
        middle = 127.5 if signal.dtype == "uint8" else -0.5
        centre, width = middle * (2.0 * weights.sum(axis=1) - signal.size), 74.0 * signal.size**0.5
    typical = np.clip(np.rint(rng.normal(centre, width)), always, never).astype(np.int64)
    ends = np.array([always, min(always + 1, never), max(never - 1, always), never])[rng.integers(0, 4, len(weights))]
    return np.where(rng.random(len(weights)) < 0.7, typical, ends).astype(np.int32)


def _random_scores(rng: np.random.Generator, classes: int, signal: Signal, kind: str) -> Scores:
    weights = _random_weights(rng, classes, signal.size)
    reach = sum_range(signal)[1]
    greatest_scale = (2**31 - 1) // reach
    scale, offset = np.ones(classes, np.int64), np.zeros(classes, np.int64)
    match kind:
        case "twins":
            weights[classes // 2 :] = weights[: classes - classes // 2]
        case "zero":
            scale[:] = 0
        case "widest":
            scale = rng.choice([-greatest_scale, greatest_scale], classes)
            offset = rng.choice([-1, 1], classes) * (2**31 - 1 - greatest_scale * reach)
        case "mixed":
            scale = rng.integers(-min(greatest_scale, 1000) // 2, min(greatest_scale, 1000) // 2, classes, endpoint=True)
            offset = rng.integers(-1000, 1000, classes)
    return Scores("scores", weights, scale.astype(np.int32), offset.astype(np.int32))


def _sometimes_round(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Returns values of which some are rounded to integers, some to halves."""
    return np.choose(rng.integers(0, 3, len(values)), [values, np.rint(values), np.rint(2 * values) / 2])
