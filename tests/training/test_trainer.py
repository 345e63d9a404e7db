# SPDX-License-Identifier: Apache-2.0
"""Training on made-up images: it learns, resumes with the same bits, and refuses what does not fit."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bnn_hw.artefacts.formats import CHECKPOINT_FORMAT
from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_training.augment import AffineRange
from bnn_training.checkpoint import load_checkpoint
from bnn_training.checkpoint import load_network as checkpoint_network
from bnn_training.folding import export_checkpoint
from bnn_training.images import divided_images
from bnn_training.model import BinaryNetwork
from bnn_training.recipes import Recipe
from bnn_training.run_folder import BEST
from bnn_training.trainer import EpochReport, Start, train
from support.distributed_training import DATASET

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "stripes", "24", epochs=5, batch=20, validation=30, augmentation=AffineRange(shift_pixels=1), seed=4)
CONV = Recipe(
    "conv",
    "colours",
    "12C3-MP2-16C2-20",
    epochs=5,
    batch=20,
    input_dtype="int8",
    padding=1,
    augmentation=AffineRange(shift_pixels=1, whole_pixels=True, mirror=True),
    validation=30,
    seed=4,
)
# The shift-based system of the BNN paper, and BinaryConnect's stochastic one.
SHIFTED = replace(
    RECIPE,
    name="shifted",
    optimizer="shift_adamax",
    learning_rate=2**-6,
    schedule="halving",
    halve_every=2,
    activation="stochastic_sign",
    shift_batch_norm=True,
    batch_norm_momentum=0.125,
)
CONNECT = replace(
    RECIPE,
    name="connect",
    topology="24-20",
    optimizer="adamax",
    schedule="exponential",
    last_learning_rate=1e-4,
    activation="relu",
    input_dtype="uint8",
    stochastic_weights=True,
    test_weights="real",
    input_dropout=0.2,
    hidden_dropout=0.5,
    balanced_validation=True,
)
WHITENED = replace(SHIFTED, name="whitened", dataset="colours", topology="6C3-MP2-12", preprocessing="gcn_zca", epochs=5)


def colours(images: int, seed: int) -> Split:
    """Returns noisy 8x8 images with a stripe: class 0 is red, class 1 blue, class 2 green and class 3 green upright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, images, np.uint8)
    pixels = rng.integers(0, 150, (images, 8, 8, 3), np.uint8)
    for image, label, at in zip(pixels, labels, rng.integers(1, 6, images), strict=True):
        stripe = image[:, at : at + 2] if label == 3 else image[at : at + 2]
        stripe[..., (0, 2, 1, 1)[label]] += 105
    return Split(pixels, labels)


COLOURS = Dataset("colours", tuple("0123"), colours(430, 1), colours(200, 2))


def run(
    folder: Path, recipe: Recipe = RECIPE, on_epoch: Callable[[EpochReport], None] = lambda report: None, **how: Any
) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def report_epoch(report: EpochReport, network: BinaryNetwork) -> None:
        reports.append(report)
        on_epoch(report)

    dataset = COLOURS if recipe.dataset == "colours" else DATASET
    assert train(recipe, dataset, folder, on_epoch=report_epoch, **how) == folder / BEST
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
    assert (best.input_shape, best.data, best.name) == ((8, 8, 1), DATASET.identity, "stripes")


@pytest.mark.parametrize("recipe", [SHIFTED, WHITENED], ids=lambda recipe: recipe.name)
def test_the_shift_based_system_learns(recipe: Recipe, tmp_path: Path) -> None:
    reports = run(tmp_path, replace(recipe, epochs=12, halve_every=4))
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert (reports[-1].validation_accuracy or 0) > 0.6


def test_binary_connect_learns(tmp_path: Path) -> None:
    """By its deterministic form: in networks as small as this one, chance in weights drowns what there is to learn."""
    changes = {"stochastic_weights": False, "test_weights": "binary", "hidden_dropout": 0.0, "learning_rate": 2**-8}
    reports = run(tmp_path, replace(CONNECT, topology="96-96", epochs=12, **changes))
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert (reports[-1].validation_accuracy or 0) > 0.6


def test_the_learning_rate_of_an_epochs_last_step_is_reported(tmp_path: Path) -> None:
    """Ten steps an epoch: a cosine falls in each, a halved one after two epochs, an exponential one after each."""
    rates = [report.learning_rate for report in run(tmp_path / "a", replace(RECIPE, epochs=3))]
    assert rates == pytest.approx([0.5e-3 * (1 + math.cos(math.pi * (epoch + 0.9) / 3)) for epoch in range(3)])
    assert [report.learning_rate for report in run(tmp_path / "b", replace(SHIFTED, epochs=3))] == [2**-6, 2**-6, 2**-7]
    rates = [report.learning_rate for report in run(tmp_path / "c", replace(CONNECT, epochs=2))]
    assert rates == pytest.approx([1e-3, 1e-3 * 0.1**0.5])


def test_validation_meets_the_real_weights_where_the_recipe_says_so(tmp_path: Path) -> None:
    (*_, last) = run(tmp_path, replace(CONNECT, epochs=4))
    network = checkpoint_network(load_checkpoint(tmp_path / "last.safetensors"))
    _, held_out, _ = divided_images(DATASET, CONNECT, torch.device("cpu"))
    pixels = held_out.pixels.permute(0, 3, 1, 2).float()
    shares = {}
    for which in ("real", "binary"):
        network.set_test_weights(which)  # type: ignore[arg-type]
        with torch.no_grad():
            shares[which] = float((network(pixels).argmax(1) == held_out.labels).numpy().mean())
    assert last.validation_accuracy == shares["real"] != shares["binary"]


def test_convolutions_learn(tmp_path: Path) -> None:
    """Chance is a quarter; a blind guess of the colour alone comes to three quarters."""
    recipe = replace(CONV, epochs=12)
    reports = run(tmp_path, recipe)
    assert reports[-1].loss < reports[0].loss / 2
    best = load_checkpoint(tmp_path / BEST)
    assert (best.input_shape, best.data, best.recipe) == ((8, 8, 3), COLOURS.identity, recipe)
    _, agreement = export_checkpoint(tmp_path / BEST, COLOURS.test)
    assert agreement is not None
    assert agreement.differing_decisions == 0
    assert agreement.folded_accuracy == agreement.float_accuracy > 0.85


@pytest.mark.parametrize("dtype", ["bit", "uint8", "int8"])
def test_validation_accuracy_is_that_of_the_integer_network(dtype: str, tmp_path: Path) -> None:
    recipe = replace(CONV, epochs=2, input_dtype=dtype, pixel_threshold=150)  # type: ignore[arg-type]
    (*_, last) = run(tmp_path, recipe)
    network, _ = export_checkpoint(tmp_path / "last.safetensors")
    _, held_out, _ = divided_images(COLOURS, recipe, torch.device("cpu"))
    assert last.validation_accuracy == float((golden.classify(network, held_out.pixels.numpy()) == held_out.labels.numpy()).mean())


def test_a_training_does_not_depend_on_images_held_out(tmp_path: Path) -> None:
    """It does on those that train; which is which is seen by images that hold their numbers."""
    labels = COLOURS.train.labels
    numbered = Split(np.arange(len(labels), dtype="<u2").view(np.uint8).reshape(-1, 1, 2, 1), labels)
    fit, held_out, _ = divided_images(replace(COLOURS, train=numbered), CONV, torch.device("cpu"))
    first_fit, first_held_out = (int(part.pixels[0].numpy().reshape(-1).view("<u2")[0]) for part in (fit, held_out))
    outcomes = []
    for index, change in enumerate((None, first_held_out, first_fit)):
        images = COLOURS.train.images.copy()
        if change is not None:
            images[change] = 255
        dataset = Dataset("colours", tuple("0123"), Split(images, COLOURS.train.labels), COLOURS.test)
        train(replace(CONV, epochs=1), dataset, tmp_path / str(index))
        outcomes.append(content(tmp_path / str(index) / BEST)[1])
    assert outcomes[0] == outcomes[1] != outcomes[2]


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


def test_an_epoch_that_was_logged_but_not_saved_stands_in_the_log_once(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(_StopError):
        run(tmp_path / "parts", on_epoch=_stop)
    log = tmp_path / "parts" / "log.jsonl"
    log.write_text(log.read_text() + '{"epoch": 2, "loss": 0.5}\n')
    run(tmp_path / "parts")
    losses = [[json.loads(line)["loss"] for line in (tmp_path / place / "log.jsonl").open()] for place in ("whole", "parts")]
    assert losses[0] == losses[1]


def test_steps_are_reported(tmp_path: Path) -> None:
    steps: list[tuple[int, int, int]] = []
    run(tmp_path, replace(RECIPE, epochs=2), on_step=lambda *step: steps.append(step))
    assert steps == [(epoch, step, 10) for epoch in (1, 2) for step in range(1, 11)]


@pytest.mark.parametrize("first", [RECIPE, SHIFTED, CONNECT], ids=lambda recipe: recipe.name)
def test_the_same_seed_trains_the_same_bits(first: Recipe, tmp_path: Path) -> None:
    for place, recipe in (("a", first), ("b", first), ("c", replace(first, seed=5))):
        run(tmp_path / place, replace(recipe, epochs=2))
    a, b, c = (content(tmp_path / place / "last.safetensors") for place in "abc")
    assert a == b
    assert a[1] != c[1]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("where", ["after an epoch", "within an epoch", "often"])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("recipe", [RECIPE, CONV, SHIFTED, CONNECT, WHITENED], ids=lambda recipe: recipe.name)
def test_a_resumed_training_is_the_uninterrupted_one(where: str, bfloat16: bool, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, bfloat16=bfloat16)
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
    ("change", "phrase"),
    [
        ({"seed": 5}, "seed was 4, now 5"),
        ({"topology": ""}, "topology was 24, now empty"),
        ({"padding": 1}, "padding was 0, now 1"),
        ({"input_dtype": "int8"}, "input_dtype was bit, now int8"),
        ({"pixel_threshold": 60}, "pixel_threshold was 128, now 60"),
        ({"learning_rate": 2e-3}, "learning_rate was 0.001, now 0.002"),
        ({"augmentation": AffineRange()}, "augmentation shift_pixels were 1, now 0.0"),
        ({"bfloat16": False}, "bfloat16 was True, now False"),
        ({"optimizer": "adamax"}, "optimizer was adam, now adamax"),
        ({"schedule": "exponential"}, "schedule was cosine, now exponential"),
        ({"activation": "relu"}, "activation was sign, now relu"),
        ({"shift_batch_norm": True}, "shift_batch_norm was False, now True"),
        ({"hidden_dropout": 0.1}, "hidden_dropout was 0.0, now 0.1"),
        ({"stochastic_weights": True}, "stochastic_weights were False, now True"),
        ({"test_weights": "real"}, "test_weights were binary, now real"),
        ({"balanced_validation": True}, "balanced_validation was False, now True"),
        ({"epochs": 1, "seed": 5, "batch": 10}, "epochs were 2, now 1; batch was 20, now 10; seed was 4, now 5"),
        ({"epochs": 3, "seed": 5}, "epochs were 2, now 3; seed was 4, now 5"),
    ],
    ids=str,
)
@pytest.mark.parametrize("start", ["resume", "extend"])
def test_other_settings_do_not_go_on(start: Start, change: dict[str, Any], phrase: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2)
    run(tmp_path, recipe)
    before = files(tmp_path)
    message = rf"last\.safetensors is of another training: {phrase}; give another --out, or --restart to begin anew in its place$"
    with pytest.raises(ArtefactError, match=message):
        run(tmp_path, replace(recipe, **change), start=start)
    assert files(tmp_path) == before


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(images: np.ndarray | None = None, names: str = "012", test: Split | None = None) -> Dataset:
    """Returns the data set of the tests with other training images, class names or test images."""
    train_images = DATASET.train.images if images is None else images
    return Dataset("renamed", tuple(names), Split(train_images, DATASET.train.labels), test or DATASET.test)


def with_a_pixel(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[7, 1, 2, 0] ^= 1
    return images


@pytest.mark.parametrize(
    ("dataset", "phrase"),
    [
        (changed(names="0123"), "classes were 0, 1, 2, now 0, 1, 2, 3"),
        (changed(names="201"), "classes were 0, 1, 2, now 2, 0, 1"),
        (changed(names="0123456789"), "classes were 3, now 10"),
        (changed(with_a_pixel(DATASET.train.images)), "the pictures or labels changed"),
        (changed(test=Split(with_a_pixel(DATASET.test.images), DATASET.test.labels)), "the pictures or labels changed"),
        (changed(test=Split(DATASET.test.images, (DATASET.test.labels + 1) % 3)), "the pictures or labels changed"),
        (changed(DATASET.train.images[:, :, :7], test=Split(DATASET.test.images[:, :, :7], DATASET.test.labels)), "shape"),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("epochs", [1, 2])
def test_other_data_do_not_go_on(epochs: int, dataset: Dataset, phrase: str, tmp_path: Path) -> None:
    """Neither where the training is complete nor where it is to be extended."""
    run(tmp_path, replace(RECIPE, epochs=1))
    before = files(tmp_path)
    phrase = "image shape was 8x8x1, now 8x7x1" if phrase == "shape" else phrase
    phrase += "; epochs were 1, now 2" if epochs == 2 else ""
    message = rf"last\.safetensors is of another training: {phrase}; give another --out, or --restart to begin anew in its place$"
    with pytest.raises(ArtefactError, match=message):
        train(replace(RECIPE, epochs=epochs), dataset, tmp_path, start="extend")
    assert files(tmp_path) == before


def test_of_many_classes_the_first_that_differs_is_named(tmp_path: Path) -> None:
    train(replace(RECIPE, epochs=1), changed(names="0123456789"), tmp_path)
    with pytest.raises(ArtefactError, match=r" training: class 4 was 4, now x; give another"):
        train(replace(RECIPE, epochs=1), changed(names="0123x5678y"), tmp_path)


def test_names_of_data_and_recipe_are_no_difference(tmp_path: Path) -> None:
    """What was complete stays so when a folder is moved."""
    recipe = replace(RECIPE, epochs=1)
    run(tmp_path, recipe)
    messages: list[str] = []
    best = train(replace(recipe, name="other", dataset="renamed"), changed(), tmp_path, on_start=messages.append)
    assert messages == [f"{tmp_path / 'last.safetensors'} is complete: 1 of 1 epochs"]
    assert load_checkpoint(best).name == "stripes"


RATES = {
    "tiny": "the cosine schedule is stretched from 2 epochs to 5: the learning rate was 6.16e-06 at the end of epoch 2 "
    "and is 0.000655 in epoch 3",
    "shifted": "the halving schedule goes on as it was: the learning rate was 0.0156 at the end of epoch 2 "
    "and is 0.00781 in epoch 3",
    "connect": "the exponential schedule is stretched from 2 epochs to 5: the learning rate was 0.000316 at the end of epoch 2 "
    "and is 0.000398 in epoch 3",
}


@pytest.mark.parametrize("recipe", [RECIPE, SHIFTED, CONNECT], ids=lambda recipe: recipe.name)
def test_more_epochs_go_on_where_it_is_asked_for(recipe: Recipe, tmp_path: Path) -> None:
    first = run(tmp_path / "a", replace(recipe, epochs=2))
    before = files(tmp_path / "a")
    message = r": epochs were 2, now 5; give another --out, --restart to begin anew in its place, or --extend to go on$"
    with pytest.raises(ArtefactError, match=message):
        run(tmp_path / "a", recipe)
    assert files(tmp_path / "a") == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    messages: list[str] = []
    rest = run(tmp_path / "a", recipe, start="extend", on_start=messages.append)
    assert messages == [f"{tmp_path / 'a' / 'last.safetensors'} goes on after epoch 2; {RATES[recipe.name]}"]
    assert [report.epoch for report in rest] == [3, 4, 5]
    last = load_checkpoint(tmp_path / "a" / "last.safetensors")
    assert (last.epoch, last.recipe) == (5, recipe)
    assert last.best_validation == max(report.validation_accuracy or 0 for report in first + rest)
    assert len((tmp_path / "a" / "log.jsonl").read_text().splitlines()) == 5
    # The best epoch stays the best one, though it was one of those before.
    best = load_checkpoint(tmp_path / "a" / BEST)
    assert best.epoch == max(report.epoch for report in first + rest if report.validation_accuracy == last.best_validation)
    # And a training that was stopped after it was extended is the one that was not, with the option or without.
    for _ in range(2):
        with pytest.raises(_StopError):
            run(tmp_path / "b", recipe, start="extend", on_epoch=_stop)
    assert [report.epoch for report in run(tmp_path / "b", recipe)] == [5]
    assert content(tmp_path / "a" / "last.safetensors") == content(tmp_path / "b" / "last.safetensors")
    assert content(tmp_path / "a" / BEST) == content(tmp_path / "b" / BEST)


def test_extending_from_the_middle_and_to_fewer_epochs(tmp_path: Path) -> None:
    with pytest.raises(_StopError):
        run(tmp_path, replace(RECIPE, epochs=3), on_epoch=_stop)
    with pytest.raises(
        ArtefactError, match=r": epochs were 3, now 2; give another --out, or --restart to begin anew in its place$"
    ):
        run(tmp_path, replace(RECIPE, epochs=2), start="extend")
    assert [report.epoch for report in run(tmp_path, replace(RECIPE, epochs=4), start="extend")] == [2, 3, 4]


def test_there_must_be_a_training_to_extend(tmp_path: Path) -> None:
    message = r"^.*new holds no training to extend; leave --extend out, or give another --out$"
    with pytest.raises(ArtefactError, match=message):
        run(tmp_path / "new", start="extend")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("validation", [0, 30])
def test_beginning_anew_leaves_nothing_of_what_was_there(validation: int, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2, validation=validation)
    run(tmp_path / "a", replace(recipe, epochs=3, seed=9))
    for name in ("network.safetensors", "curves.png", "events.out.tfevents.1.x", "notes.txt"):
        (tmp_path / "a" / name).touch()
    messages: list[str] = []
    run(tmp_path / "a", recipe, start="restart", on_start=messages.append)
    removed = "last.safetensors, best.safetensors, network.safetensors, log.jsonl, curves.png, events.out.tfevents.1.x"
    assert messages == [f"{tmp_path / 'a'} begins anew; removed: 3 epochs in {removed}"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [BEST, "last.safetensors", "log.jsonl", "notes.txt"]
    run(tmp_path / "b", recipe, start="restart", on_start=messages.append)  # nothing there
    assert len(messages) == 1
    for name in ("last.safetensors", BEST):
        assert content(tmp_path / "a" / name) == content(tmp_path / "b" / name)


def test_what_cannot_begin_removes_nothing(tmp_path: Path) -> None:
    run(tmp_path, replace(RECIPE, epochs=1))
    before = files(tmp_path)
    for change in ({"batch": 100_000}, {"batch": 1}, {"topology": "x"}):
        with pytest.raises(ArtefactError):
            run(tmp_path, replace(RECIPE, **change), start="restart")
    assert files(tmp_path) == before


def test_a_batch_of_one_image_has_no_variance(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^batch must be at least 2, so that batch norm has a variance, not 1$"):
        run(tmp_path, replace(RECIPE, batch=1))
    assert run(tmp_path, replace(RECIPE, batch=2, epochs=1))


def test_where_a_training_goes_on_is_said(tmp_path: Path) -> None:
    recipe, messages = replace(RECIPE, epochs=2), []
    with pytest.raises(_StopError):
        run(tmp_path, recipe, on_epoch=_stop, on_start=messages.append)
    assert messages == []
    run(tmp_path, recipe, on_start=messages.append)
    assert messages == [f"{tmp_path / 'last.safetensors'} goes on after epoch 1 of 2"]


@pytest.mark.parametrize(("name", "expected"), [(None, "stripes"), ("mine", "mine")])
def test_the_network_is_named_after_the_data_or_as_it_is_told(name: str | None, expected: str, tmp_path: Path) -> None:
    best = train(replace(RECIPE, epochs=1), DATASET, tmp_path, name=name)
    assert load_checkpoint(best).name == export_checkpoint(best)[0].name == expected
    with pytest.raises(ArtefactError, match=r"^network name must be .*, not 'A'$"):
        train(RECIPE, DATASET, tmp_path / "new", name="A")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("missing", ["optimizer.0.step", "model.blocks.0.product.weight", "optimizer.0.exp_avg"])
def test_a_checkpoint_that_is_not_whole_does_not_resume(missing: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2)
    with pytest.raises(_StopError):
        run(tmp_path, recipe, on_epoch=_stop)
    path = tmp_path / "last.safetensors"
    raw = path.read_bytes()
    metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    save_file({name: tensor for name, tensor in load_file(path).items() if name != missing}, path, metadata)
    with pytest.raises(
        ArtefactError, match=r"last\.safetensors does not hold the whole state of its training; --restart begins anew$"
    ):
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


def test_batch_that_exceeds_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"^batch must be at most the \d+ images that train, not 100,000; 30 are held out$"):
        train(replace(RECIPE, batch=100_000), DATASET, tmp_path)


def test_more_images_held_out_than_there_are(tmp_path: Path) -> None:
    rule = "validation must leave each class an image that trains, not hold out 300 of 230, with all 88 of class 0"
    with pytest.raises(ArtefactError, match=rf"^{rule}; give a smaller --validation, or 0$"):
        train(replace(RECIPE, validation=300), DATASET, tmp_path)


def test_a_topology_that_does_not_fit_the_images_is_refused(tmp_path: Path) -> None:
    message = r"^layer 4C9 of '4C9' on 8x8x3: the kernel is larger than the image with 0 of padding$"
    with pytest.raises(ArtefactError, match=message):
        train(replace(CONV, topology="4C9", padding=0), COLOURS, tmp_path)
