# SPDX-License-Identifier: Apache-2.0
"""Folding: an integer neuron fires exactly where the trained float32 function is not negative, at every reachable sum."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.batch_norm import BatchNorm
from bnn_hw.network.fold import FoldedNeurons, fold_neurons, fold_scores
from bnn_hw.network.network import Conv, Dense, Input, MaxPool, Network, Sums
from bnn_training import normalization
from bnn_training.binary_layers import BinaryLinear
from bnn_training.folding import export_network
from bnn_training.model import BinaryBlock
from bnn_training.topology import build_network
from support.strategies import DTYPES, TrainedLayer, random_inputs, trained_layers

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
OUTPUTS = 16
EPSILON = 1e-4


def torch_block(layer: TrainedLayer) -> BinaryBlock:
    """Returns the trained layer as a module in eval mode."""
    outputs, inputs = layer.weights.shape
    block = BinaryBlock(BinaryLinear(inputs, outputs), normalization.BatchNorm(outputs, epsilon=EPSILON))
    values = {
        "product.weight": np.where(layer.weights, np.float32(0.5), np.float32(-0.5)),
        "product.bias": layer.bias,
        "normalize.running_mean": layer.mean,
        "normalize.running_var": layer.variance,
        "normalize.weight": layer.gamma,
        "normalize.bias": layer.beta,
    }
    block.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in values.items()})
    return block.eval()


@torch.no_grad()
def activations(block: BinaryBlock, sums: np.ndarray) -> np.ndarray:
    """Returns the trained function at the same sums for all neurons: [sums] to [sums, outputs] float32."""
    outputs = len(block.normalize.weight)
    return block.normalized(torch.from_numpy(np.repeat(sums[:, None], outputs, 1).astype(np.float32))).numpy()


def fold(block: BinaryBlock, weights: np.ndarray, sums: Sums) -> FoldedNeurons:
    @torch.no_grad()
    def function(sums: np.ndarray) -> np.ndarray:
        return block.normalized(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_neurons("fc1", weights, function, sums)


def fires_at(folded: FoldedNeurons, weights: np.ndarray, sums: np.ndarray, kind: str) -> np.ndarray:
    """Returns where folded neurons fire, [sums, outputs], for sums that the original weights give.

    A neuron keeps its weights or has all of them inverted, and then its sum is the negative.
    """
    assert np.array_equal(folded.weights, weights ^ folded.falling[:, None])
    own_sums = np.where(folded.falling, -sums[:, None], sums[:, None])
    inputs = weights.shape[1]
    totals = {"bit": (own_sums + inputs) // 2, "zeros": own_sums + inputs}.get(kind, own_sums)  # matches, half matches, sums
    return totals >= folded.thresholds


# What a neuron's inputs may be: bits, bits and true zeros, pixels.
KINDS = ("bit", "zeros", "uint8", "int8")


def reachable(inputs: int, kind: str) -> Sums:
    return Sums.of(inputs, "bit" if kind == "zeros" else kind, zeros=kind == "zeros")


@cache
def reachable_sums(inputs: int, kind: str) -> np.ndarray:
    """Returns every sum that some inputs and weights give, one input after the other."""
    products = {"bit": (-1, 1), "zeros": (-1, 0, 1), "uint8": range(-255, 256), "int8": range(-128, 129)}[kind]
    sums = np.zeros(1, np.int64)
    for _ in range(inputs):
        sums = np.unique(np.add.outer(sums, np.array(products)))
    return sums


def test_the_sums_are_those_that_inputs_give() -> None:
    for kind, inputs in itertools.product(KINDS, (1, 2, 5)):
        sums, expected = reachable(inputs, kind), reachable_sums(inputs, kind)
        assert [sums.low + sums.unit * n for n in range(sums.count)] == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_folded_neuron_is_the_trained_function_at_every_sum(kind: str, data: st.DataObject) -> None:
    inputs = data.draw(st.integers(1, 67 if kind in ("bit", "zeros") else 9), "inputs")
    layer = data.draw(trained_layers(inputs=inputs, outputs=OUTPUTS))
    block, sums = torch_block(layer), reachable_sums(inputs, kind)
    values = activations(block, sums)
    if np.isnan(values).any():
        with pytest.raises(ArtefactError, match=r"^layer fc1, neuron \d+: the activation is NaN; train again$"):
            fold(block, layer.weights, reachable(inputs, kind))
        return
    folded = fold(block, layer.weights, reachable(inputs, kind))
    assert folded.thresholds.dtype == np.int32
    assert np.array_equal(fires_at(folded, layer.weights, sums, kind), values >= 0)
    fires = values >= 0
    assert np.array_equal(folded.falling, fires[0] & ~fires[-1])
    low, high = {"bit": (0, inputs + 1), "zeros": (0, 2 * inputs + 1), "uint8": (-255 * inputs, 255 * inputs + 1)}.get(
        kind, (-128 * inputs, 128 * inputs + 1)
    )
    assert ((folded.thresholds >= low) & (folded.thresholds <= high)).all()


@pytest.mark.parametrize(("inputs", "kind"), [(255, "bit"), (784, "bit"), (1023, "bit"), (575, "zeros"), (27, "int8")])
def test_wide_layers_at_every_sum(inputs: int, kind: str) -> None:
    """As above, for the widths of real layers and a sign that changes in the midst of the sums."""
    rng = np.random.default_rng(inputs)
    outputs, spread = 64, inputs**0.5 * (75 if kind == "int8" else 1)
    layer = TrainedLayer(
        weights=rng.random((outputs, inputs)) < 0.5,
        bias=rng.normal(size=outputs).astype(np.float32),
        mean=(rng.normal(size=outputs) * spread).astype(np.float32),
        variance=(spread**2 * rng.uniform(0.1, 2, outputs)).astype(np.float32),
        gamma=(rng.choice([-1, 1], outputs) * rng.uniform(0.5, 2, outputs)).astype(np.float32),
        beta=rng.uniform(-1, 1, outputs).astype(np.float32),
    )
    block, sums = torch_block(layer), reachable_sums(inputs, kind)
    folded = fold(block, layer.weights, reachable(inputs, kind))
    fires = fires_at(folded, layer.weights, sums, kind)
    assert np.array_equal(fires, activations(block, sums) >= 0)
    assert (fires.any(axis=0) & ~fires.all(axis=0)).all()


def test_thresholds_by_hand() -> None:
    """Three inputs: the sums are -3, -1, 1, 3, and the matches 0 to 3."""
    slope = np.array([1, 1, 1, 1, 1, -1, -1, -1, 0, 0, 0])
    offset = np.array([0, 1, 1.01, -3.01, 3, 0, 1, -3.01, 0, 1, -1])
    weights = np.tile([True, False, True], (len(slope), 1))
    folded = fold_neurons("fc1", weights, lambda sums: slope * sums + offset, Sums.of(3, "bit"))
    assert folded.thresholds.tolist() == [2, 1, 1, 4, 0, 2, 1, 4, 0, 0, 4]
    inverted = (folded.weights != weights).all(axis=1)
    assert inverted.tolist() == [False] * 5 + [True] * 2 + [False] * 4
    assert np.array_equal(folded.weights, weights ^ inverted[:, None])
    assert np.array_equal(folded.falling, inverted)


def test_thresholds_with_true_zeros_by_hand() -> None:
    """Two inputs of -1, 0 or +1: the sums are -2 to 2, and the half matches 0 to 4."""
    slope = np.array([1, 1, 1, 1, 1, -1, -1, -1, 0, 0])
    offset = np.array([0, 1, 0.5, -2.5, 2, 0, 1, -2.5, 0, -1])
    weights = np.tile([True, False], (len(slope), 1))
    folded = fold_neurons("conv1", weights, lambda sums: slope * sums + offset, Sums.of(2, "bit", zeros=True))
    assert folded.thresholds.tolist() == [2, 1, 2, 5, 0, 2, 1, 5, 0, 5]
    assert folded.falling.tolist() == [False] * 5 + [True] * 2 + [False] * 3
    assert np.array_equal(folded.weights, weights ^ folded.falling[:, None])


def test_weights_of_any_shape_are_inverted_as_one() -> None:
    weights = np.random.default_rng(3).random((4, 3, 2, 5)) < 0.5
    slope = np.array([1, -1, 0, -2])
    folded = fold_neurons("conv1", weights, lambda sums: slope * sums + 1, Sums.of(30, "bit"))
    assert np.array_equal(folded.weights[[0, 2]], weights[[0, 2]])
    assert np.array_equal(folded.weights[[1, 3]], ~weights[[1, 3]])
    assert folded.falling.tolist() == [False, True, False, True]


def test_thresholds_of_integers_by_hand() -> None:
    """Two uint8 inputs: the sums are -510 to 510."""
    slope = np.array([1, 1, 2, -1, -1, 1, 1, 0, 0])
    offset = np.array([0, -7, 7, 7, 0, 511, -511, -1, 0])
    weights = np.ones((len(slope), 2), bool)
    folded = fold_neurons("fc1", weights, lambda sums: slope * sums + offset, Sums.of(2, "uint8"))
    assert folded.thresholds.tolist() == [0, 7, -3, -7, 0, -510, 511, 511, -510]
    assert (~folded.weights).all(axis=1).tolist() == [False, False, False, True, True, False, False, False, False]


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_inputs_of_a_tiny_layer(dtype: str) -> None:
    """The folded layer against the trained one on inputs, not on sums."""
    rng = np.random.default_rng(5)
    bias, mean, gamma, beta = rng.normal(size=(4, 32)).astype(np.float32)
    layer = TrainedLayer(rng.random((32, 3)) < 0.5, bias, mean, np.ones(32, np.float32), gamma, beta)
    values = {"bit": (-1, 1), "uint8": (0, 1, 100, 254, 255), "int8": (-128, -127, 0, 1, 127)}[dtype]
    x = np.array(list(itertools.product(values, repeat=3)))
    block = torch_block(layer)
    folded = fold(block, layer.weights, Sums.of(3, dtype))
    with torch.no_grad():
        expected = block(torch.from_numpy(x.astype(np.float32))).numpy() >= 0
    for row, fired in zip(x.tolist(), expected.tolist(), strict=True):
        for neuron in range(32):
            weights = folded.weights[neuron].tolist()
            total = sum(value if weight else -value for value, weight in zip(row, weights, strict=True))
            matches_or_sum = (total + 3) // 2 if dtype == "bit" else total
            assert fired[neuron] == (matches_or_sum >= int(folded.thresholds[neuron]))


UNDEFINED = [
    ("running_var", 0.0, "variance must be positive and finite, not 0.0"),
    ("running_var", -1.0, "variance must be positive and finite, not -1.0"),
    ("running_var", np.nan, "variance must be positive and finite, not nan"),
    ("running_var", np.inf, "variance must be positive and finite, not inf"),
    ("running_mean", np.nan, "mean must be finite, not nan"),
    ("running_mean", -np.inf, "mean must be finite, not -inf"),
    ("weight", np.nan, "gamma must be finite, not nan"),
    ("bias", np.inf, "beta must be finite, not inf"),
]


@pytest.mark.parametrize(("parameter", "value", "message"), UNDEFINED)
@pytest.mark.parametrize(("block", "name"), [(0, "fc1"), (1, "fc2"), (2, "scores")])
def test_undefined_batch_norm(block: int, name: str, parameter: str, value: float, message: str) -> None:
    network = build_network("4-4", (5,), 4).eval()
    with torch.no_grad():
        getattr(network.stages[block].normalize, parameter)[2] = value
    with pytest.raises(ArtefactError, match=f"^layer {name}, neuron 2: batch norm {message}; train on, or remove the neuron$"):
        export_network("net", network, Input((5,), "bit"))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (0, "^layer fc1, neuron 3: bias must be finite, not nan; train on, or remove the neuron$"),
        (1, "^layer scores, neuron 3: bias must be finite, not nan; train on, or remove the neuron$"),
    ],
)
def test_bias_that_is_nan(block: int, message: str) -> None:
    network = build_network("4", (5,), 4).eval()
    with torch.no_grad():
        network.stages[block].product.bias[3] = np.nan
    with pytest.raises(ArtefactError, match=message):
        export_network("net", network, Input((5,), "bit"))


def test_nan_between_the_ends_of_the_sums() -> None:
    with pytest.raises(ArtefactError, match=r"^layer fc1, neuron 1: the activation is NaN; train again$"):
        fold_neurons(
            "fc1",
            np.ones((2, 8), bool),
            lambda sums: np.where((sums == 0) & (np.arange(2) == 1), np.nan, sums.astype(float)),
            Sums.of(8, "bit"),
        )


# Scores.


@settings(deadline=None)
@given(data=st.data())
def test_the_winner_of_folded_scores(data: st.DataObject) -> None:
    """Integer scores have the real ones' winner wherever that leads by more than the rounding of scale and offset."""
    inputs, classes = data.draw(st.integers(1, 200), "inputs"), data.draw(st.integers(1, 20), "classes")
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    size = 10.0 ** data.draw(st.integers(-300, 290), "size")
    slope, intercept = size * rng.normal(size=classes), size * inputs * rng.normal(size=classes)
    sums_of = Sums.of(inputs, dtype)
    folded = fold_scores("scores", np.ones((classes, inputs), bool), slope, intercept, sums_of)
    reach = {"bit": 1, "uint8": 255, "int8": 128}[dtype] * inputs
    assert int((np.abs(folded.scale.astype(object)) * reach + np.abs(folded.offset.astype(object))).max()) <= 2**31 - 1
    sums = rng.integers(-reach, reach, (200, classes), endpoint=True)
    real, integer = slope * sums + intercept, sums * folded.scale.astype(np.int64) + folded.offset
    unit = ((np.abs(slope) * reach + np.abs(intercept)).max()) / 2**29  # of the integers; a factor of 2 or more is in use
    margin = unit * (reach + 1)  # half a unit in scale and offset, for winner and second
    leads = np.sort(real)[:, -1] - (np.sort(real)[:, -2] if classes > 1 else -np.inf) > margin
    assert np.array_equal(real.argmax(axis=1)[leads], integer.argmax(axis=1)[leads])


def test_equal_scores_stay_equal_and_wide() -> None:
    slope, intercept = np.array([0.3, 0.3, -0.3]), np.array([0.7, 0.7, 0.7])
    folded = fold_scores("scores", np.ones((3, 64), bool), slope, intercept, Sums.of(64, "bit"))
    assert folded.scale[0] == folded.scale[1] == -folded.scale[2]
    assert folded.offset[0] == folded.offset[1] == folded.offset[2]
    reach = int(folded.scale[0]) * 64 + int(folded.offset[0])
    assert 2**30 <= reach <= 2**31 - 1


@pytest.mark.parametrize(
    ("slope", "intercept", "scale", "offset"),
    [
        ([0.0, 0.0], [0.0, 0.0], [0, 0], [0, 0]),
        ([1.0, -1.0], [0.0, 0.0], [2**29, -(2**29)], [0, 0]),
        ([0.0], [-3.0], [0], [-3 * 2**29]),
        ([5e-324], [0.0], [2**29], [0]),
    ],
)
def test_scores_by_hand(slope: list[float], intercept: list[float], scale: list[int], offset: list[int]) -> None:
    weights = np.ones((len(slope), 3), bool)
    folded = fold_scores("scores", weights, np.array(slope), np.array(intercept), Sums.of(3, "bit"))
    assert (folded.scale.tolist(), folded.offset.tolist()) == (scale, offset)


def test_scores_that_round_up_past_int32_take_a_bit_less() -> None:
    almost_two = np.nextafter(2.0, 0)
    folded = fold_scores("scores", np.ones((1, 1), bool), np.array([almost_two]), np.array([0.0]), Sums.of(1, "bit"))
    assert folded.scale.tolist() == [2**30]


@pytest.mark.parametrize(
    ("slope", "intercept", "message"),
    [
        ([1.0, np.inf], [0.0, 0.0], "^layer scores, class 1: the slope must be finite, not inf$"),
        ([1.0, 1.0], [np.nan, 0.0], "^layer scores, class 0: the intercept must be finite, not nan$"),
    ],
)
def test_scores_that_are_not_finite(slope: list[float], intercept: list[float], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        fold_scores("scores", np.ones((2, 3), bool), np.array(slope), np.array(intercept), Sums.of(3, "bit"))


@settings(deadline=None)
@given(layer=trained_layers(inputs=11, outputs=OUTPUTS, extreme=False))
def test_a_folded_layer_goes_into_a_network(layer: TrainedLayer) -> None:
    try:
        folded = fold(torch_block(layer), layer.weights, Sums.of(11, "bit"))
    except ArtefactError:
        assume(False)
    last = fold_scores("scores", np.ones((2, OUTPUTS), bool), np.ones(2), np.ones(2), Sums.of(OUTPUTS, "bit"))
    Network("net", Input((11,), "bit"), (Dense("fc1", folded.weights, folded.thresholds), last))


# A pooling before the batch norm.


def naive_pooled_bits(
    images: np.ndarray, weights: np.ndarray, norm: BatchNorm, padding_value: int, size: int, step: int
) -> list[list[list[list[int]]]]:
    """Returns the trained layer's bits, by loops over floats: convolve, take the greatest sum, batch norm, sign.

    `images`: [images, rows, columns, channels] of -1 and +1, or of pixels; a rim of one `padding_value` goes around them.
    """
    outputs, height, width, _ = weights.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=padding_value)
    result = []
    for image in padded:
        sums = [
            [
                [
                    float((image[row : row + height, column : column + width] * np.where(weights[neuron], 1, -1)).sum())
                    for neuron in range(outputs)
                ]
                for column in range(image.shape[1] - width + 1)
            ]
            for row in range(image.shape[0] - height + 1)
        ]
        bits = []
        for row in range(0, len(sums) - size + 1, step):
            bits.append([])
            for column in range(0, len(sums[0]) - size + 1, step):
                pixel = []
                for neuron in range(outputs):
                    greatest = max(sums[row + r][column + c][neuron] for r in range(size) for c in range(size))
                    deviation = (float(norm.variance[neuron]) + norm.epsilon) ** 0.5
                    value = (greatest - float(norm.mean[neuron])) / deviation * float(norm.gamma[neuron]) + float(norm.beta[neuron])
                    pixel.append(1 if value >= 0 else 0)
                bits[-1].append(pixel)
        result.append(bits)
    return result


@pytest.mark.parametrize(("dtype", "padding_value"), [("bit", 0), ("bit", -1), ("bit", 1), ("int8", 0), ("int8", -1), ("uint8", 1)])
@pytest.mark.parametrize(("size", "step"), [(2, 2), (2, 1), (3, 2)])
def test_a_maximum_under_a_falling_batch_norm_becomes_an_and(dtype: str, padding_value: int, size: int, step: int) -> None:
    rng = np.random.default_rng(4)
    outputs, rows, columns, channels = 24, 5, 6, 2
    weights = rng.random((outputs, 3, 2, channels)) < 0.5
    spread = weights[0].size ** 0.5 * {"bit": 1, "int8": 75, "uint8": 150}[dtype]
    norm = BatchNorm(
        bias=np.zeros(outputs),
        mean=np.rint(rng.normal(size=outputs) * spread + spread / 2),
        variance=rng.uniform(0.5, 2, outputs) * spread**2,
        gamma=rng.choice([-1, 0, 1], outputs, p=(0.45, 0.1, 0.45)) * rng.uniform(0.5, 2, outputs),
        beta=rng.choice([0.0, -0.25, 0.25], outputs),
        epsilon=1e-4,
    )
    sums = Sums.of(weights[0].size, dtype, zeros=dtype == "bit" and padding_value == 0)
    folded = fold_neurons("conv1", weights, norm.exact(), sums)
    conv = Conv("conv1", folded.weights, folded.thresholds, padding=(1, 1, 1, 1), padding_value=padding_value)
    pool = MaxPool("pool1", (size, size), (step, step), folded.falling)
    places = (rows + 2 - 3 + 1 - size) // step + 1, (columns + 2 - 2 + 1 - size) // step + 1
    inputs_of_last = places[0] * places[1] * outputs
    last = fold_scores("scores", np.ones((1, inputs_of_last), bool), np.ones(1), np.ones(1), Sums.of(inputs_of_last, "bit"))
    network = Network("net", Input((rows, columns, channels), dtype), (conv, pool, last))  # type: ignore[arg-type]
    assert 3 < folded.falling.sum() < outputs - 3
    inputs = random_inputs(network, 6, 5)
    values = 2 * inputs.astype(int) - 1 if dtype == "bit" else inputs.astype(int)
    expected = naive_pooled_bits(values.reshape(-1, rows, columns, channels), weights, norm, padding_value, size, step)
    found = golden.trace(network, inputs).activations[1].reshape(6, *places, outputs)
    assert found.astype(int).tolist() == expected
    assert 0.2 < found[..., folded.falling].mean() < 0.8
