# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw train` on data sets of one's own: what it writes and prints, what its options change, and what it refuses."""

import json
import re
import shutil
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from bnn_hw.cli import app, main
from bnn_hw.datasets import Dataset, load_own_dataset
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.datasets.summary import summary
from bnn_hw.errors import ArtefactError
from bnn_hw.models.packaged import packaged_models, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.file import load_network, network_digest
from bnn_training.catalogue import RECIPES
from bnn_training.checkpoint import load_checkpoint
from bnn_training.forecast import Forecast

torch.set_num_threads(1)  # the products are small: threads would only wait for each other


def run(*arguments: object) -> Result:
    """Runs a command in this process; errors come as they are."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)


def invoke(*arguments: object) -> str:
    """Returns what a command prints."""
    return run(*arguments).stdout


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
    dataset = load_own_dataset(data)
    assert (checkpoint.recipe, checkpoint.input_shape, checkpoint.data) == (expected, (8, 8, 1), dataset.identity)
    network = load_network(out / "network.safetensors")
    assert printed["network"] == str(out / "network.safetensors")
    assert printed["network_sha256"] == network_digest(network)
    assert trained_on(network) == dataset.identity
    assert network.name == checkpoint.name == printed["name"] == "own"
    assert (printed["ties"], printed["near_ties"]) == ("torch", network.provenance["near_ties"])
    test = dataset.test
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
        (1, r"Invalid value for '--pixel-threshold': 257 is not in the range 0<=x<=256", ("--pixel-threshold", 257)),
        (1, r"--pixel-threshold makes bits of pixels, and cifar10 takes more ", ("--recipe", "cifar10", "--pixel-threshold", 9)),
        (1, r"Invalid value for '--name': network name must be .* letter on, not 'A'", ("--name", "A")),
        (1, r"--extend and --restart exclude each other: ", ("--extend", "--restart")),
        (2, r".*run holds no training to extend; leave --extend out, or give another --out$", ("--extend",)),
        (2, r"batch must be at least 2, so that batch norm has a variance, not 1$", ("--batch", 1)),
        (2, r"batch must be at most the 120 images that train, not 121$", ("--batch", 121, "--device", "cpu")),
        (2, r"classes must differ, not a, a$", ("--classes", "a,a")),
        (2, r".*own\.npz: train_labels\[\d+\] must be in 0\.\.0, not 1$", ("--classes", "a")),
    ],
    ids=range(15),
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
    message = r"--classes goes with a data set of your own, "
    refused(1, message, monkeypatch, capsys, "train", *REDUCED, "--data", tmp_path, "--classes", "a,b")


def test_other_settings_do_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu")
    invoke(*command, "--json")
    capsys.readouterr()
    message = r".*last\.safetensors is of another training: learning_rate was 0\.004, now 0\.01; give another --out, or --restart "
    refused(2, message, monkeypatch, capsys, *command, "--lr", 0.01, "--json")


def test_more_epochs_and_beginning_anew(tmp_path: Path) -> None:
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu", "--json")
    last = tmp_path / "run" / "last.safetensors"
    first = run(*command)
    assert f"{last} is complete: 2 of 2 epochs\n" in run(*command).stderr
    extended = run(*command, "--epochs", 3, "--extend")
    assert (
        f"{last} goes on after epoch 2; the cosine schedule is stretched from 2 epochs to 3: the learning rate " in extended.stderr
    )
    assert json.loads(extended.stdout)["network_sha256"] == network_digest(load_network(tmp_path / "run" / "network.safetensors"))
    anew = run(*command, "--restart")
    assert f"{tmp_path / 'run'} begins anew; removed: 3 epochs in last.safetensors, best.safetensors, network" in anew.stderr
    assert json.loads(anew.stdout) == json.loads(first.stdout)


def test_processes_that_torchrun_starts_again_do_not_begin_anew_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu", "--restart", "--json")
    invoke(*command)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert "begins anew" in run(*command).stderr
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert "is complete: 2 of 2 epochs" in run(*command).stderr


def pictures(folder: Path, *names: str) -> Path:
    """Writes the images of `own_file` as pictures of classes of these names, bright above and below."""
    dataset = load_own_dataset(own_file(folder))
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        for label, name in enumerate(names):
            (folder / "pictures" / split / name).mkdir(parents=True)
            for index in np.flatnonzero(part.labels == label):
                Image.fromarray(part.images[index, ..., 0]).save(folder / "pictures" / split / name / f"{index:03}.png")
    return folder / "pictures"


def test_data_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures that were exchanged, one class more, and classes in another order."""
    data = pictures(tmp_path, "up", "down")
    command = ("train", *REDUCED, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--json", "--classes")
    invoke(*command, "up,down")
    network = (tmp_path / "run" / "network.safetensors").read_bytes()

    def is_refused(classes: str, phrase: str) -> None:
        capsys.readouterr()
        message = rf".*run/last\.safetensors is of another training: {phrase}; give another --out, or --restart to begin anew"
        refused(2, message, monkeypatch, capsys, *command, classes)
        assert (tmp_path / "run" / "network.safetensors").read_bytes() == network

    is_refused("down,up", "classes were up, down, now down, up")
    for split in ("train", "test"):
        shutil.copytree(data / split / "up", data / split / "third")
    is_refused("up,down,third", "classes were up, down, now up, down, third")
    for split in ("train", "test"):
        (data / split / "up").rename(data / split / "x")
        (data / split / "down").rename(data / split / "up")
        (data / split / "x").rename(data / split / "down")
    is_refused("up,down", "the pictures or labels changed")


def test_export_measures_on_the_data_of_the_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the training's classes, which need not be told again."""
    data = pictures(tmp_path, "up", "down")
    train = ("train", *REDUCED, "--data", data, "--classes", "up,down", "--out", tmp_path / "run", "--device", "cpu", "--json")
    trained = json.loads(invoke(*train))
    command = ("export", tmp_path / "run" / "best.safetensors", "--out", tmp_path / "n.safetensors")
    exported = json.loads(invoke(*command, "--data", data, "--json"))
    assert (exported["agreement"], exported["network_sha256"]) == (trained["agreement"], trained["network_sha256"])
    message = (
        r".*best\.safetensors was trained on other data than .*own\.npz: classes were up, down, now 0, 1; name those, or leave"
    )
    refused(2, message, monkeypatch, capsys, *command, "--data", tmp_path / "own.npz", "--classes", "0,1")
    message = r".*best\.safetensors was trained on other data than .*pictures: classes were up, down, now down, up; name those, or"
    refused(2, message, monkeypatch, capsys, *command, "--data", data, "--classes", "down,up")
    monkeypatch.setenv("BNN_HW_DATA", str(tmp_path))  # where published data sets lie, which these are not
    assert json.loads(invoke(*command, "--json"))["agreement"] is None


def test_the_network_is_named_after_the_data_or_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_file(tmp_path).rename(tmp_path / "Cats & Dogs.npz")
    monkeypatch.chdir(tmp_path)
    command = ("train", *REDUCED, "--data", "Cats & Dogs.npz", "--device", "cpu", "--json")
    printed = json.loads(invoke(*command))
    assert (printed["name"], printed["network"]) == ("cats-dogs", "runs/cats-dogs-mnist-tiny/network.safetensors")
    printed = json.loads(invoke(*command, "--name", "pets-2", "--ties", "exact"))
    assert (printed["name"], printed["ties"]) == ("pets-2", "exact")
    assert printed["network"] == "runs/pets-2/network.safetensors"
    exported = ("export", "runs/pets-2/best.safetensors", "--out", "n.safetensors", "--json")
    assert json.loads(invoke(*exported))["name"] == "pets-2"
    assert json.loads(invoke(*exported, "--name", "other"))["name"] == load_network(Path("n.safetensors")).name == "other"


def test_data_called_as_mnist_are_not_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 80), ("test", 20)):
        labels = rng.integers(0, 10, count)
        arrays |= {f"{split}_images": rng.integers(0, 256, (count, 28, 28), np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNN_HW_DATA", raising=False)
    printed = json.loads(invoke("train", *REDUCED, "--data", "mnist.npz", "--device", "cpu", "--json"))
    network = load_network(Path(printed["network"]))
    assert network.name not in packaged_models()
    assert packaged_test_images(network) is None
    with pytest.raises(
        ArtefactError,
        match=r"^no test images are packaged for mnist-own; ",
    ):
        invoke("infer", "--model", printed["network"])


def test_what_was_read_is_shown(tmp_path: Path) -> None:
    data = own_file(tmp_path)
    shown = invoke("train", *REDUCED, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--dry-run")
    for what, value in summary(load_own_dataset(data)):
        assert re.search(rf"{what} +│ {re.escape(value[:20])}", shown), shown


def test_notes_on_the_data_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, so that what --json prints is JSON."""

    def noted(*arguments: Any, **how: Any) -> Dataset:
        return replace(load_own_dataset(*arguments, **how), notes=("a note",))

    monkeypatch.setattr("bnn_hw.datasets.load_own_dataset", noted)
    monkeypatch.setattr("bnn_training.runs.pixel_notes", lambda dataset, input_: (f"{dataset.name}, {input_.pixel_threshold}",))
    command = ("train", *REDUCED, "--data", own_file(tmp_path), "--out", tmp_path / "run", "--device", "cpu", "--dry-run", "--json")
    shown = run(*command, "--pixel-threshold", 77)
    assert [line for line in shown.stderr.splitlines() if line in ("warning: a note", "warning: own, 77")] == [
        "warning: a note",
        "warning: own, 77",
    ]
    assert json.loads(shown.stdout)["recipe"]["pixel_threshold"] == 77
