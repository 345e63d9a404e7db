# SPDX-License-Identifier: Apache-2.0
"""Random networks, inputs and trained layers for hypothesis. Structure is drawn and shrinks; content follows from a drawn seed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from hypothesis import strategies as st

from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, Layer, MaxPool, Network, Scores, Signal, Sums, window_places

__all__ = [
    "DTYPES",
    "TrainedLayer",
    "WindowShape",
    "conv_networks",
    "networks",
    "of_one_shape",
    "random_conv_network",
    "random_inputs",
    "random_network",
    "random_plan",
    "trained_layers",
]

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
    rectified: bool = True,
) -> Network:
    """Random networks of 1 to `max_layers` layers, scores included, each 1 to `max_width` wide.

    Some hidden layers give rectified integers, where `rectified`. Thresholds lie at both ends of their range, beside them, and
    where a neuron fires for about half of the inputs; scores often tie (`random_network` has the details).
    """
    dtype = draw(st.sampled_from(tuple(dtypes)))
    widths = draw(st.lists(_widths(max_width), min_size=1, max_size=max_layers))
    classes = draw(_widths(max_classes or max_width))
    kind = draw(st.sampled_from(_SCORE_KINDS))
    shape = draw(st.sampled_from(_shapes(widths[0])))
    pixel_threshold = draw(st.sampled_from((None, 0, 1, 128, 255, 256))) if dtype == "bit" else None
    integers = draw(_rectified(len(widths) - 1)) if rectified else []
    seed = draw(st.integers(0, 2**32 - 1))
    return random_network(Input(shape, dtype, pixel_threshold), (*widths[1:], classes), seed, kind, integers)


def random_network(
    input_: Input, widths: Sequence[int], seed: int, kind: str = "plain", rectified: Collection[int] = ()
) -> Network:
    """Returns a network of layers of `widths`, the last of which gives scores of one of these kinds.

    Of the layers before it those of the indices `rectified` give 8-bit integers, the others bits.

    plain: scale 1 and offset 0, so that ties are common; twins: each class twice, so that all winners tie; zero: all
    scores equal; widest: at the ends of int32; mixed: any scale and offset of either sign.
    """
    rng = np.random.default_rng(seed)
    return Network("random", input_, (*_random_dense(rng, input_.signal, widths, kind, rectified),))


@dataclass(frozen=True)
class WindowShape:
    """A convolution without its content, or a pooling where `outputs` is None."""

    size: tuple[int, int]
    stride: tuple[int, int]
    outputs: int | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_value: int = 0

    def output_shape(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Returns the shape that it gives for one of rows, columns and channels."""
        above, below, left, right = self.padding
        rows = window_places(shape[0] + above + below, self.size[0], self.stride[0])
        return rows, window_places(shape[1] + left + right, self.size[1], self.stride[1]), self.outputs or shape[2]


@st.composite
def conv_networks(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[Literal["bit", "uint8", "int8"]] = DTYPES,
    max_extent: int = 9,
    max_channels: int = 9,
    max_windows: int = 3,
    max_classes: int = 12,
    rectified: bool = True,
) -> Network:
    """Random networks of 1 to `max_windows` convolutions and poolings, up to two dense layers of either kind, and scores.

    Images, kernels and strides are no squares, paddings differ on each side and hold each value, poolings overlap or
    leave rows and columns out. On bits a pooling may come first. Thresholds and scores are as in `networks`.
    """
    dtype = draw(st.sampled_from(tuple(dtypes)))
    extents = st.integers(1, max_extent)
    shape = draw(extents), draw(extents), draw(st.integers(1, max_channels))
    input_, windows = Input(shape, dtype), list[WindowShape]()
    for index in range(draw(st.integers(1, max_windows))):
        if (dtype == "bit" or index) and draw(st.booleans()):
            size = draw(st.integers(1, min(3, shape[0]))), draw(st.integers(1, min(3, shape[1])))
            windows.append(WindowShape(size, draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))))
        else:
            windows.append(draw(_convolutions(shape, "bit" if index else dtype, max_channels)))
        shape = windows[-1].output_shape(shape)
    widths = draw(st.lists(st.integers(1, 20), max_size=2))
    classes, kind = draw(st.integers(1, max_classes)), draw(st.sampled_from(_SCORE_KINDS))
    integers = draw(_rectified(len(widths))) if rectified else []
    return random_conv_network(input_, windows, (*widths, classes), draw(st.integers(0, 2**32 - 1)), kind, integers)


@st.composite
def _convolutions(draw: st.DrawFn, shape: Sequence[int], dtype: str, max_channels: int) -> WindowShape:
    none, any_ = st.just((0, 0, 0, 0)), st.integers(0, 2)
    above, below, left, right = draw(none | st.tuples(any_, any_, any_, any_))
    value = draw(st.sampled_from((0, 1) if dtype == "uint8" else (0, -1, 1))) if above + below + left + right else 0
    size, stride = [], []
    for extent, before, after in ((shape[0], above, below), (shape[1], left, right)):
        size.append(draw(st.integers(1, min(4, before + extent + after))))
        step = draw(st.integers(1, 3))
        starts = range(-before, extent + after - size[-1] + 1, step)
        touches = any(start < extent and start + size[-1] > 0 for start in starts)
        stride.append(step if touches else 1)
    outputs = draw(st.integers(1, max_channels))
    return WindowShape((size[0], size[1]), (stride[0], stride[1]), outputs, (above, below, left, right), value)


def random_conv_network(
    input_: Input,
    windows: Sequence[WindowShape],
    widths: Sequence[int],
    seed: int,
    kind: str = "plain",
    rectified: Collection[int] = (),
) -> Network:
    """Returns a network of convolutions and poolings, then layers of `widths` as in `random_network`."""
    rng = np.random.default_rng(seed)
    signal, layers = input_.signal, list[Layer]()
    for index, window in enumerate(windows, 1):
        channels = signal.shape[2]
        if window.outputs is None:
            layers.append(MaxPool(f"pool{index}", window.size, window.stride, rng.random(channels) < 0.5))
        else:
            weights = _random_weights(rng, window.outputs, window.size[0] * window.size[1] * channels)
            zeros = any(window.padding) and window.padding_value == 0
            thresholds = _random_thresholds(rng, weights, signal.dtype, Sums.of(weights.shape[1], signal.dtype, zeros=zeros))
            weights = weights.reshape(window.outputs, *window.size, channels)
            layers.append(Conv(f"conv{index}", weights, thresholds, window.stride, window.padding, window.padding_value))
        signal = Signal(window.output_shape(signal.shape), "bit")
    return Network("random", input_, (*layers, *_random_dense(rng, signal, widths, kind, rectified)))


def of_one_shape(one: Network, other: Network) -> tuple[Network, Network]:
    """Returns two networks of the same layers, the second with the shifts of the first, which belong to the shape."""
    layers = [
        replace(two, shift=first.shift) if isinstance(first, DenseRelu) and isinstance(two, DenseRelu) else two
        for first, two in zip(one.layers, other.layers, strict=True)
    ]
    return one, replace(other, layers=tuple(layers))


def random_plan(network: Network, seed: int, max_products: int = 256) -> Plan:
    """Returns a plan for a network, of at most so many products a cycle and layer, so that compiling stays quick.

    A convolution's SIMD divides its channels or is a multiple of them. Weights lie in look-up tables, in block RAM or in both.
    """
    rng = np.random.default_rng(seed)
    layers = []
    for step in network.steps:
        layer = step.layer
        if isinstance(layer, MaxPool):
            continue
        outputs, inputs = len(layer.weights), layer.weights[0].size
        choices = range(1, inputs + 1)
        if isinstance(layer, Conv):
            channels = step.input.shape[2]
            parts = [part for part in range(1, channels + 1) if channels % part == 0]
            choices = [*parts, *range(2 * channels, inputs + 1, channels)]
        simd = int(rng.choice([choice for choice in choices if choice <= max_products]))
        pe = int(rng.integers(1, min(outputs, max_products // simd), endpoint=True))
        lut_bits = int(rng.choice([0, pe * simd, rng.integers(0, pe * simd, endpoint=True)]))
        layers.append(LayerPlan(layer.name, pe, simd, lut_bits))
    return Plan(tuple(layers), levels=int(rng.integers(2, 8, endpoint=True)))


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


def _rectified(layers: int) -> st.SearchStrategy[list[int]]:
    """Draws which of so many dense layers give rectified integers."""
    return st.lists(st.sampled_from(range(layers)), unique=True) if layers else st.just([])


def _shapes(features: int) -> list[tuple[int, ...]]:
    rows = next(rows for rows in range(int(features**0.5), 0, -1) if features % rows == 0)
    return [(features,), (features, 1, 1), (rows, features // rows, 1), (1, rows, features // rows)]


def _random_weights(rng: np.random.Generator, outputs: int, inputs: int) -> np.ndarray:
    weights = rng.random((outputs, inputs)) < rng.random((outputs, 1))
    weights[rng.random(outputs) < 0.1] = rng.random() < 0.5  # some neurons with all weights equal
    return weights


def _random_dense(
    rng: np.random.Generator, signal: Signal, widths: Sequence[int], kind: str, rectified: Collection[int]
) -> Iterator[Layer]:
    """Yields dense layers of `widths`, of which the last one gives scores, and those of the indices `rectified` integers."""
    for index, outputs in enumerate(widths[:-1]):
        weights = _random_weights(rng, outputs, signal.size)
        if index in rectified:
            yield _random_relu(rng, f"fc{index + 1}", weights, signal)
        else:
            thresholds = _random_thresholds(rng, weights, signal.dtype, Sums.of(signal.size, signal.dtype))
            yield Dense(f"fc{index + 1}", weights, thresholds)
        signal = Signal((outputs,), "uint8" if index in rectified else "bit")
    yield _random_scores(rng, widths[-1], signal, kind)


def _random_relu(rng: np.random.Generator, name: str, weights: np.ndarray, signal: Signal) -> DenseRelu:
    """Returns a layer of rectified integers: most are now above 0, now not; some reach as far as they may, some are constant."""
    outputs, inputs = weights.shape
    reach = -Sums.of(inputs, signal.dtype).low
    centre, width = _typical_sums(weights, signal.dtype)
    shift = int(rng.integers(0, 31, endpoint=True))
    greatest = min(2**31 - 1, (2**46 - 1) // reach)  # with the greatest offset it stays below 2**47
    signs = rng.choice([-1, 1], outputs)
    scale = np.clip(np.rint(signs * 2.0**shift * rng.uniform(20, 200) / width), -greatest, greatest)
    offset = np.clip(rng.normal(0, 64, outputs) * 2.0**shift - scale * centre, -(2**31) + 1, 2**31 - 1)
    scale, offset = scale.astype(np.int64), offset.astype(np.int64)
    chosen = rng.random(outputs)
    scale[chosen < 0.2] = (signs * greatest)[chosen < 0.2]
    scale[chosen < 0.1] = 0
    offset[chosen > 0.9] = (signs * (2**31 - 1))[chosen > 0.9]
    return DenseRelu(name, weights, scale.astype(np.int32), offset.astype(np.int32), shift)


def _typical_sums(weights: np.ndarray, dtype: str) -> tuple[np.ndarray, float]:
    """Returns where the sums of each neuron lie, [outputs], and how far around."""
    outputs, inputs = weights.shape
    if dtype == "bit":
        return np.zeros(outputs), inputs**0.5
    middle = 127.5 if dtype == "uint8" else -0.5
    return middle * (2.0 * weights.sum(axis=1) - inputs), 74.0 * inputs**0.5


def _random_thresholds(rng: np.random.Generator, weights: np.ndarray, dtype: str, sums: Sums) -> np.ndarray:
    """Returns thresholds for weights [outputs, inputs]: most where a neuron fires for about half of the inputs."""
    outputs = len(weights)
    centre, width = _typical_sums(weights, dtype)
    positions = np.rint((rng.normal(centre, width) - sums.low) / sums.unit)
    always, never = sums.always, sums.never
    typical = np.clip(always + positions, always, never).astype(np.int64)
    ends = np.array([always, min(always + 1, never), max(never - 1, always), never])[rng.integers(0, 4, outputs)]
    return np.where(rng.random(outputs) < 0.7, typical, ends).astype(np.int32)


def _random_scores(rng: np.random.Generator, classes: int, signal: Signal, kind: str) -> Scores:
    weights = _random_weights(rng, classes, signal.size)
    reach = -Sums.of(signal.size, signal.dtype).low
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
