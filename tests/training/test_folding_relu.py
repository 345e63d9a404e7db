# SPDX-License-Identifier: Apache-2.0
"""Export of networks with ReLU and of those with shift-based batch norm, and of recipes that do not fold."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.fold import fold_relu
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, Network, Scores, Sums
from bnn_training.binary_layers import BinaryLinear
from bnn_training.catalogue import RECIPES
from bnn_training.checkpoint import Checkpoint, save_checkpoint
from bnn_training.folding import compare, export_checkpoint, export_network, float_scores, folding_obstacle
from bnn_training.folding import test_accuracy as share_of_test_images
from bnn_training.images import divided_images
from bnn_training.inputs import to_tensor
from bnn_training.model import BinaryNetwork
from bnn_training.normalization import BatchNorm, ShiftBatchNorm
from bnn_training.recipes import Recipe, recipe_network
from support.identities import made_up_data
from support.naive import naive_rectified

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
SHAPE = (5, 6, 1)
RELU = Recipe("relu", "noise", "40-30", epochs=3, activation="relu", input_dtype="uint8", bfloat16=False)
SHIFT = Recipe("shift", "noise", "9C3-MP2-12C2-20", 3, shift_batch_norm=True, input_dtype="int8", padding=1, bfloat16=False)


def trained(recipe: Recipe, shape: tuple[int, int, int], seed: int) -> BinaryNetwork:
    """Returns a network whose parameters are random and whose batch norms have seen some images, of 5 classes."""
    print(f"seed {seed}")
    torch.manual_seed(seed)
    network = recipe_network(recipe, shape, 5)
    with torch.no_grad():
        for block in network.stages:
            block.product.weight.copy_(torch.randn(block.product.weight.shape) / 2).clamp_(-1, 1)
            block.product.bias.copy_(torch.randn(len(block.product.bias)))
            block.normalize.weight.copy_(torch.randn(len(block.normalize.weight)))
            block.normalize.bias.copy_(torch.randn(len(block.normalize.bias)) / 2)
    for _ in range(10):
        images = torch.randint(0, 256, (60, shape[2], *shape[:2])).float()
        network({"uint8": images, "int8": images - 128, "bit": torch.where(images >= 128, 1.0, -1.0)}[recipe.input_dtype])
    return network.eval()


def noise(images: int, shape: tuple[int, int, int], seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (images, *shape), np.uint8), rng.integers(0, 5, images, np.uint8))


def saved(recipe: Recipe, network: BinaryNetwork, shape: tuple[int, int, int], path: Path) -> Path:
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    save_checkpoint(Checkpoint(recipe.name, recipe, shape, made_up_data("noise", 5), 2, 0.5, tensors), path)
    return path


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steepness", [1e-6, 0.01, 1.0, 300.0])
def test_a_rectified_layer_is_its_line_rounded(steepness: float, seed: int) -> None:
    """``clamp(round(slope * sum + intercept), 0, 255)``, but where the rounding of scale or offset decides.

    A layer's neurons share the shift, so that the flat ones are as coarse as the steepest one needs it.
    """
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    outputs, inputs = 20, 9
    weights = rng.random((outputs, inputs)) < 0.5
    slope, intercept = rng.normal(0, steepness, outputs), rng.uniform(-100, 355, outputs)
    layer = fold_relu("fc1", weights, slope, intercept, Sums.of(inputs, "uint8"))
    assert np.array_equal(layer.weights, weights)
    assert (layer.scale.dtype, layer.offset.dtype) == (np.int32, np.int32)
    scale, offset = layer.scale.tolist(), layer.offset.tolist()
    greatest = max(abs(value) for value in scale)
    assert greatest < 1 << 17
    assert layer.shift == 31 or greatest >= 1 << 16 or max(abs(value) for value in offset) >= 1 << 30  # no coarser than must be
    seen = 0
    for total in range(-255 * inputs, 255 * inputs + 1, 7):
        hair = 0.5 * (abs(total) + 1) / 2**layer.shift + 1e-9
        for neuron in range(outputs):
            real = slope[neuron] * total + intercept[neuron]
            possible = {min(max(math.floor(real + 0.5 + sign * hair), 0), 255) for sign in (-1, 1)}
            assert naive_rectified(total, scale[neuron], offset[neuron], layer.shift) in possible, (total, neuron)
            seen += len(possible) == 1
    assert seen > 0.9 * outputs * len(range(-255 * inputs, 255 * inputs + 1, 7))


def test_a_rectified_layer_by_hand() -> None:
    """Slopes of 3/4 and -2, of which the steeper one decides: 2 * 2**15 fits in 18 bits with a sign, 2 * 2**16 does not."""
    layer = fold_relu("fc1", np.ones((2, 3), bool), np.array([0.75, -2]), np.array([10, 0.25]), Sums.of(3, "uint8"))
    assert layer.shift == 15
    assert layer.scale.tolist() == [0.75 * 2**15, -2 * 2**15]
    assert layer.offset.tolist() == [10.5 * 2**15, 0.75 * 2**15]


def test_lines_that_eight_bits_cannot_follow_are_refused() -> None:
    weights, ones = np.ones((2, 3), bool), np.ones(2)
    with pytest.raises(ArtefactError, match=r"^layer fc1: slopes up to 200000 are too steep for 8 bits; train again$"):
        fold_relu("fc1", weights, np.array([1, 2e5]), ones, Sums.of(3, "uint8"))
    with pytest.raises(ArtefactError, match=r"^layer fc1, neuron 1: the slope must be finite, not nan$"):
        fold_relu("fc1", weights, np.array([1, np.nan]), ones, Sums.of(3, "uint8"))
    with pytest.raises(ArtefactError, match=r"^layer fc1, neuron 0: the intercept must be finite, not inf$"):
        fold_relu("fc1", weights, ones, np.array([np.inf, 1]), Sums.of(3, "uint8"))


@pytest.mark.parametrize("shift_batch_norm", [False, True])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_rectified_layers_are_the_trained_ones_in_steps(seed: int, shift_batch_norm: bool) -> None:
    """Each integer is the trained activation in steps of its layer, within half a step, for the inputs that it had itself."""
    recipe = replace(RELU, shift_batch_norm=shift_batch_norm)
    model = trained(recipe, SHAPE, seed)
    network = export_network("relu", model, Input(SHAPE, "uint8"))
    assert [(type(layer), layer.name) for layer in network.layers] == [(DenseRelu, "fc1"), (DenseRelu, "fc2"), (Scores, "scores")]
    inputs = golden.prepare(network, noise(50, SHAPE, seed).images)
    activations = golden.trace(network, inputs).activations
    given = torch.from_numpy(inputs.astype(np.float32))
    for block, layer, integers in zip(model.stages[:-1], network.layers[:-1], activations, strict=True):
        assert isinstance(layer, DenseRelu)
        norm = block.normalize
        step = max((norm.bias[neuron] + 4 * abs(norm.weight[neuron])).item() for neuron in range(len(norm.bias))) / 255
        real = block(given).clamp_min(0).numpy() / step
        inside = real <= 255
        assert np.abs(integers - real)[inside].max() <= 0.5 + 0.01
        assert (integers[~inside] == 255).all()
        assert inside.mean() > 0.9
        assert np.ptp(integers) > 100  # the eight bits are used
        given = torch.from_numpy(integers.astype(np.float32) * step)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bit"])
@pytest.mark.parametrize("seed", range(2))
def test_decisions_of_a_rectified_network(seed: int, dtype: str) -> None:
    """Eight bits are not the trained network's real numbers: few images of noise, which lie near to the borders, differ."""
    recipe = replace(RELU, input_dtype=dtype)  # type: ignore[arg-type]
    model = trained(recipe, SHAPE, seed)
    network = export_network("relu", model, Input(SHAPE, dtype, 128 if dtype == "bit" else None))  # type: ignore[arg-type]
    split = noise(1000, SHAPE, seed)
    agreement = compare(model, network, split)
    assert agreement.differing_decisions <= 40
    inputs = golden.prepare(network, split.images)
    real, integer = float_scores(model, inputs, SHAPE), golden.scores(network, split.images)
    for index in range(5):
        assert np.corrcoef(real[:, index], integer[:, index])[0, 1] > 0.99


def test_export_of_a_checkpoint_that_tests_real_weights(tmp_path: Path) -> None:
    """The exported network has their signs; the accuracy with the weights themselves is told beside."""
    recipe = replace(RELU, stochastic_weights=True, test_weights="real")
    model = trained(recipe, SHAPE, 3)
    test = noise(300, SHAPE, 4)
    path = saved(recipe, model, SHAPE, tmp_path / "c.safetensors")
    network, agreement = export_checkpoint(path, test)
    assert agreement is not None
    shares = {}
    for which in ("binary", "real"):
        model.set_test_weights(which)  # type: ignore[arg-type]
        decisions = float_scores(model, golden.prepare(network, test.images), SHAPE).argmax(1)
        shares[which] = float((decisions == test.labels).mean())
    assert (agreement.float_accuracy, agreement.real_weights_accuracy) == (shares["binary"], shares["real"])
    assert shares["binary"] != shares["real"]
    assert agreement.folded_accuracy == float((golden.classify(network, test.images) == test.labels).mean())
    assert np.array_equal(network.layers[0].weights, (model.stages[0].product.weight >= 0).numpy())  # type: ignore[union-attr]
    _, plain = export_checkpoint(saved(RELU, model, SHAPE, path), test)
    assert plain is not None
    assert plain.real_weights_accuracy is None


def torch_bits(model: BinaryNetwork, x: torch.Tensor) -> list[np.ndarray]:
    """Returns what fires behind each block but the last: [images, outputs] bool, flattened by row, column, channel."""
    fired = []
    for block in model.stages[:-1]:
        x = x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 and isinstance(block.product, BinaryLinear) else x
        bits = block(x) >= 0
        fired.append((bits.permute(0, 2, 3, 1) if bits.dim() == 4 else bits).flatten(1).numpy())
        x = torch.where(bits, 1.0, -1.0)
    return fired


@pytest.mark.parametrize("activation", ["sign", "stochastic_sign"])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_shift_based_networks_fold_exactly(seed: int, activation: str) -> None:
    """Every bit of every layer, through pooling, padding and falling functions; decisions too."""
    shape = (9, 8, 3)
    recipe = replace(SHIFT, activation=activation)  # type: ignore[arg-type]
    model = trained(recipe, shape, seed)
    assert [type(block.normalize) for block in model.stages] == [ShiftBatchNorm] * 3 + [BatchNorm]
    network = export_network("shift", model, Input(shape, "int8"))
    assert [layer.name for layer in network.layers] == ["conv1", "pool1", "conv2", "fc1", "scores"]
    split = noise(200, shape, seed)
    inputs = golden.prepare(network, split.images)
    activations = dict(zip([layer.name for layer in network.layers], golden.trace(network, inputs).activations, strict=False))
    expected = torch_bits(model, to_tensor(inputs, shape))
    for name, bits in zip(("pool1", "conv2", "fc1"), expected, strict=True):
        assert np.array_equal(activations[name], bits), name
    assert 0.1 < activations["fc1"].mean() < 0.9
    assert compare(model, network, split).differing_decisions == 0


def test_shift_based_thresholds_are_not_those_of_plain_batch_norm() -> None:
    """The test above would be weak if both folded to the same."""
    shape = (9, 8, 3)
    model = trained(SHIFT, shape, 1)
    plain = recipe_network(replace(SHIFT, shift_batch_norm=False), shape, 5)
    plain.load_state_dict(model.state_dict())
    first, other = (export_network("shift", network, Input(shape, "int8")).layers[0] for network in (model, plain.eval()))
    assert isinstance(first, Conv)
    assert isinstance(other, Conv)
    assert (first.thresholds != other.thresholds).sum() > 4


OBSTACLES = {
    "gcn_zca": (
        "preprocessing gcn_zca makes real numbers of sums over the image, which no input on chip holds; "
        "train with preprocessing pixels"
    ),
    "gcn_lcn": (
        "preprocessing gcn_lcn makes real numbers of sums over the image, which no input on chip holds; "
        "train with preprocessing pixels"
    ),
    "conv": "convolutions with 8-bit activations have no layer in hardware; fully connected ones do",
}


def test_what_does_not_fold_and_why(tmp_path: Path) -> None:
    convs = replace(RELU, topology="4C3-5")
    for recipe, obstacle in (
        (replace(RELU, preprocessing="gcn_zca"), OBSTACLES["gcn_zca"]),
        (replace(SHIFT, preprocessing="gcn_lcn"), OBSTACLES["gcn_lcn"]),
        (convs, OBSTACLES["conv"]),
    ):
        assert folding_obstacle(recipe) == obstacle
        path = saved(recipe, trained(recipe, (9, 8, 3), 1), (9, 8, 3), tmp_path / "c.safetensors")
        with pytest.raises(ArtefactError, match=rf"^.*c\.safetensors: {obstacle}$"):
            export_checkpoint(path)


def test_recipes_that_fold() -> None:
    obstacles = {name: folding_obstacle(recipe) for name, recipe in RECIPES.items()}
    unfolded = {name for name, obstacle in obstacles.items() if obstacle is not None}
    assert unfolded == {
        "cifar10-bnn-torch7",
        "svhn-bnn-torch7",
        *(f"{data}-binaryconnect-{form}" for data in ("cifar10", "svhn") for form in ("det", "stoch")),
    }


@pytest.mark.parametrize("preprocessing", ["pixels", "gcn_zca"])
def test_accuracy_of_a_checkpoint_that_is_not_folded(preprocessing: str, tmp_path: Path) -> None:
    """Of the test images, preprocessed with what the images that train gave, and with the weights that the recipe tests."""
    recipe = replace(RELU, preprocessing=preprocessing, test_weights="real")  # type: ignore[arg-type]
    model = trained(recipe, SHAPE, 1)
    dataset = Dataset("noise", tuple("01234"), noise(100, SHAPE, 2), noise(300, SHAPE, 3))
    _, _, test = divided_images(dataset, recipe, torch.device("cpu"))
    with torch.no_grad():
        decisions = model(test.pixels.permute(0, 3, 1, 2).float()).argmax(1)
    path = saved(recipe, model, SHAPE, tmp_path / "c.safetensors")
    expected = (decisions == test.labels).double().mean().item()
    assert share_of_test_images(path, dataset, torch.device("cpu")) == expected


def test_a_network_without_hidden_layers_has_only_scores() -> None:
    model = trained(replace(RELU, topology=""), SHAPE, 1)
    network = export_network("relu", model, Input(SHAPE, "uint8"))
    assert isinstance(network, Network)
    assert [type(layer) for layer in network.layers] == [Scores]
    assert not any(isinstance(layer, Dense) for layer in network.layers)
    assert compare(model, network, noise(200, SHAPE, 5)).differing_decisions == 0
