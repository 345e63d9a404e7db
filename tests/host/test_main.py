# SPDX-License-Identifier: Apache-2.0
"""`python -m bnn_host`, as a board's shell sees it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnn_hw.network import golden
from support.accelerator_boards import small_build, small_network
from support.simulated_board import environment, free_address, needs_pynq, serving

pytestmark = needs_pynq


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


@pytest.fixture(scope="module")
def address(small: Path) -> Iterator[str]:
    with serving(small, free := free_address()):
        yield free


def _run(*arguments: object, remote: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnn_host", *map(str, arguments)]
    variables = {**environment(remote)}
    if remote is None:
        variables.pop("PYNQ_REMOTE_DEVICES", None)
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)


def _printed(*arguments: object, remote: str | None = None) -> str:
    finished = _run(*arguments, remote=remote)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_classify(small: Path, address: str, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (9, 7, 10), np.uint8)
    scores = golden.scores(small_network(1), images)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3, *(0, 0, 0, 9), *(0, 0, 0, 7), *(0, 0, 0, 10)]) + images.tobytes()
    )
    (tmp_path / "pictures").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{index}.png")
    for path in ("images.npy", "images-idx3-ubyte", "pictures"):
        found = json.loads(_printed("classify", small, "--address", address, "--images", tmp_path / path, "--json"))
        assert (found["images"], found["scores"]) == (9, scores.tolist())
        assert found["classes"] == scores.argmax(axis=1).tolist()
        assert [decision["class"] for decision in found["decisions"]] == found["classes"]
    file = tmp_path / "pictures" / "3.png"
    first, second = np.argsort(-scores[3], kind="stable")[:2]
    shown = (
        rf"^{re.escape(str(file))} +{first} {first}, score {scores[3, first]}; then {second} {second}, score {scores[3, second]}$"
    )
    assert re.search(shown, _printed("classify", small, "--address", address, "--images", file), re.MULTILINE)
    printed = _printed("classify", small, remote=address)  # the vectors; the board by pynq's variable
    assert re.match(r"images +64\nimages_of_class\.0 +\d+\n", printed)


def test_classify_the_test_images_of_a_data_set(small: Path, address: str, tmp_path: Path) -> None:
    """They are not the data that the network was trained on, which it does not say, so there is no accuracy."""
    rng = np.random.default_rng(4)
    images, labels = rng.integers(0, 256, (30, 7, 10), np.uint8), np.arange(30) % 3
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images[5:], test_labels=labels[5:])
    command = ("classify", small, "--address", address, "--data", tmp_path / "own.npz")
    finished = _run(*command)
    assert finished.stderr == "warning: these are not the very data that the network was trained on, so no accuracy is shown\n"
    assert re.match(r"images +25\nimages_of_class\.0 ", finished.stdout)
    found = json.loads(_printed(*command, "--classes", "a,b,c", "--json"))
    assert found["scores"] == golden.scores(small_network(1), images[5:]).tolist()
    assert "accuracy" not in found


def test_selftest_info_and_benchmark(small: Path, address: str) -> None:
    assert re.fullmatch(r"equal_images +64\n", _printed("selftest", small, "--address", address))
    info = json.loads(_printed("info", small, "--address", address, "--json"))
    assert (info["name"], info["board"], info["simulated"], info["runtime_weights"]) == ("random", address, True, True)
    measured = json.loads(
        _printed("benchmark", small, "--address", address, "--chunk-images", 16, "--singles", 3, "--timeout", 60, "--json")
    )
    assert (measured["images"], measured["chunk_images"], len(measured["latency_ms"])) == (64, 16, 3)
    assert measured["power_missing"] == "PYNQ.remote does not give the sensors of its board"


def test_packing_needs_no_board(small: Path) -> None:
    assert re.fullmatch(r"packed_images_per_s +[\d,.e+]+\n", _printed("benchmark", small, "--packing"))


@pytest.mark.parametrize(
    ("code", "message", "arguments"),
    [
        (1, r"the following arguments are required: command; python -m bnn_host --help says .*", []),
        (1, r"unrecognized arguments: --no; python -m bnn_host --help says what there is", ["info", "BUILD", "--no"]),
        (1, r"argument --timeout: invalid float value: 'x'; .*", ["info", "BUILD", "--timeout", "x"]),
        (1, r"timeout_s must be more than 0 and at most 86,400, not -1\.0", ["info", "BUILD", "--timeout", "-1"]),
        (2, r"a build must be a build's folder or one of those installed here, not '/no' \(installed: .*\)", ["info", "/no"]),
        (2, r"no board: No Devices Found; run this on a board as root \(sudo -i\), .*", ["selftest", "BUILD"]),
        (1, r"argument --singles: must be 0\.\.1,000,000, not -3; .*", ["benchmark", "BUILD", "--singles", "-3"]),
        (2, r"the board's address 'é{99}' is not known: .*; give its IP address", ["info", "BUILD", "--address", "é" * 99]),
        (1, r"argument --address: must not be empty; .*", ["info", "BUILD", "--address", ""]),
        (1, r"--images and --data exclude each other: .*", ["classify", "BUILD", "--images", "/no.npy", "--data", "/no.npz"]),
        (2, r"/no\.npy is no \.npy file of numbers: .*", ["classify", "BUILD", "--images", "/no.npy"]),
    ],
)
def test_errors(small: Path, code: int, message: str, arguments: list[str]) -> None:
    finished = _run(*(str(small) if argument == "BUILD" else argument for argument in arguments))
    assert finished.returncode == code
    assert re.search(rf"^error: {message}$", finished.stderr, re.MULTILINE), finished.stderr
    assert (finished.stdout, "Traceback" in finished.stderr) == ("", False)
