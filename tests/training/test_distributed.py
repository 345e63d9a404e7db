# SPDX-License-Identifier: Apache-2.0
"""Two processes that train together: the same network as one with the same batch, also after one of them was killed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_training.checkpoint import load_checkpoint, load_network
from bnn_training.run_folder import BEST, LAST, LOG
from bnn_training.trainer import EpochReport, train
from support.distributed_training import DATASET, TRAININGS

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
WORKER = Path(__file__).parents[1] / "support" / "distributed_training.py"


def torchrun(*arguments: object, processes: int = 2, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    """Runs `torchrun`; past the time-out it ends its processes and leaves with another exit code than 0."""
    options = ("--standalone", "--nproc-per-node", processes)
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, (*options, *arguments))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes trained."""
    folder = tmp_path_factory.mktemp("together")
    finished = torchrun(WORKER, folder, "", *TRAININGS)
    assert finished.returncode == 0, finished.stderr
    return folder


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path).tensors)


def scores(path: Path) -> torch.Tensor:
    """Returns the scores of the test images."""
    checkpoint = load_checkpoint(path)
    pixels = torch.from_numpy(DATASET.test.images).permute(0, 3, 1, 2).float()
    x = torch.where(pixels >= 128, 1.0, -1.0) if checkpoint.recipe.input_dtype == "bit" else pixels - 128
    with torch.no_grad():
        return load_network(checkpoint)(x)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_the_network_of_one(name: str, together: Path, tmp_path: Path) -> None:
    """Up to the order of sums. Biases in front of batch norm have no effect, and so no gradient but such differences."""
    reports: list[EpochReport] = []
    train(TRAININGS[name], DATASET, tmp_path, on_epoch=lambda report, _: reports.append(report))
    one, two = parameters(tmp_path / LAST), parameters(together / f"{name}-0" / LAST)
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        if key.endswith(".product.weight"):
            assert torch.allclose(tensor, two[key], atol=1e-3), key
    assert torch.allclose(scores(tmp_path / LAST), scores(together / f"{name}-0" / LAST), atol=1e-2)
    lines = [json.loads(line) for line in (together / f"{name}-0" / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [report.epoch for report in reports]
    for line, report in zip(lines, reports, strict=True):
        assert line["loss"] == pytest.approx(report.loss, rel=1e-3)
        assert line["train_accuracy"] == pytest.approx(report.train_accuracy, abs=0.011)  # two of 200 images
        assert line["validation_accuracy"] == pytest.approx(report.validation_accuracy, abs=0.034)  # one of 30
        assert line["learning_rate"] == report.learning_rate
    assert reports[-1].loss < 0.8 * reports[0].loss  # there was something to learn


def test_the_first_process_alone_writes(together: Path) -> None:
    for name in TRAININGS:
        assert sorted(path.name for path in (together / f"{name}-0").iterdir()) == [BEST, LAST, LOG]
        assert list((together / f"{name}-1").iterdir()) == []


def test_processes_that_find_different_checkpoints_are_refused(together: Path, tmp_path: Path) -> None:
    """Here the first one finds a complete training and the other none, as on two machines without a common folder."""
    shutil.copytree(together, tmp_path / "again")
    before = {path: path.read_bytes() for path in tmp_path.glob("again/dense-*/*")}
    finished = torchrun(WORKER, tmp_path / "again", "", "dense")
    assert finished.returncode != 0
    assert "processes differ in their epochs done: 3, 0; give all of them the same files" in finished.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("again/dense-*/*")} == before


def test_a_killed_process_is_started_again_and_nothing_is_lost(together: Path, tmp_path: Path) -> None:
    """It dies in the middle of an epoch; the last checkpoint is that of an uninterrupted training, bit for bit."""
    folder = tmp_path / "again"
    finished = torchrun("--max-restarts", 1, WORKER, folder, tmp_path / "died", "dense", timeout_s=100)
    assert (tmp_path / "died").exists()
    assert finished.returncode == 0, finished.stderr
    whole, parts = parameters(together / "dense-0" / LAST), parameters(folder / "dense" / LAST)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[key]) for key, tensor in whole.items())
    logs = [
        [{**json.loads(line), "elapsed_s": 0} for line in path.read_text().splitlines()]
        for path in (together / "dense-0" / LOG, folder / "dense" / LOG)
    ]
    assert logs[0] == logs[1]


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    """By the module that `torchrun` starts, whose command line is that of `bnn_hw train`."""
    images = np.zeros((40, 4, 4), np.uint8)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    arguments = ("--data", tmp_path / "own.npz", "--device", "cpu", "--out", tmp_path / "out")
    finished = torchrun("-m", "bnn_training", "--recipe", "mnist-tiny", "--batch", 15, *arguments)
    assert finished.returncode != 0
    assert "error: batch must be a multiple of the 2 processes, not 15" in finished.stderr
    assert not list(tmp_path.glob("out/*"))
