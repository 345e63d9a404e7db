# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 the whole way on the real data; the folder comes from BNN_HW_DATA."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bnn_hw.models.packaged import packaged_network
from bnn_hw.network import golden
from support.dataset_files import published

_PLAN = (
    Path(__file__).parents[2] / "rtl" / "plans" / "cifar10-32400.json"
)  # BNN-PYNQ's PE and SIMD, but for fc1 and fc2 (docs/hardware.md)


def _run(*arguments: object, folder: Path) -> Any:
    command = [sys.executable, "-m", "bnn_hw", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


def test_packaged_cifar10_has_the_accuracy_it_claims() -> None:
    test, network = published("cifar10").test, packaged_network("cifar10")
    accuracy = float((golden.classify(network, test.images) == test.labels).mean())
    assert accuracy == network.provenance["test_accuracy"]
    assert network.provenance["differing_decisions"] == 0


def test_200_cifar10_images_through_the_verilog_at_the_planned_interval(tmp_path: Path) -> None:
    published("cifar10")
    built = _run("build", "--model", "cifar10", "--plan", _PLAN, "--no-verify", folder=tmp_path)
    verification = _run("verify", built["folder"], "--images", 200, folder=tmp_path)
    assert verification["images"] == 200
    assert verification["planned_cycles"] == verification["measured_cycles"] == 32_400
