# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train` on data sets of one's own: what it writes and prints, what its options change, and what it refuses."""

import json
import re
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from bnn_hw import golden
from bnn_hw.cli import app, main
from bnn_hw.datasets import load_own_dataset
from bnn_hw.network_file import load_network, network_digest
from bnn_training.catalogue import RECIPES
from bnn_training.checkpoint import load_checkpoint
from bnn_training.forecast import Forecast

torch.set_num_threads(1)  # the products are small: threads would only wait for each other


def invoke(*arguments: object) -> str:
    """Runs a command in this process; returns what it prints. Errors come as they are."""
    finished = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)
    return finished.stdout


def own_file(folder: Path, channels: int = 1) -> Path:
    """Writes 8x8 images of two classes, bright above or below."""
    rng = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 120), ("test", 30)):
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 160, (count, 8, 8, channels))
        images[labels == 0, :4] += 95
        images[labels == 1, 4:] += 95
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


REDUCED = ("--recipe", "mnist-tiny", "--epochs", 2, "--batch", 20, "--lr", 0.004, "--width", 0.25, "--seed", 7, "--threads", 1)


def test_train_on_arrays(tmp_path: Path) -> None:
    data, out = own_file(tmp_path), tmp_path / "run"
    printed = json.loads(invoke("train", *REDUCED, "--data", data, "--out", out, "--device", "cpu", "--tensorboard", "--json"))
    names = sorted(path.name for path in out.iterdir())
    (events,) = (name for name in names if name.startswith("events.out.tfevents."))
    assert names == ["best.safetensors", "curves.png", events, "last.safetensors", "log.jsonl", "network.safetensors"]
    changes = {"dataset": "own", "topology": "16-16-16", "epochs": 2, "batch": 20, "learning_rate": 0.004, "seed": 7}
    expected = replace(RECIPES["mnist-tiny"], **changes)
    checkpoint = load_checkpoint(out / "best.safetensors")
    assert (checkpoint.recipe, checkpoint.input_shape, checkpoint.classes) == (expected, (8, 8, 1), 2)
    network = load_network(out / "network.safetensors")
    assert printed["network"] == str(out / "network.safetensors")
    assert printed["network_sha256"] == network_digest(network)
    assert network.provenance["dataset"] == "own"
    test = load_own_dataset(data).test
    accuracy = float((golden.classify(network, test.images) == test.labels).mean())
    assert printed["agreement"]["folded_accuracy"] == network.provenance["test_accuracy"] == accuracy
    assert (printed["agreement"]["images"], printed["agreement"]["differing_decisions"]) == (30, 0)
    with Image.open(out / "curves.png") as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (900, 360))
    _check_events(out)
    exported = json.loads(invoke("export", out / "best.safetensors", "--out", tmp_path / "n.safetensors", "--data", data, "--json"))
    assert exported["agreement"] == printed["agreement"]
    assert exported["network_sha256"] == printed["network_sha256"]


def _check_events(out: Path) -> None:
    """Scalars are those of the log; there is a histogram of each layer's weights."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(out))
    accumulator.Reload()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2]
    tags = {"loss": "loss", "learning rate": "learning_rate", "accuracy/training": "train_accuracy"}
    assert sorted(accumulator.Tags()["scalars"]) == sorted(tags)
    for tag, field in tags.items():
        events = accumulator.Scalars(tag)
        assert [event.step for event in events] == [1, 2]
        assert [event.value for event in events] == pytest.approx([line[field] for line in log], rel=1e-6)
    assert accumulator.Tags()["histograms"] == [f"weights/layer {index}" for index in (1, 2, 3, 4)]


def test_the_same_command_goes_on_where_it_stood(tmp_path: Path) -> None:
    data, out = own_file(tmp_path), tmp_path / "run"
    command = ("train", *REDUCED, "--data", data, "--out", out, "--device", "cpu")
    first = json.loads(invoke(*command, "--json"))
    log = (out / "log.jsonl").read_text()
    assert json.loads(invoke(*command, "--json")) == first
    assert (out / "log.jsonl").read_text() == log
    shown = invoke(*command)
    for row in (r"network file", r"PyTorch model +│ [\d.]+ % of 30 test images", r"decisions that differ +│ 0"):
        assert re.search(row, shown), shown


def test_dry_run_says_what_a_training_takes(tmp_path: Path) -> None:
    data = own_file(tmp_path)
    command = ("train", *REDUCED, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--dry-run")
    plan = json.loads(invoke(*command, "--json"))
    weights = 64 * 16 + 16 * 16 * 2 + 16 * 2
    assert set(plan) == {"recipe", *Forecast.__dataclass_fields__}
    assert plan["recipe"]["topology"] == "16-16-16"
    assert json.loads(json.dumps(asdict(RECIPES["mnist-tiny"])))["augmentation"] == plan["recipe"]["augmentation"]
    assert (plan["binary_weights"], plan["multiply_accumulates"], plan["steps_per_epoch"]) == (weights, weights, 6)
    assert plan["parameters"] == weights + 3 * (3 * 16 + 2)
    assert plan["epoch_s"] > 0
    shown = invoke(*command)
    for row in (
        r"data set +│ own, 2 classes",
        rf"binary weights +│ {weights:,}",
        r"epochs +│ 2 of 6 steps with 20 images",
        r"time an epoch +│ [\d.]+ s on cpu",
    ):
        assert re.search(row, shown), shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.npz"]


def test_train_on_a_folder_of_images_in_the_order_of_its_classes(tmp_path: Path) -> None:
    dataset = load_own_dataset(own_file(tmp_path, channels=3))
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        for label, name in enumerate(("up", "down")):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for index in np.flatnonzero(part.labels == label):
                Image.fromarray(part.images[index]).save(tmp_path / "pictures" / split / name / f"{index:03}.png")
    data = ("--data", tmp_path / "pictures", "--device", "cpu", "--json")
    results = {}
    for classes in ("up,down", "down,up"):
        out = tmp_path / classes
        results[classes] = json.loads(invoke("train", *REDUCED, *data, "--classes", classes, "--out", out))
        network = load_network(out / "network.safetensors")
        assert network.input.shape == (8, 8, 3)
        test = load_own_dataset(tmp_path / "pictures", classes.split(",")).test
        accuracy = float((golden.classify(network, test.images) == test.labels).mean())
        assert results[classes]["agreement"]["folded_accuracy"] == accuracy
    assert results["up,down"]["network_sha256"] != results["down,up"]["network_sha256"]


def test_a_recipe_that_does_not_fold_is_measured_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPES["svhn-binaryconnect-stoch"], validation=20, topology="6C3-MP2-12")
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    data, out = own_file(tmp_path, channels=3), tmp_path / "run"
    command = ("train", "--recipe", recipe.name, "--epochs", 1, "--batch", 20, "--threads", 1, "--device", "cpu")
    printed = json.loads(invoke(*command, "--data", data, "--out", out, "--json"))
    assert set(printed) == {"checkpoint", "test_accuracy", "not_folded"}
    assert printed["checkpoint"] == str(out / "best.safetensors")
    assert printed["not_folded"].startswith("preprocessing gcn_lcn makes real numbers of sums over the image")
    assert 0 <= printed["test_accuracy"] <= 1
    names = ["best.safetensors", "curves.png", "last.safetensors", "log.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    shown = invoke(*command, "--data", data, "--out", out)
    assert re.search(r"PyTorch model +│ [\d.]+ % of 30 test images", shown), shown
    assert re.search(r"not folded +│ preprocessing gcn_lcn", shown), shown


def test_real_weights_are_told_beside_their_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPES["mnist-binaryconnect-stoch"], validation=20, topology="20")
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    data = ("--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu")
    shown = invoke("train", "--recipe", recipe.name, "--epochs", 1, "--batch", 20, "--threads", 1, *data)
    assert re.search(r"PyTorch model with real weights +│ [\d.]+ %", shown), shown


def refused(
    code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> None:
    """Runs the command line as a shell would, in this process."""
    monkeypatch.setattr(sys, "argv", ["bnn_hw", *map(str, arguments)])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    printed = capsys.readouterr().err
    assert left.value.code == code, printed
    assert re.search(rf"^(error|Error): {message}", printed, re.MULTILINE), printed


@pytest.mark.parametrize(
    ("code", "message", "arguments"),
    [
        (1, r"--device must be cpu, cuda or cuda:N, not 'tpu'$", ("--device", "tpu")),
        (1, r"--device must be cpu, cuda or cuda:N, not 'meta'$", ("--device", "meta")),
        (3, r"--device cuda:99: PyTorch finds \d+ GPUs here; leave --device out to use the processor$", ("--device", "cuda:99")),
        (1, r"Invalid value for '--batch': 0 is not in the range x>=1", ("--batch", 0)),
        (1, r"Invalid value for '--lr': 0\.0 is not in the range x>0", ("--lr", 0)),
        (1, r"Invalid value for '--width': -1\.0 is not in the range x>0", ("--width", -1)),
        (2, r"batch must be at most the 120 images that train, not 121$", ("--batch", 121, "--device", "cpu")),
        (2, r"classes must differ, not a, a$", ("--classes", "a,a")),
        (2, r".*own\.npz: train_labels\[\d+\] must be in 0\.\.0, not 1$", ("--classes", "a")),
    ],
    ids=range(9),
)
def test_bad_options(
    code: int,
    message: str,
    arguments: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    refused(code, message, monkeypatch, capsys, "train", *REDUCED, "--data", own_file(tmp_path), "--out", out, *arguments)
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"--device cuda: PyTorch finds 0 GPUs here; leave --device out to use the processor$"
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cuda")
    refused(3, message, monkeypatch, capsys, *command)
    assert not (tmp_path / "run").exists()


def test_classes_go_with_ones_own_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"--classes goes with a data set of your own, which --data must name$"
    refused(1, message, monkeypatch, capsys, "train", *REDUCED, "--data", tmp_path, "--classes", "a,b")


def test_other_settings_do_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu")
    invoke(*command, "--json")
    message = r".*last\.safetensors belongs to other settings "
    refused(2, message, monkeypatch, capsys, *command, "--lr", 0.01)
