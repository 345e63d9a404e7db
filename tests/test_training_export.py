# SPDX-License-Identifier: Apache-2.0
"""Export: the integer network of a trained one, how they agree, and where it comes from."""

import json
from pathlib import Path

import numpy as np
import torch

from bnn_hw import golden
from bnn_hw.datasets import Split
from bnn_hw.network import Dense, Input, Network
from bnn_hw.network_file import load_network, network_bytes, save_network
from bnn_training.checkpoint import Checkpoint, build_network, save_checkpoint
from bnn_training.export import Agreement, compare, export_checkpoint, export_network, float_scores
from bnn_training.network import BinaryMlp
from bnn_training.recipes import Recipe

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "noise", (40, 30), epochs=3, pixel_threshold=100, bfloat16=False)


def trained(seed: int = 1) -> BinaryMlp:
    """Returns a network whose batch norms have seen some images."""
    torch.manual_seed(seed)
    network = build_network(RECIPE, 36, 4)
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
    trained_classes = float_scores(model, golden.prepare(network, images.images)).argmax(axis=1)
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
        assert np.allclose(float_scores(model, inputs), expected, rtol=1e-5, atol=1e-5)


def test_export_does_not_change_the_network() -> None:
    model = trained().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_network("tiny", model, Input((36,), "bit"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_export_of_a_checkpoint(tmp_path: Path) -> None:
    model = trained(5)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_checkpoint(Checkpoint(RECIPE, (6, 6, 1), 4, 2, 0.5, tensors), tmp_path / "c.safetensors")
    images = split(300, 6)
    network, nothing = export_checkpoint(tmp_path / "c.safetensors")
    measured, agreement = export_checkpoint(tmp_path / "c.safetensors", images)
    assert nothing is None
    assert agreement == compare(model, network, images)
    assert (network.name, network.input) == ("tiny", Input((6, 6, 1), "bit", 100))
    assert network.provenance["epoch"] == 2
    assert measured.provenance["test_accuracy"] == agreement.folded_accuracy
    assert np.array_equal(golden.scores(measured, images.images), golden.scores(network, images.images))
    save_network(measured, tmp_path / "n.safetensors")
    loaded = load_network(tmp_path / "n.safetensors")
    assert network_bytes(loaded) == network_bytes(measured)
    assert loaded.provenance == json.loads(json.dumps(measured.provenance))
    assert str(tmp_path) not in json.dumps(measured.provenance)
