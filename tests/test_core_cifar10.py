# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 the whole way on the real data; the folder comes from BNN_HW_DATA."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnn_hw import golden
from bnn_hw.datasets import load_dataset
from bnn_hw.errors import ArtefactError
from bnn_hw.packaged import packaged_network

_PLAN = Path(__file__).parent / "plans" / "cifar10-32400.json"  # BNN-PYNQ's PE and SIMD, but for fc1 and fc2 (docs/hardware.md)


def _data() -> Path:
    """Returns the folder with CIFAR-10; skips the test where there is none."""
    folder = os.environ.get("BNN_HW_DATA")
    if folder is None:
        pytest.skip("BNN_HW_DATA names no folder with CIFAR-10")
    return Path(folder)


def _run(*arguments: object, folder: Path) -> Any:
    command = [sys.executable, "-m", "bnn_hw", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


def _test_set() -> Any:
    try:
        return load_dataset("cifar10", _data(), Path()).test
    except ArtefactError as error:
        pytest.skip(f"BNN_HW_DATA holds no CIFAR-10: {error}")


def test_packaged_cifar10_has_the_accuracy_it_claims() -> None:
    test, network = _test_set(), packaged_network("cifar10")
    accuracy = float((golden.classify(network, test.images) == test.labels).mean())
    assert accuracy == network.provenance["test_accuracy"]
    assert network.provenance["differing_decisions"] == 0


def test_200_cifar10_images_through_the_verilog_at_the_planned_interval(tmp_path: Path) -> None:
    _test_set()
    built = _run("build", "--model", "cifar10", "--plan", _PLAN, "--no-verify", folder=tmp_path)
    verification = _run("verify", built["folder"], "--images", 200, "--data", _data(), folder=tmp_path)
    assert verification["images"] == 200
    assert verification["planned_cycles"] == verification["measured_cycles"] == 32_400
