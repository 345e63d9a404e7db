# SPDX-License-Identifier: Apache-2.0
"""Training on made-up images: it learns, resumes with the same bits, and refuses what does not fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_training.augment import AffineRange
from bnn_training.checkpoint import CHECKPOINT_FORMAT, load_checkpoint
from bnn_training.recipes import RECIPES, Recipe
from bnn_training.trainer import BEST, EpochReport, train

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "stripes", (24,), epochs=5, batch=20, validation=30, augmentation=AffineRange(shift_pixels=1), seed=4)


def stripes(images: int, seed: int) -> Split:
    """Returns noisy 8x8 images: class 0 is bright above, class 1 left, class 2 in the middle."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, images, np.uint8)
    pixels = rng.integers(0, 180, (images, 8, 8, 1), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        (image[:4], image[:, :4], image[2:6, 2:6])[label][:] += 75
    return Split(pixels, labels)


DATASET = Dataset("stripes", 3, stripes(230, 1), stripes(50, 2))


def run(folder: Path, recipe: Recipe = RECIPE, **hooks: Callable[..., None]) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        hooks.get("on_epoch", lambda report: None)(report)

    assert train(recipe, DATASET, folder, on_epoch=on_epoch, on_step=hooks.get("on_step", lambda *_: None)) == folder / BEST
    return reports


def content(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Returns the description and the tensors of a checkpoint, bit for bit."""
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    tensors = {
        name: tensor.view(torch.uint8).flatten().tolist() if tensor.dim() else tensor.item()
        for name, tensor in load_file(path).items()
    }
    return json.loads(header["__metadata__"][CHECKPOINT_FORMAT]), tensors


def test_training_learns(tmp_path: Path) -> None:
    reports = run(tmp_path, replace(RECIPE, epochs=12))
    assert [report.epoch for report in reports] == list(range(1, 13))
    assert reports[-1].loss < reports[0].loss
    assert reports[-1].train_accuracy > 0.6
    best = load_checkpoint(tmp_path / BEST)
    assert best.best_validation == max(report.validation_accuracy or 0 for report in reports) > 0.6
    assert best.epoch == max(report.epoch for report in reports if report.validation_accuracy == best.best_validation)
    assert (best.input_shape, best.classes) == ((8, 8, 1), 3)


def test_weights_are_clipped_at_each_step(tmp_path: Path) -> None:
    """At this learning rate the first steps take weights far past 1."""
    run(tmp_path, replace(RECIPE, epochs=1, learning_rate=0.1))
    assert load_checkpoint(tmp_path / BEST).tensors["model.blocks.0.product.weight"].abs().max() == 1


def test_without_validation_the_last_epoch_is_the_result(tmp_path: Path) -> None:
    reports = run(tmp_path, replace(RECIPE, validation=0, epochs=3))
    assert [report.validation_accuracy for report in reports] == [None] * 3
    best, last = content(tmp_path / BEST), content(tmp_path / "last.safetensors")
    assert best[0] == last[0]
    assert best[0]["epoch"] == 3
    assert best[1].items() <= last[1].items()


def test_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    reports = run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [vars(report) for report in reports]


def test_steps_are_reported(tmp_path: Path) -> None:
    steps: list[tuple[int, int, int]] = []
    run(tmp_path, replace(RECIPE, epochs=2), on_step=lambda *step: steps.append(step))
    assert steps == [(epoch, step, 10) for epoch in (1, 2) for step in range(1, 11)]


def test_the_same_seed_trains_the_same_bits(tmp_path: Path) -> None:
    for place, recipe in (("a", RECIPE), ("b", RECIPE), ("c", replace(RECIPE, seed=5))):
        run(tmp_path / place, replace(recipe, epochs=2))
    a, b, c = (content(tmp_path / place / "last.safetensors") for place in "abc")
    assert a == b
    assert a[1] != c[1]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("where", ["after an epoch", "within an epoch", "often"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_resumed_training_is_the_uninterrupted_one(where: str, bfloat16: bool, tmp_path: Path) -> None:
    recipe = replace(RECIPE, bfloat16=bfloat16)
    whole = run(tmp_path / "whole", recipe)

    def stop_at(epoch: int) -> dict[str, Callable[..., None]]:
        def on_epoch(report: EpochReport) -> None:
            if where != "within an epoch" and report.epoch == epoch:
                raise _StopError

        def on_step(now: int, step: int, _: int) -> None:
            if where == "within an epoch" and (now, step) == (epoch, 6):
                raise _StopError

        return {"on_epoch": on_epoch, "on_step": on_step}

    for epoch in (1, 2, 3, 4) if where == "often" else (3,):
        with pytest.raises(_StopError):
            run(tmp_path / "parts", recipe, **stop_at(epoch))
    torch.manual_seed(99)  # the global generator must not matter
    rest = run(tmp_path / "parts", recipe)
    assert [replace(report, elapsed_s=0) for report in rest] == [replace(report, elapsed_s=0) for report in whole[-len(rest) :]]
    for name in ("last.safetensors", BEST):
        assert content(tmp_path / "parts" / name) == content(tmp_path / "whole" / name)
    lines = [json.loads(line)["epoch"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5]
    assert run(tmp_path / "parts", recipe) == []  # a finished training has nothing left to do


@pytest.mark.parametrize(
    "change",
    [{"seed": 5}, {"epochs": 6}, {"hidden": (25,)}, {"learning_rate": 2e-3}, {"augmentation": AffineRange()}, {"bfloat16": False}],
    ids=str,
)
def test_other_settings_do_not_resume(change: dict[str, Any], tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1)
    run(tmp_path, recipe)
    before = content(tmp_path / "last.safetensors")
    message = r"last\.safetensors belongs to other settings \(Recipe\(.*\)\); remove the folder or give another --out$"
    with pytest.raises(ArtefactError, match=message):
        run(tmp_path, replace(recipe, **change))
    assert content(tmp_path / "last.safetensors") == before


def test_other_images_do_not_resume(tmp_path: Path) -> None:
    run(tmp_path, replace(RECIPE, epochs=1))
    wider = Dataset("stripes", 4, DATASET.train, DATASET.test)
    with pytest.raises(ArtefactError, match=r"last\.safetensors .*"):
        train(replace(RECIPE, epochs=1), wider, tmp_path)


@pytest.mark.parametrize("missing", ["generator", "model.blocks.0.product.weight", "optimizer.0.exp_avg"])
def test_a_checkpoint_that_is_not_whole_does_not_resume(missing: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2)
    with pytest.raises(_StopError):
        run(tmp_path, recipe, on_epoch=_stop)
    path = tmp_path / "last.safetensors"
    raw = path.read_bytes()
    metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    save_file({name: tensor for name, tensor in load_file(path).items() if name != missing}, path, metadata)
    with pytest.raises(ArtefactError, match=r"last\.safetensors .*"):
        run(tmp_path, recipe)


def _stop(_: EpochReport) -> None:
    raise _StopError


def test_a_damaged_checkpoint_does_not_resume(tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtefactError, match=r"last\.safetensors is no checkpoint: .*; `bnn_hw train` writes one$"):
        run(tmp_path)


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=float("inf"))
    with pytest.raises(
        ArtefactError, match=r"^loss became nan in epoch 1, step \d+; the last good checkpoint is kept, try a lower "
    ):
        run(tmp_path, recipe)
    assert not (tmp_path / "last.safetensors").exists()


def test_recipes_are_by_name() -> None:
    assert {"mnist-tiny", "mnist-small", "mnist"} <= set(RECIPES)
    assert all(recipe.name == name for name, recipe in RECIPES.items())


def test_batch_that_exceeds_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^batch must be at most the \d+ images that train, not 100,000$"):
        train(replace(RECIPE, batch=100_000), DATASET, tmp_path)
