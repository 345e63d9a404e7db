# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs, validation, checkpoints, resume."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_hw.network import Input
from bnn_training.augment import random_affine
from bnn_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bnn_training.inputs import pixel_inputs
from bnn_training.layers import BinaryLayer
from bnn_training.losses import squared_hinge
from bnn_training.network import BinaryNetwork
from bnn_training.recipes import Recipe, recipe_input, recipe_network

__all__ = ["BEST", "EpochReport", "train"]

BEST: Final = "best.safetensors"
_LAST: Final = "last.safetensors"
_LOG: Final = "log.jsonl"
_EVAL_BATCH: Final = 250


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to; accuracies are 0 to 1."""

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None  # None where no images are held out
    elapsed_s: float


@dataclass(frozen=True, eq=False)
class _Training:
    recipe: Recipe
    dataset: Dataset
    input: Input
    network: BinaryNetwork
    optimizer: torch.optim.Adam
    generator: torch.Generator
    images: torch.Tensor  # [images, rows, columns, channels] uint8
    labels: torch.Tensor  # [images] int64


@torch.no_grad()
def _accuracy(network: BinaryNetwork, split: Split, input_: Input) -> float:
    """Returns the share of `split` that the network classifies rightly in eval mode."""
    network.eval()
    images, labels = torch.from_numpy(split.images.copy()), torch.from_numpy(split.labels.astype("int64"))
    right = 0
    for batch, truth in zip(images.split(_EVAL_BATCH), labels.split(_EVAL_BATCH), strict=True):
        inputs = pixel_inputs(batch.permute(0, 3, 1, 2).float(), input_)
        right += int((network(inputs).argmax(1) == truth).sum())
    return right / len(labels)


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_step: Callable[[int, int, int], None] = lambda epoch, done, steps: None,
) -> Path:
    """Trains `recipe` on `dataset` and returns the path of the checkpoint with the best validation accuracy.

    Where the recipe holds no images out, that is the last epoch's.

    `folder` receives the last and the best checkpoint and a JSON log, a line an epoch; a training that was stopped
    goes on from the last checkpoint there, with the numbers that it would have had. Raises `ArtefactError` when the
    folder holds a training of other settings, and when the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fit, validation = _split(dataset.train, recipe.validation)
    training = _prepare(recipe, dataset, fit)
    done, best = _resume(training, folder)
    for epoch in range(done, recipe.epochs):
        started = time.perf_counter()
        loss, train_accuracy = _run_epoch(training, epoch, on_step)
        validation_accuracy = _accuracy(training.network, validation, training.input) if recipe.validation else None
        is_best = validation_accuracy is None or validation_accuracy >= best
        best = max(best, validation_accuracy or 0.0)
        report = EpochReport(epoch + 1, loss, train_accuracy, validation_accuracy, time.perf_counter() - started)
        _save(training, epoch + 1, best, folder, is_best)
        with (folder / _LOG).open("a") as log:
            log.write(json.dumps(vars(report)) + "\n")
        on_epoch(report)
    return folder / BEST


def _split(split: Split, held_out: int) -> tuple[Split, Split]:
    """Returns the images that train, and the last so many, which are held out; all of them where there are fewer."""
    kept = max(len(split.labels) - held_out, 0)
    return Split(split.images[:kept], split.labels[:kept]), Split(split.images[kept:], split.labels[kept:])


def _prepare(recipe: Recipe, dataset: Dataset, fit: Split) -> _Training:
    if len(fit.labels) < recipe.batch:
        raise ArtefactError(f"batch must be at most the {len(fit.labels):,} images that train, not {recipe.batch:,}")
    torch.manual_seed(recipe.seed)
    shape = fit.images.shape[1:]
    network = recipe_network(recipe, shape, dataset.classes)
    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.from_numpy(fit.images.copy())
    labels = torch.from_numpy(fit.labels.astype("int64"))
    return _Training(recipe, dataset, recipe_input(recipe, shape), network, _optimizer(network), generator, images, labels)


def _optimizer(network: BinaryNetwork) -> torch.optim.Adam:
    """Returns Adam with a group for each parameter; `scale` in a group multiplies the recipe's learning rate."""
    groups: list[dict[str, Any]] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            binarized = isinstance(module, BinaryLayer) and name == "weight"
            groups.append({"params": [parameter], "scale": module.learning_rate_scale if binarized else 1.0})
    return torch.optim.Adam(groups, fused=True)


def _run_epoch(training: _Training, epoch: int, on_step: Callable[[int, int, int], None]) -> tuple[float, float]:
    """Trains on each image once, but for a last batch that is not full; returns the mean loss and the accuracy."""
    recipe = training.recipe
    training.network.train()
    count = len(training.labels)
    batches = torch.randperm(count, generator=training.generator)[: count - count % recipe.batch].view(-1, recipe.batch)
    total_loss, right = 0.0, 0
    for step, indices in enumerate(batches):
        progress = (epoch + step / len(batches)) / recipe.epochs
        learning_rate = recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        loss, right_in_batch = _run_step(training, indices, learning_rate)
        if not math.isfinite(loss):
            where = f"epoch {epoch + 1}, step {step + 1}"
            raise ArtefactError(f"loss became {loss} in {where}; the last good checkpoint is kept, try a lower learning rate")
        total_loss += loss
        right += right_in_batch
        on_step(epoch + 1, step + 1, len(batches))
    return total_loss / len(batches), right / batches.numel()


def _run_step(training: _Training, indices: torch.Tensor, learning_rate: float) -> tuple[float, int]:
    """Trains on the images of these indices; returns their loss, and how many were classified rightly before."""
    network, optimizer, labels = training.network, training.optimizer, training.labels[indices]
    images = random_affine(training.images[indices], training.recipe.augmentation, training.generator)
    scores = network(pixel_inputs(images, training.input))
    loss = squared_hinge(scores, labels)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for module in network.modules():
        if isinstance(module, BinaryLayer):
            module.clip()
    return loss.item(), int((scores.argmax(1) == labels).sum())


def _save(training: _Training, epoch: int, best: float, folder: Path, is_best: bool) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in training.network.state_dict().items()}
    checkpoint = Checkpoint(
        training.recipe, training.dataset.train.images.shape[1:], training.dataset.classes, epoch, best, tensors
    )
    if is_best:
        save_checkpoint(checkpoint, folder / BEST)
    state = {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, values in training.optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }
    everything = {**tensors, **state, "generator": training.generator.get_state()}
    save_checkpoint(replace(checkpoint, tensors=everything), folder / _LAST)


def _state_shapes(training: _Training) -> dict[str, torch.Size]:
    """Returns name and shape of each tensor that a checkpoint must hold for a training to go on from it."""
    shapes = {f"model.{name}": tensor.shape for name, tensor in training.network.state_dict().items()}
    for index, group in enumerate(training.optimizer.param_groups):
        shape = group["params"][0].shape
        shapes |= {
            f"optimizer.{index}.step": torch.Size([]),
            f"optimizer.{index}.exp_avg": shape,
            f"optimizer.{index}.exp_avg_sq": shape,
        }
    return {**shapes, "generator": training.generator.get_state().shape}


def _resume(training: _Training, folder: Path) -> tuple[int, float]:
    """Restores the last checkpoint of `folder`, if there is one; returns the epochs done and the best validation."""
    path = folder / _LAST
    if not path.exists():
        return 0, 0.0
    checkpoint = load_checkpoint(path)
    here = (training.recipe, training.dataset.train.images.shape[1:], training.dataset.classes)
    if (checkpoint.recipe, checkpoint.input_shape, checkpoint.classes) != here:
        raise ArtefactError(f"{path} belongs to other settings ({checkpoint.recipe}); remove the folder or give another --out")
    tensors = dict(checkpoint.tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != _state_shapes(training):
        raise ArtefactError(f"{path} does not hold the whole state of its training; remove the folder or give another --out")
    training.generator.set_state(tensors.pop("generator"))
    model, optimizer = {}, training.optimizer.state_dict()
    for name, tensor in tensors.items():
        match name.split(".", 2):
            case ["optimizer", index, key]:
                optimizer["state"].setdefault(int(index), {})[key] = tensor
            case _:
                model[name.removeprefix("model.")] = tensor
    training.network.load_state_dict(model)
    training.optimizer.load_state_dict(optimizer)
    return checkpoint.epoch, checkpoint.best_validation
