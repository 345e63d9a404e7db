# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs, validation, checkpoints, and how a training goes on from one."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bnn_hw.datasets import DataIdentity, Dataset
from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import Input, check_network_name
from bnn_training.augment import random_affine
from bnn_training.catalogue import network_name
from bnn_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bnn_training.continuation import differences, extends, stretched_schedule
from bnn_training.distributed import barrier, check_same, processes, rank, total
from bnn_training.images import Images, divided_images
from bnn_training.inputs import pixel_inputs
from bnn_training.losses import squared_hinge
from bnn_training.model import BinaryNetwork
from bnn_training.optimizers import OPTIMIZER_STATE, make_optimizer, set_learning_rate
from bnn_training.recipes import Recipe, recipe_input, recipe_network, recipe_rate
from bnn_training.run_folder import BEST, LAST, LOG, clear, shorten_log

__all__ = ["EpochReport", "Start", "Training", "accuracy", "prepare", "run_step", "train"]

Start: TypeAlias = Literal["resume", "extend", "restart"]
"""How a training begins in a folder that holds one: goes on with it, also with more epochs than it was to have, or begins anew."""

_EVAL_BATCH: Final = 250
_STEPS_UNWATCHED: Final = 20  # the loss is checked after this many steps, since a check waits for the GPU to finish


@dataclass(frozen=True)
class EpochReport:
    """The results of one epoch; accuracies are 0 to 1."""

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None  # None where no images are held out
    learning_rate: float  # of the last step
    elapsed_s: float


@dataclass(frozen=True, eq=False)
class Training:
    """A recipe with the objects that its steps work on."""

    name: str  # of the network
    recipe: Recipe
    shape: tuple[int, ...]  # of an image
    input: Input | None  # None if preprocessing has made the pixels real numbers
    network: BinaryNetwork
    forward: nn.Module  # the network, wrapped to share gradients among processes, and compiled if asked for
    optimizer: torch.optim.Optimizer
    fit: Images
    validation: Images
    data: DataIdentity


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    start: Start = "resume",
    device: torch.device | None = None,
    compiled: bool = False,
    on_start: Callable[[str], None] = lambda message: None,
    on_epoch: Callable[[EpochReport, BinaryNetwork], None] = lambda report, network: None,
    on_step: Callable[[int, int, int], None] = lambda epoch, done, steps: None,
) -> Path:
    """Trains `recipe` on `dataset` and returns the path of the checkpoint with the best validation accuracy.

    Where the recipe holds no images out, that is the last epoch's.

    `folder` receives the last and the best checkpoint and a JSON log, a line an epoch. A training that was stopped goes on from
    the last checkpoint there, with the same numbers as without the stop; `start` says more. `name` is the network's, by
    default that of `bnn_training.catalogue.network_name`. `on_start` is told where a resumed training goes on.

    In a distributed training each process calls this with the same arguments except `device`; the first one alone writes, and
    calls `on_start`, `on_epoch` and `on_step`. With `compiled`, `torch.compile` makes the kernels of a training step.

    Raises `ArtefactError` when the folder holds a training of other settings or data, when the processes differ in what they
    found, when the batch does not divide into them, and when the loss is no longer finite.
    """
    folder = Path(folder)
    training = prepare(recipe, dataset, device or torch.device("cpu"), name=name, compiled=compiled)
    check_same("data", training.data.sha256)
    done, best, message = _begin(training, folder, start)
    check_same("epochs done", done)  # so that no process reads what the first one writes next
    folder.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        shorten_log(folder / LOG, done)
        if message:
            on_start(message)
    for epoch in range(done, recipe.epochs):
        started = time.perf_counter()
        loss, train_accuracy, last_rate = _run_epoch(training, epoch, on_step)
        held_out = accuracy(training.network, training.validation, training.input) if len(training.validation.labels) else None
        is_best = held_out is None or held_out >= best
        best = max(best, held_out or 0.0)
        report = EpochReport(epoch + 1, loss, train_accuracy, held_out, last_rate, time.perf_counter() - started)
        if rank() == 0:
            with (folder / LOG).open("a") as log:
                log.write(json.dumps(vars(report)) + "\n")
            _save(training, epoch + 1, best, folder, is_best)
            on_epoch(report, training.network)
    barrier()
    return folder / BEST


@torch.no_grad()
def accuracy(network: BinaryNetwork, images: Images, input_: Input | None) -> float:
    """Returns the share of `images` that the network classifies correctly in eval mode.

    `input_`: the network's input; None if preprocessing has made the pixels real numbers, which it takes unchanged.
    """
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    for batch, truth in zip(images.pixels.split(_EVAL_BATCH), images.labels.split(_EVAL_BATCH), strict=True):
        right += (network(_inputs(batch.permute(0, 3, 1, 2).float(), input_)).argmax(1) == truth).sum()
    return right.item() / len(images.labels)


def _inputs(pixels: torch.Tensor, input_: Input | None) -> torch.Tensor:
    return pixel_inputs(pixels, input_) if input_ else pixels


def prepare(recipe: Recipe, dataset: Dataset, device: torch.device, *, name: str | None = None, compiled: bool = False) -> Training:
    """Returns a training before its first step.

    Raises `ArtefactError` when a network cannot have that name, when there are fewer images than a batch, when a batch has
    no variance, and when it does not divide into the processes.
    """
    name = network_name(recipe, dataset.identity) if name is None else name
    check_network_name(name)
    if recipe.batch < 2:
        raise ArtefactError(f"batch must be at least 2, so that batch norm has a variance, not {recipe.batch}")
    fit, validation, _ = divided_images(dataset, recipe, device)
    if len(fit.labels) < recipe.batch:
        held_out = f"; {len(validation.labels):,} are held out" if recipe.validation else ""
        raise ArtefactError(f"batch must be at most the {len(fit.labels):,} images that train, not {recipe.batch:,}{held_out}")
    if recipe.batch % processes():
        raise ArtefactError(f"batch must be a multiple of the {processes()} processes, not {recipe.batch:,}")
    torch.manual_seed(recipe.seed)
    shape = dataset.train.images.shape[1:]
    network = recipe_network(recipe, shape, dataset.classes).to(device)
    forward: nn.Module = network
    if processes() > 1:
        forward = DistributedDataParallel(network, broadcast_buffers=False)
    if compiled:
        forward = torch.compile(forward)  # type: ignore[assignment]
    input_ = recipe_input(recipe, shape) if recipe.preprocessing == "pixels" else None
    optimizer = make_optimizer(recipe.optimizer, network)
    return Training(name, recipe, shape, input_, network, forward, optimizer, fit, validation, dataset.identity)


def _seed(*numbers: int) -> int:
    """Returns a seed made of numbers, so that the draws of an epoch and process do not depend on earlier ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _run_epoch(training: Training, epoch: int, on_step: Callable[[int, int, int], None]) -> tuple[float, float, float]:
    """Trains on each image once, without a last batch that is not full.

    Returns the mean loss, the accuracy and the learning rate of the last step.
    """
    recipe, labels = training.recipe, training.fit.labels
    training.forward.train()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_seed(recipe.seed, epoch)))
    steps = len(labels) // recipe.batch
    batches = order[: steps * recipe.batch].view(steps, recipe.batch)[:, rank() :: processes()].to(labels.device)
    torch.manual_seed(_seed(recipe.seed, epoch, rank()))  # the generator of dropout and stochastic binarization
    generator = torch.Generator(labels.device).manual_seed(_seed(recipe.seed, epoch, rank(), 1))
    losses = torch.zeros(steps, device=labels.device)
    right = torch.zeros((), dtype=torch.int64, device=labels.device)
    rate = 0.0
    for step, indices in enumerate(batches):
        rate = recipe_rate(recipe, epoch + step / steps)
        losses[step], right_in_batch = run_step(training, indices, rate, generator)
        right += right_in_batch
        if (step + 1) % _STEPS_UNWATCHED == 0 or step + 1 == steps:
            _check_losses(losses[: step + 1], epoch)
        if rank() == 0:
            on_step(epoch + 1, step + 1, steps)
    loss, share = total(torch.stack([losses.mean().double(), right.double()])).tolist()
    return loss / processes(), share / (steps * recipe.batch), rate


def _check_losses(losses: torch.Tensor, epoch: int) -> None:
    """Raises `ArtefactError` naming the first step whose loss, in any process, is not finite."""
    losses = total(losses)
    bad = ~losses.isfinite()
    if bad.any():
        step = int(bad.float().argmax())
        raise ArtefactError(
            f"loss became {losses[step].item()} in epoch {epoch + 1}, step {step + 1}; "
            "the last good checkpoint is kept, try a lower learning rate"
        )


def run_step(
    training: Training, indices: torch.Tensor, rate: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Trains on the images of these indices; returns their loss, and how many were classified correctly before the step."""
    labels = training.fit.labels[indices]
    images = random_affine(training.fit.pixels[indices], training.recipe.augmentation, generator)
    scores = training.forward(_inputs(images, training.input))
    loss = squared_hinge(scores, labels)
    set_learning_rate(training.optimizer, rate)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()
    training.network.clip()
    return loss.detach(), (scores.argmax(1) == labels).sum()


def _save(training: Training, epoch: int, best: float, folder: Path, is_best: bool) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in training.network.state_dict().items()}
    checkpoint = Checkpoint(training.name, training.recipe, training.shape, training.data, epoch, best, tensors)
    if is_best:
        save_checkpoint(checkpoint, folder / BEST)
    state = {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, values in training.optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }
    save_checkpoint(replace(checkpoint, tensors={**tensors, **state}), folder / LAST)


def _state_shapes(training: Training) -> dict[str, torch.Size]:
    """Returns name and shape of each tensor that a checkpoint must hold for a training to go on from it."""
    shapes = {f"model.{name}": tensor.shape for name, tensor in training.network.state_dict().items()}
    for index, group in enumerate(training.optimizer.param_groups):
        shape = group["params"][0].shape
        shapes[f"optimizer.{index}.step"] = torch.Size([])
        shapes |= {f"optimizer.{index}.{name}": shape for name in OPTIMIZER_STATE[training.recipe.optimizer]}
    return shapes


def _begin(training: Training, folder: Path, start: Start) -> tuple[int, float, str]:
    """Brings a training to where it goes on; returns the epochs done, the best validation accuracy, and a message."""
    path, epochs = folder / LAST, training.recipe.epochs
    if start == "restart":
        removed = clear(folder) if rank() == 0 else ""
        return 0, 0.0, f"{folder} begins anew; removed: {removed}" if removed else ""
    if not path.exists():
        if start == "extend":
            raise ArtefactError(f"{folder} holds no training to extend; leave --extend out, or give another --out")
        return 0, 0.0, ""
    checkpoint = load_checkpoint(path)
    done, before = checkpoint.epoch, checkpoint.recipe
    found = differences(checkpoint, training.recipe, training.shape, training.data)
    extended = bool(found) and training.data.sha256 == checkpoint.data.sha256 and extends(before, training.recipe)
    if found and not (extended and start == "extend"):
        anew = "--restart to begin anew in its place"
        ways = f"{anew}, or --extend to go on" if extended else f"or {anew}"
        raise ArtefactError(f"{path} is of another training: {'; '.join(found)}; give another --out, {ways}")
    _restore(training, checkpoint, path)
    if extended:
        steps = len(training.fit.labels) // training.recipe.batch
        message = f"{path} goes on after epoch {done}; {stretched_schedule(before, training.recipe, done, steps)}"
    elif done == epochs:
        message = f"{path} is complete: {done} of {epochs} epochs"
    else:
        message = f"{path} goes on after epoch {done} of {epochs}"
    return done, checkpoint.best_validation, message


def _restore(training: Training, checkpoint: Checkpoint, path: Path) -> None:
    """Gives a training the state that its checkpoint, of `path`, holds."""
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    if shapes != _state_shapes(training):
        raise ArtefactError(f"{path} does not hold the whole state of its training; --restart begins anew")
    model, optimizer = {}, training.optimizer.state_dict()
    for name, tensor in checkpoint.tensors.items():
        match name.split(".", 2):
            case ["optimizer", index, key]:
                optimizer["state"].setdefault(int(index), {})[key] = tensor
            case _:
                model[name.removeprefix("model.")] = tensor
    training.network.load_state_dict(model)
    training.optimizer.load_state_dict(optimizer)
