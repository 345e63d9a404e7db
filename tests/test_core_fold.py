# SPDX-License-Identifier: Apache-2.0
"""Folding: an integer neuron fires exactly where the trained float32 function is not negative, at every reachable sum."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from bnn_hw.errors import ArtefactError
from bnn_hw.fold import BatchNorm, fold_dense, fold_scores
from bnn_hw.network import Dense, Input, Network, Signal, sum_range, threshold_range
from bnn_training.export import export_network
from bnn_training.layers import BinaryLinear
from bnn_training.network import BinaryBlock, BinaryMlp
from strategies import DTYPES, TrainedLayer, trained_layers

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
OUTPUTS = 16
EPSILON = 1e-4


def torch_block(layer: TrainedLayer) -> BinaryBlock:
    """Returns the trained layer as a module in eval mode."""
    outputs, inputs = layer.weights.shape
    block = BinaryBlock(BinaryLinear(inputs, outputs), nn.BatchNorm1d(outputs, eps=EPSILON))
    values = {
        "product.weight": np.where(layer.weights, np.float32(0.5), np.float32(-0.5)),
        "product.bias": layer.bias,
        "normalize.running_mean": layer.mean,
        "normalize.running_var": layer.variance,
        "normalize.weight": layer.gamma,
        "normalize.bias": layer.beta,
        "normalize.num_batches_tracked": np.array(1),
    }
    block.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in values.items()})
    return block.eval()


@torch.no_grad()
def activations(block: BinaryBlock, sums: np.ndarray) -> np.ndarray:
    """Returns the trained function at the same sums for all neurons: [sums] to [sums, outputs] float32."""
    outputs = block.normalize.num_features
    return block.activation(torch.from_numpy(np.repeat(sums[:, None], outputs, 1).astype(np.float32))).numpy()


def fold(block: BinaryBlock, weights: np.ndarray, signal: Signal) -> Dense:
    @torch.no_grad()
    def function(sums: np.ndarray) -> np.ndarray:
        return block.activation(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_dense("fc1", weights, function, signal)


def fires_at(folded: Dense, weights: np.ndarray, sums: np.ndarray, signal: Signal) -> np.ndarray:
    """Returns where folded neurons fire, [sums, outputs], for sums that the original weights give.

    A neuron keeps its weights or has all of them inverted, and then its sum is the negative.
    """
    inverted = (folded.weights != weights).any(axis=1)
    assert np.array_equal(folded.weights, weights ^ inverted[:, None])
    own_sums = np.where(inverted, -sums[:, None], sums[:, None])
    totals = (own_sums + signal.size) // 2 if signal.dtype == "bit" else own_sums
    return totals >= folded.thresholds


def reachable_sums(signal: Signal) -> np.ndarray:
    low, high = sum_range(signal)
    return np.arange(low, high + 1, 2 if signal.dtype == "bit" else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None)
@given(data=st.data())
def test_folded_neuron_is_the_trained_function_at_every_sum(dtype: str, data: st.DataObject) -> None:
    inputs = data.draw(st.integers(1, 67 if dtype == "bit" else 9), "inputs")
    layer = data.draw(trained_layers(inputs=inputs, outputs=OUTPUTS))
    signal = Signal((inputs,), dtype)  # type: ignore[arg-type]
    block, sums = torch_block(layer), reachable_sums(signal)
    values = activations(block, sums)
    if np.isnan(values).any():
        with pytest.raises(ArtefactError, match=r"^layer fc1, neuron \d+: the activation is NaN; train again$"):
            fold(block, layer.weights, signal)
        return
    folded = fold(block, layer.weights, signal)
    assert np.array_equal(fires_at(folded, layer.weights, sums, signal), values >= 0)
    low, high = threshold_range(signal)
    assert ((folded.thresholds >= low) & (folded.thresholds <= high)).all()


@pytest.mark.parametrize("inputs", [255, 784, 1023])
def test_wide_layers_at_every_sum(inputs: int) -> None:
    """As above, for the widths of real layers and a sign that changes in the midst of the sums."""
    rng = np.random.default_rng(inputs)
    outputs = 64
    layer = TrainedLayer(
        weights=rng.random((outputs, inputs)) < 0.5,
        bias=rng.normal(size=outputs).astype(np.float32),
        mean=(rng.normal(size=outputs) * inputs**0.5).astype(np.float32),
        variance=(inputs * rng.uniform(0.1, 2, outputs)).astype(np.float32),
        gamma=(rng.choice([-1, 1], outputs) * rng.uniform(0.5, 2, outputs)).astype(np.float32),
        beta=rng.uniform(-1, 1, outputs).astype(np.float32),
    )
    signal = Signal((inputs,), "bit")
    block, sums = torch_block(layer), reachable_sums(signal)
    folded = fold(block, layer.weights, signal)
    fires = fires_at(folded, layer.weights, sums, signal)
    assert np.array_equal(fires, activations(block, sums) >= 0)
    assert (fires.any(axis=0) & ~fires.all(axis=0)).all()


def test_thresholds_by_hand() -> None:
    """Three inputs: the sums are -3, -1, 1, 3, and the matches 0 to 3."""
    slope = np.array([1, 1, 1, 1, 1, -1, -1, -1, 0, 0, 0])
    offset = np.array([0, 1, 1.01, -3.01, 3, 0, 1, -3.01, 0, 1, -1])
    weights = np.tile([True, False, True], (len(slope), 1))
    folded = fold_dense("fc1", weights, lambda sums: slope * sums + offset, Signal((3,), "bit"))
    assert folded.thresholds.tolist() == [2, 1, 1, 4, 0, 2, 1, 4, 0, 0, 4]
    inverted = (folded.weights != weights).all(axis=1)
    assert inverted.tolist() == [False] * 5 + [True] * 2 + [False] * 4
    assert np.array_equal(folded.weights, weights ^ inverted[:, None])


def test_thresholds_of_integers_by_hand() -> None:
    """Two uint8 inputs: the sums are -510 to 510."""
    slope = np.array([1, 1, 2, -1, -1, 1, 1, 0, 0])
    offset = np.array([0, -7, 7, 7, 0, 511, -511, -1, 0])
    weights = np.ones((len(slope), 2), bool)
    folded = fold_dense("fc1", weights, lambda sums: slope * sums + offset, Signal((2,), "uint8"))
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
    signal, block = Signal((3,), dtype), torch_block(layer)  # type: ignore[arg-type]
    folded = fold(block, layer.weights, signal)
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
    network = BinaryMlp((5, 4, 4, 4)).eval()
    with torch.no_grad():
        getattr(network.stages[block].normalize, parameter)[2] = value
    with pytest.raises(ArtefactError, match=f"^layer {name}, neuron 2: batch norm {message}; train on, or remove the neuron$"):
        export_network("net", network, Input((5,), "bit"))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (0, "^layer fc1, neuron 3: the activation is NaN; train again$"),
        (1, "^layer scores, class 3: the intercept of its score must be finite, not nan$"),
    ],
)
def test_bias_that_is_nan(block: int, message: str) -> None:
    network = BinaryMlp((5, 4, 4)).eval()
    with torch.no_grad():
        network.stages[block].product.bias[3] = np.nan
    with pytest.raises(ArtefactError, match=message):
        export_network("net", network, Input((5,), "bit"))


def test_nan_between_the_ends_of_the_sums() -> None:
    with pytest.raises(ArtefactError, match=r"^layer fc1, neuron 1: the activation is NaN; train again$"):
        fold_dense(
            "fc1",
            np.ones((2, 8), bool),
            lambda sums: np.where((sums == 0) & (np.arange(2) == 1), np.nan, sums.astype(float)),
            Signal((8,), "bit"),
        )


def test_batch_norm_by_hand() -> None:
    norm = BatchNorm(*(np.array([value], np.float32) for value in (3, 15.75, -2, 5)), epsilon=0.25)
    assert norm.slope.tolist() == [-0.5]
    assert norm(np.array([[7.0], [3.0]])).tolist() == [[3.0], [5.0]]


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
    signal = Signal((inputs,), dtype)
    folded = fold_scores("scores", np.ones((classes, inputs), bool), slope, intercept, signal)
    reach = sum_range(signal)[1]
    assert int((np.abs(folded.scale.astype(object)) * reach + np.abs(folded.offset.astype(object))).max()) <= 2**31 - 1
    sums = rng.integers(-reach, reach, (200, classes), endpoint=True)
    real, integer = slope * sums + intercept, sums * folded.scale.astype(np.int64) + folded.offset
    unit = ((np.abs(slope) * reach + np.abs(intercept)).max()) / 2**29  # of the integers; a factor of 2 or more is in use
    margin = unit * (reach + 1)  # half a unit in scale and offset, for winner and second
    leads = np.sort(real)[:, -1] - (np.sort(real)[:, -2] if classes > 1 else -np.inf) > margin
    assert np.array_equal(real.argmax(axis=1)[leads], integer.argmax(axis=1)[leads])


def test_equal_scores_stay_equal_and_wide() -> None:
    signal = Signal((64,), "bit")
    slope, intercept = np.array([0.3, 0.3, -0.3]), np.array([0.7, 0.7, 0.7])
    folded = fold_scores("scores", np.ones((3, 64), bool), slope, intercept, signal)
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
    folded = fold_scores("scores", weights, np.array(slope), np.array(intercept), Signal((3,), "bit"))
    assert (folded.scale.tolist(), folded.offset.tolist()) == (scale, offset)


def test_scores_that_round_up_past_int32_take_a_bit_less() -> None:
    almost_two = np.nextafter(2.0, 0)
    folded = fold_scores("scores", np.ones((1, 1), bool), np.array([almost_two]), np.array([0.0]), Signal((1,), "bit"))
    assert folded.scale.tolist() == [2**30]


@pytest.mark.parametrize(
    ("slope", "intercept", "message"),
    [
        ([1.0, np.inf], [0.0, 0.0], "^layer scores, class 1: the slope of its score must be finite, not inf$"),
        ([1.0, 1.0], [np.nan, 0.0], "^layer scores, class 0: the intercept of its score must be finite, not nan$"),
    ],
)
def test_scores_that_are_not_finite(slope: list[float], intercept: list[float], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        fold_scores("scores", np.ones((2, 3), bool), np.array(slope), np.array(intercept), Signal((3,), "bit"))


@settings(deadline=None)
@given(layer=trained_layers(inputs=11, outputs=OUTPUTS, extreme=False))
def test_a_folded_layer_goes_into_a_network(layer: TrainedLayer) -> None:
    signal = Signal((11,), "bit")
    try:
        folded = fold(torch_block(layer), layer.weights, signal)
    except ArtefactError:
        assume(False)
    last = fold_scores("scores", np.ones((2, OUTPUTS), bool), np.ones(2), np.ones(2), Signal((OUTPUTS,), "bit"))
    Network("net", Input((11,), "bit"), (folded, last))
