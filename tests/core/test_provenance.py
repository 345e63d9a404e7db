# SPDX-License-Identifier: Apache-2.0
"""Which data a network was trained on, also where strangers have written its provenance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bnn_hw.cli import app
from bnn_hw.cli.show import percent
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.models.packaged import packaged_models, packaged_network, packaged_test_images
from bnn_hw.network.file import load_network, save_network
from bnn_hw.network.network import Input, Network, Scores
from support.identities import made_up_data

DATA = made_up_data("bars", 2)
PIXELS = DATA.as_json()["pixels"]


def network(provenance: dict[str, Any]) -> Network:
    weights = np.ones((2, 4), bool)
    ones = np.ones(2, np.int32)
    return Network("net", Input((2, 2, 1), "bit", 128), (Scores("scores", weights, ones, ones),), provenance)


def test_what_training_writes_is_read(tmp_path: Path) -> None:
    save_network(network({"data": DATA.as_json()}), tmp_path / "n.safetensors")
    assert trained_on(load_network(tmp_path / "n.safetensors")) == DATA


STRANGE = [
    None,
    "mnist",
    5,
    [],
    {},
    {**DATA.as_json(), "name": 5},
    {**DATA.as_json(), "sha256": None},
    {**DATA.as_json(), "class_names": "ab"},
    {**DATA.as_json(), "class_names": ["a", 5]},
    {**DATA.as_json(), "class_names": ["a", "b", "c"]},  # one more than the network has
    {**DATA.as_json(), "pixels": None},
    {**DATA.as_json(), "pixels": [0, 255, 100, 3, 10]},
    *({**DATA.as_json(), "pixels": {**PIXELS, "mean": value}} for value in (None, "5", -1, 256, 10**400)),
]


@pytest.mark.parametrize("data", STRANGE, ids=range(len(STRANGE)))
def test_what_strangers_write_is_no_identity(data: object, tmp_path: Path) -> None:
    """And the network is used all the same."""
    path = tmp_path / "n.safetensors"
    save_network(network({"data": data, "test_accuracy": 10**400}), path)
    loaded = load_network(path)
    assert trained_on(loaded) is None
    assert packaged_test_images(loaded) is None
    np.save(tmp_path / "images.npy", np.zeros((1, 2, 2, 1), np.uint8))
    arguments = ["infer", "--model", str(path), "--images", str(tmp_path / "images.npy"), "--json"]
    finished = CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
    assert json.loads(finished.stdout)["classes"] == [0]


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "50.00 %"), (1, "100.00 %"), (None, "unknown"), (-1, "unknown"), (10**400, "unknown")]
)
def test_an_accuracy_that_is_none_is_unknown(share: object, text: str) -> None:
    assert percent(share) == text


def test_a_name_alone_has_no_test_images() -> None:
    for model in packaged_models():
        data = packaged_network(model).provenance["data"]
        named = {**data, "sha256": "0" * 64}
        classes = len(data["class_names"])
        ones = np.ones(classes, np.int32)
        layers = (Scores("scores", np.ones((classes, 4), bool), ones, ones),)
        one = Network(model, Input((2, 2, 1), "bit", 128), layers, {"data": data, "dataset": "mnist"})
        other = Network(model, Input((2, 2, 1), "bit", 128), layers, {"data": named, "dataset": "mnist"})
        assert packaged_test_images(one) is not None
        assert packaged_test_images(other) is None
