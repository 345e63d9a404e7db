# SPDX-License-Identifier: Apache-2.0
"""Runs: their recipe, names and folder, how they begin, and what they write beside checkpoints and log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ToolError, UsageError
from bnn_training import runs
from bnn_training.catalogue import RECIPES
from bnn_training.chosen_recipe import chosen_recipe
from bnn_training.model import BinaryNetwork
from bnn_training.run_folder import BEST, CURVES, LAST, LOG
from bnn_training.runs import Run, Watch, plan_run, run_notes, run_start, train_run
from bnn_training.trainer import EpochReport

torch.set_num_threads(1)


def _dataset(name: str = "own") -> Dataset:
    rng = np.random.default_rng(1)
    train, test = (
        Split(rng.integers(0, 256, (count, 4, 4, 1), np.uint8), np.arange(count, dtype=np.uint8) % 2) for count in (40, 10)
    )
    return Dataset(name, ("even", "odd"), train, test, notes=("a note",))


def _run(folder: Path) -> Run:
    return plan_run(chosen_recipe("mnist-tiny", {"epochs": 2, "batch": 20}, width=0.125), _dataset(), folder=folder)


def test_a_recipe_with_changes() -> None:
    changes = {"epochs": 3, "batch": None, "pixel_threshold": 9}
    assert chosen_recipe("mnist-tiny", changes) == replace(RECIPES["mnist-tiny"], epochs=3, pixel_threshold=9)
    assert chosen_recipe("mnist-tiny", {}, width=0.25).topology == "16-16-16"
    with pytest.raises(UsageError, match=r"^--recipe must be one of mnist-tiny, .*, not 'lenet'$"):
        chosen_recipe("lenet", {})
    with pytest.raises(UsageError, match=r"^--pixel-threshold makes bits of pixels, and cifar10 takes more than a bit of each; "):
        chosen_recipe("cifar10", {"pixel_threshold": 3})


def test_names_and_folders(tmp_path: Path) -> None:
    recipe, own = RECIPES["mnist-tiny"], _dataset()
    run = plan_run(recipe, own)
    assert (run.name, run.folder, run.recipe) == ("own", Path("runs/own-mnist-tiny"), replace(recipe, dataset="own"))
    assert [plan_run(recipe, own, "mine").folder, plan_run(recipe, own, folder=tmp_path).folder] == [Path("runs/mine"), tmp_path]
    assert run_notes(run)[0] == "a note"


def test_how_a_run_begins() -> None:
    starts = [run_start(extend, restart, {}) for extend, restart in ((False, False), (True, False), (False, True))]
    assert starts == ["resume", "extend", "restart"]
    assert run_start(False, True, {"TORCHELASTIC_RESTART_COUNT": "1"}) == "resume"
    assert run_start(False, True, {"TORCHELASTIC_RESTART_COUNT": "0"}) == "restart"
    with pytest.raises(UsageError, match=r"^--extend and --restart exclude each other: "):
        run_start(True, True, {})


def test_a_run_is_watched_and_plotted(tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []

    def on_epoch(report: EpochReport, network: BinaryNetwork) -> None:
        seen.append(("epoch", report.epoch))

    watch = Watch(on_epoch=on_epoch, on_step=lambda *step: seen.append(step))
    best = train_run(_run(tmp_path), "resume", torch.device("cpu"), watch, tensorboard=True)
    assert best == tmp_path / BEST
    assert seen == [(1, 1, 2), (1, 2, 2), ("epoch", 1), (2, 1, 2), (2, 2, 2), ("epoch", 2)]
    written = {path.name for path in tmp_path.iterdir()}
    assert {BEST, LAST, LOG, CURVES} < written
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize("package", ["matplotlib", "tensorboard"])
def test_what_is_missing_is_told_before_the_training(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def require(name: str) -> None:
        if name == package:
            raise ToolError(f"{name} is not installed")

    monkeypatch.setattr(runs, "require", require)
    with pytest.raises(ToolError, match=f"^{package} is not installed$"):
        train_run(_run(tmp_path / "run"), "resume", torch.device("cpu"), Watch(), tensorboard=True)
    assert not (tmp_path / "run").exists()
