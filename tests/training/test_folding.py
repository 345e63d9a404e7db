# SPDX-License-Identifier: Apache-2.0
"""Export: the integer network of a trained one, how they agree on every bit, and where it comes from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from bnn_hw.datasets import Split
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.file import load_network, network_bytes, save_network
from bnn_hw.network.network import Conv, Dense, Input, MaxPool, Network
from bnn_training.binary_layers import BinaryConv2d, BinaryLinear
from bnn_training.checkpoint import Checkpoint, save_checkpoint
from bnn_training.folding import Agreement, Ties, compare, export_checkpoint, export_network, float_scores, near_ties
from bnn_training.inputs import to_tensor
from bnn_training.model import BinaryBlock, BinaryNetwork
from bnn_training.normalization import BatchNorm, ShiftBatchNorm
from bnn_training.recipes import Recipe, recipe_network
from support.identities import made_up_data

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "noise", "40-30", epochs=3, pixel_threshold=100, bfloat16=False)


def trained(seed: int = 1) -> BinaryNetwork:
    """Returns a network whose batch norms have seen some images."""
    torch.manual_seed(seed)
    network = recipe_network(RECIPE, (6, 6, 1), 4)
    for _ in range(20):
        network(torch.randn(50, 36).sign())
    return network.eval()


def split(images: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (images, 6, 6, 1), np.uint8), rng.integers(0, 4, images, np.uint8))


def test_compare_on_a_network_that_agrees() -> None:
    model = trained()
    network = export_network("tiny", model, Input((6, 6, 1), "bit", 100), {"a": 1})
    assert [layer.name for layer in network.layers] == ["fc1", "fc2", "scores"]
    assert network.provenance == {"a": 1}
    images = split(2345, 2)
    with torch.no_grad():
        inputs = torch.where(torch.from_numpy(images.images.reshape(-1, 36)) >= 100, 1.0, -1.0)
        decisions = model(inputs).argmax(1).numpy()
    accuracy = float((decisions == images.labels).mean())
    assert compare(model, network, images) == Agreement(2345, accuracy, accuracy, 0)


def test_compare_counts_differences() -> None:
    model = trained()
    network = export_network("tiny", model, Input((6, 6, 1), "bit", 100))
    first, *rest = network.layers
    assert isinstance(first, Dense)
    never = Dense(first.name, first.weights, np.full(40, 37, np.int32))
    images = split(1000, 3)
    agreement = compare(model, Network("tiny", network.input, (never, *rest)), images)
    trained_classes = float_scores(model, golden.prepare(network, images.images), (6, 6, 1)).argmax(axis=1)
    (constant,) = set(golden.classify(Network("tiny", network.input, (never, *rest)), images.images).tolist())
    assert agreement.differing_decisions == int((trained_classes != constant).sum()) > 100
    assert agreement.folded_accuracy == float((images.labels == constant).mean())
    assert agreement.float_accuracy == float((images.labels == trained_classes).mean())


def test_float_scores_of_each_input_type() -> None:
    model = trained()
    rng = np.random.default_rng(4)
    for inputs in (
        rng.random((1500, 36)) < 0.5,
        rng.integers(0, 256, (7, 36), np.uint8),
        rng.integers(-128, 128, (1, 36), np.int8),
    ):
        values = 2.0 * inputs - 1 if inputs.dtype == np.bool_ else inputs
        with torch.no_grad():
            expected = model(torch.from_numpy(np.asarray(values, np.float32))).numpy()
        assert np.allclose(float_scores(model, inputs, (36,)), expected, rtol=1e-5, atol=1e-5)


def test_export_does_not_change_the_network() -> None:
    model = trained().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_network("tiny", model, Input((36,), "bit"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_export_of_a_checkpoint(tmp_path: Path) -> None:
    model = trained(5)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_checkpoint(Checkpoint("noisy", RECIPE, (6, 6, 1), made_up_data("noise", 4), 2, 0.5, tensors), tmp_path / "c.safetensors")
    images = split(300, 6)
    network, nothing = export_checkpoint(tmp_path / "c.safetensors")
    measured, agreement = export_checkpoint(tmp_path / "c.safetensors", images)
    assert nothing is None
    assert agreement == compare(model, network, images)
    assert (network.name, network.input) == ("noisy", Input((6, 6, 1), "bit", 100))
    assert (network.provenance["epoch"], network.provenance["ties"]) == (2, "torch")
    assert trained_on(network) == made_up_data("noise", 4)
    assert export_checkpoint(tmp_path / "c.safetensors", name="other")[0].name == "other"
    assert measured.provenance["test_accuracy"] == agreement.folded_accuracy
    assert np.array_equal(golden.scores(measured, images.images), golden.scores(network, images.images))
    save_network(measured, tmp_path / "n.safetensors")
    loaded = load_network(tmp_path / "n.safetensors")
    assert network_bytes(loaded) == network_bytes(measured)
    assert loaded.provenance == json.loads(json.dumps(measured.provenance))
    assert str(tmp_path) not in json.dumps(measured.provenance)


DTYPES: tuple[Literal["bit", "uint8", "int8"], ...] = ("bit", "uint8", "int8")
PADDINGS = ((0, 0), (1, 0), (1, 1), (2, -1))  # rows and columns, and their value
IMAGE = (15, 13, 3)


def conv_network(seed: int, input_reach: int, padding: int = 0, padding_value: int = 0, stride: int = 1) -> BinaryNetwork:
    """Returns a network whose batch norms have slopes of either sign and zero, and often change sign exactly at a sum."""
    generator = torch.Generator().manual_seed(seed)
    around = {"padding": padding, "padding_value": padding_value}
    blocks = [
        BinaryBlock(BinaryConv2d(3, 9, 3, stride=stride, **around), BatchNorm(9)),
        BinaryBlock(BinaryConv2d(9, 12, 2, **around), BatchNorm(12), pool=2),
        BinaryBlock(BinaryConv2d(12, 7, 2, **around), BatchNorm(7)),
    ]
    with torch.no_grad():
        shape = nn.Sequential(*(block.eval() for block in blocks))(torch.zeros(1, 3, *IMAGE[:2])).shape
    for inputs, outputs in ((shape[1:].numel(), 15), (15, 4)):
        blocks.append(BinaryBlock(BinaryLinear(inputs, outputs), BatchNorm(outputs)))
    for index, block in enumerate(blocks):
        _train_at_random(block, float(input_reach if index == 0 else 1), generator)
    with torch.no_grad():  # scores that tie exactly may part by the rounding of their integers, so these do not tie
        blocks[-1].normalize.weight.copy_(torch.randn(4, generator=generator))
        blocks[-1].normalize.bias.copy_(torch.randn(4, generator=generator) / 4)
    return BinaryNetwork(blocks).eval()


@torch.no_grad()
def _train_at_random(block: BinaryBlock, reach: float, generator: torch.Generator) -> None:
    outputs = len(block.normalize.weight)
    spread = reach * block.product.weight[0].numel() ** 0.5

    def normal() -> torch.Tensor:
        return torch.randn(outputs, generator=generator)

    assert block.normalize.running_mean is not None
    assert block.normalize.running_var is not None
    block.product.weight.copy_(torch.randn(block.product.weight.shape, generator=generator))
    block.product.bias.copy_((normal() * 2).round() / 2)
    block.normalize.running_mean.copy_((normal() * spread / 2).round())
    block.normalize.running_var.copy_(torch.rand(outputs, generator=generator) * spread**2 + 1e-3)
    kinds = torch.randint(0, 8, (outputs,), generator=generator)
    zero_or_tiny = torch.where(kinds == 0, torch.tensor(0.0), torch.tensor(-1e-30))
    block.normalize.weight.copy_(torch.where(kinds < 2, zero_or_tiny, normal()))
    block.normalize.bias.copy_(torch.where(kinds % 2 == 0, torch.tensor(0.0), normal() / 4))


def torch_bits(network: BinaryNetwork, x: torch.Tensor) -> Iterator[np.ndarray]:
    """Yields what fires in each layer of the integer network, by the trained one: [images, outputs] bool, flattened."""
    for block in network.stages[:-1]:
        x = x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 and isinstance(block.product, BinaryLinear) else x
        if block.pool > 1:
            yield flat(block.normalized(block.product.products(x)) >= 0)
        fired = block(x) >= 0
        yield flat(fired)
        x = torch.where(fired, 1.0, -1.0)


def flat(fired: torch.Tensor) -> np.ndarray:
    return (fired.permute(0, 2, 3, 1) if fired.dim() == 4 else fired).flatten(1).numpy()


def random_images(dtype: str, images: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bit":
        return rng.random((images, *IMAGE)) < rng.random((images, 1, 1, 1))
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (images, *IMAGE), dtype, endpoint=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "padding", "value"),  # uint8 has no -1; a test below holds that it is refused
    [(dtype, *around) for dtype in DTYPES for around in PADDINGS if (dtype, around[1]) != ("uint8", -1)],
)
@torch.no_grad()
def test_convolutions_agree_with_the_golden_model_on_every_bit(
    dtype: Literal["bit", "uint8", "int8"], padding: int, value: int, stride: int, seed: int
) -> None:
    model = conv_network(seed, 1 if dtype == "bit" else 128, padding, value, stride)
    network = export_network("convs", model, Input(IMAGE, dtype))
    assert [layer.name for layer in network.layers] == ["conv1", "conv2", "pool1", "conv3", "fc1", "scores"]
    images = random_images(dtype, 40, seed)
    inputs = golden.prepare(network, images)
    trace = golden.trace(network, inputs)
    expected = list(torch_bits(model, to_tensor(inputs, IMAGE)))
    for layer, bits, fired in zip(network.layers[:-1], trace.activations, expected, strict=True):
        assert np.array_equal(bits, fired), layer.name
    assert 0 < np.mean(trace.activations[-1]) < 1
    trained = float_scores(model, inputs, IMAGE)
    assert np.array_equal(trained.argmax(axis=1), trace.scores.argmax(axis=1))
    assert compare(model, network, Split(images, np.zeros(40, np.uint8))).differing_decisions == 0


def test_random_networks_have_slopes_of_every_kind() -> None:
    """The test above would be weak if none of its poolings had a channel of each kind."""
    model = conv_network(0, 128)
    slopes = model.stages[1].normalize.weight
    network = export_network("convs", model, Input(IMAGE, "int8"))
    pool = next(layer for layer in network.layers if isinstance(layer, MaxPool))
    assert (slopes > 0).any()
    assert (slopes == 0).any()
    assert pool.and_channels.any()
    assert not pool.and_channels[(slopes >= 0).numpy()].any()


def test_fields_of_an_exported_convolution() -> None:
    model = conv_network(1, 128, padding=2, padding_value=-1, stride=2)
    first, second, pool, *_ = export_network("convs", model, Input(IMAGE, "int8")).layers
    assert isinstance(first, Conv)
    assert isinstance(second, Conv)
    assert isinstance(pool, MaxPool)
    assert (first.kernel, first.stride, first.padding, first.padding_value) == ((3, 3), (2, 2), (2, 2, 2, 2), -1)
    assert (second.kernel, second.stride, pool.size, pool.stride) == ((2, 2), (1, 1), (2, 2), (2, 2))
    positive = (model.stages[0].product.weight >= 0).permute(0, 2, 3, 1).numpy()
    rising = (model.stages[0].normalize.weight > 0).numpy()
    assert np.array_equal(first.weights[rising], positive[rising])


def test_padding_that_the_input_cannot_hold_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"^layer conv1: padding_value must be 0 or 1 on uint8, not -1$"):
        export_network("convs", conv_network(0, 128, 1, -1), Input(IMAGE, "uint8"))


def test_an_image_of_another_depth_is_refused_with_both_shapes() -> None:
    message = r"^layer conv1: a window of 3 channels takes \[rows, columns, 3\], but what comes before gives \[15, 13, 1\]$"
    with pytest.raises(ArtefactError, match=message):
        export_network("convs", conv_network(0, 128), Input((15, 13, 1), "int8"))
    network = export_network("convs", conv_network(0, 128), Input(IMAGE, "int8"))
    for shape in ((5, 15, 13, 1), (5, 13, 15, 3), (5, 3, 15, 13), IMAGE[:2]):
        message = rf"^images must be \[images, 15, 13, 3\] or one \[15, 13, 3\], not \[{', '.join(map(str, shape))}\]$"
        with pytest.raises(ArtefactError, match=message):
            golden.classify(network, np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("block", "name"), [(0, "conv1"), (1, "conv2"), (2, "conv3"), (3, "fc1"), (4, "scores")])
@pytest.mark.parametrize(
    ("parameter", "value", "what", "rule"),
    [
        ("running_var", 0.0, "variance", "positive and finite"),
        ("running_var", float("inf"), "variance", "positive and finite"),
        ("running_mean", float("nan"), "mean", "finite"),
        ("weight", float("-inf"), "gamma", "finite"),
        ("bias", float("nan"), "beta", "finite"),
    ],
)
def test_batch_norm_that_is_undefined_names_layer_and_neuron(
    block: int, name: str, parameter: str, value: float, what: str, rule: str
) -> None:
    model = conv_network(0, 128)
    with torch.no_grad():
        getattr(model.stages[block].normalize, parameter)[2] = value
    message = rf"^layer {name}, neuron 2: batch norm {what} must be {rule}, not {value}; train on, or remove the neuron$"
    with pytest.raises(ArtefactError, match=message):
        export_network("convs", model, Input(IMAGE, "int8"))


@pytest.mark.parametrize(("block", "name"), [(0, "conv1"), (1, "conv2"), (3, "fc1")])
def test_a_bias_that_is_nan_names_layer_and_neuron(block: int, name: str) -> None:
    model = conv_network(0, 128)
    with torch.no_grad():
        model.stages[block].product.bias[4] = float("nan")
    with pytest.raises(
        ArtefactError, match=rf"^layer {name}, neuron 4: bias must be finite, not nan; train on, or remove the neuron$"
    ):
        export_network("convs", model, Input(IMAGE, "int8"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_export_of_a_checkpoint_with_convolutions(dtype: Literal["bit", "uint8", "int8"], tmp_path: Path) -> None:
    recipe = Recipe("convs", "noise", "6C3-MP2-9C3-10", 3, input_dtype=dtype, pixel_threshold=77, padding=1)
    torch.manual_seed(3)
    model = recipe_network(recipe, IMAGE, 4)
    for _ in range(5):
        model(torch.randn(20, 3, 15, 13).sign())
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_checkpoint(Checkpoint("noisy", recipe, IMAGE, made_up_data("noise", 4), 2, 0.5, tensors), tmp_path / "c.safetensors")
    rng = np.random.default_rng(1)
    test = Split(rng.integers(0, 256, (300, *IMAGE), np.uint8), rng.integers(0, 4, 300, np.uint8))
    network, agreement = export_checkpoint(tmp_path / "c.safetensors", test)
    assert network.input == Input(IMAGE, dtype, 77 if dtype == "bit" else None)
    assert agreement is not None
    assert (agreement.images, agreement.differing_decisions) == (300, 0)
    assert network.provenance["recipe"]["topology"] == "6C3-MP2-9C3-10"


# Sums within rounding of a threshold.

TYING = Recipe("tying", "noise", "1", epochs=3, batch_norm_epsilon=0.25, bfloat16=False)


@torch.no_grad()
def tying_network() -> BinaryNetwork:
    """Returns a network of one neuron, whose function is zero at its greatest sum, 3: (3 + 24) * 7 / 1.5 - 126."""
    network = recipe_network(TYING, (3,), 2)
    hidden, last = network.stages
    hidden.product.weight.fill_(0.5)
    last.product.weight.copy_(torch.tensor([[1.0], [-1.0]]))  # class 0 where the neuron fires
    for parameter, value in (("weight", 7.0), ("bias", -126.0), ("running_mean", -24.0), ("running_var", 2.0)):
        getattr(hidden.normalize, parameter).fill_(value)
    return network.eval()


@pytest.mark.parametrize(("ties", "threshold", "winner"), [("torch", 4, 1), ("exact", 3, 0)])
def test_a_decision_that_turns_where_floats_round(ties: Ties, threshold: int, winner: int, tmp_path: Path) -> None:
    model = tying_network()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    checkpoint = Checkpoint("tying", TYING, (3,), made_up_data("noise", 2), 2, 0.5, tensors)
    save_checkpoint(checkpoint, tmp_path / "c.safetensors")
    network, _ = export_checkpoint(tmp_path / "c.safetensors", ties=ties)
    assert (network.provenance["ties"], network.provenance["near_ties"]) == (ties, 1)
    hidden, _ = network.layers
    assert isinstance(hidden, Dense)
    assert hidden.thresholds.tolist() == [threshold]
    inputs = np.array([[True, True, True], [True, False, True]])
    assert golden.classify(network, inputs).tolist() == [winner, 1]
    assert float_scores(model, inputs, (3,)).argmax(axis=1).tolist() == [1, 1]


@torch.no_grad()
def naive_near_ties(block: BinaryBlock, sums: list[int]) -> int:
    """Counts the pairs within an ulp of a threshold in floats of 53 bits, from which no sum of these networks is too far."""
    norm, count = block.normalize, 0
    for slope, bias, mean, beta in zip(norm.slope, block.product.bias, norm.running_mean, norm.bias, strict=True):
        if slope != 0:
            threshold = mean.item() - bias.item() - beta.item() / slope.item()
            greatest = max(1.0, abs(mean.item()), abs(bias.item()), abs(threshold))
            count += sum(abs(total - threshold) <= float(np.spacing(np.float32(greatest))) for total in sums)
    return count


@pytest.mark.parametrize("kind", [BatchNorm, ShiftBatchNorm])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_exact_thresholds_part_from_pytorchs_near_ties_only(seed: int, padding: int, kind: type[BatchNorm]) -> None:
    print(f"seed {seed}")
    model = conv_network(seed, 128, padding)
    for block in model.stages[:-1]:
        norm = kind(len(block.normalize.weight))
        norm.load_state_dict(block.normalize.state_dict())
        block.normalize = norm.eval()
    torch_fold, exact = (export_network("convs", model, Input(IMAGE, "int8"), ties=ties) for ties in ("torch", "exact"))
    differing = 0
    for one, other in zip(torch_fold.layers, exact.layers, strict=True):
        if isinstance(one, Conv | Dense):
            assert isinstance(other, Conv | Dense)
            differing += int((one.thresholds != other.thresholds).sum())
    kinds = ["int8", *["zeros" if padding else "bit"] * 2, "bit"]
    expected = 0
    for block, inputs in zip(model.stages, kinds, strict=False):
        reach = block.product.weight[0].numel() * (128 if inputs == "int8" else 1)
        expected += naive_near_ties(block, list(range(-reach, reach + 1, 2 if inputs == "bit" else 1)))
    assert near_ties(model, torch_fold) == near_ties(model, exact) == expected
    assert differing <= expected
    assert expected > 0  # biases are halves, and many means and sums meet
