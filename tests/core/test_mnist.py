# SPDX-License-Identifier: Apache-2.0
"""MNIST the whole way on the real data; the folder comes from BNN_HW_DATA."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnn_hw.datasets import Split
from bnn_hw.models.packaged import packaged_models, packaged_network
from bnn_hw.network import golden
from support.dataset_files import published

_PLAN = (
    Path(__file__).parents[2] / "rtl" / "plans" / "mnist-bnn-pynq.json"
)  # PE and SIMD of BNN-PYNQ's LFC overlay: 512 cycles an image


@pytest.fixture(scope="module", autouse=True)
def mnist_test() -> Split:
    return published("mnist").test


def _run(*arguments: object, folder: Path) -> Any:
    command = [sys.executable, "-m", "bnn_hw", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("name", [name for name in packaged_models() if name.startswith("mnist")])
def test_packaged_network_has_the_accuracy_it_claims(name: str, mnist_test: Split) -> None:
    network = packaged_network(name)
    accuracy = float((golden.classify(network, mnist_test.images) == mnist_test.labels).mean())
    assert accuracy == network.provenance["test_accuracy"]
    assert network.provenance["differing_decisions"] == (name == "mnist-binaryconnect")  # whose activations are rounded


def test_whole_test_set_through_the_verilog_at_the_planned_interval(tmp_path: Path) -> None:
    built = _run("build", "--model", "mnist", "--plan", _PLAN, "--no-verify", folder=tmp_path)
    verification = _run("verify", built["folder"], "--images", "all", folder=tmp_path)
    assert verification["images"] == 10_000
    assert verification["planned_cycles"] == 512
    assert verification["measured_cycles"] == pytest.approx(512, rel=0.02)


def test_training_ends_in_a_network_that_decides_as_the_trained_one(tmp_path: Path) -> None:
    trained = _run("train", "--model", "mnist-tiny", "--epochs", 1, "--threads", 1, "--out", "run", folder=tmp_path)
    agreement = trained["agreement"]
    assert agreement["differing_decisions"] == 0
    assert agreement["folded_accuracy"] == agreement["float_accuracy"] > 0.8
    exported = _run("export", "run/best.safetensors", "--out", "again.safetensors", folder=tmp_path)
    assert exported["network_sha256"] == trained["network_sha256"]
    built = _run("build", "--model", "run/best.safetensors", "--no-verify", folder=tmp_path)
    assert built["network"] == "mnist-tiny"
