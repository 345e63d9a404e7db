# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors with a JSON description; nothing is ever unpickled."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bnn_hw.errors import ArtefactError
from bnn_hw.packaged import CHECKPOINT_FORMAT
from bnn_training.augment import AffineRange
from bnn_training.network import BinaryNetwork
from bnn_training.recipes import Recipe
from bnn_training.topology import build_network

__all__ = ["Checkpoint", "load_checkpoint", "load_network", "recipe_network", "save_checkpoint"]

_VERSION: Final = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after `epoch` epochs.

    `tensors` holds ``model.<parameter>`` and, where the training is to be resumed, ``optimizer.<index>.<state>`` and
    ``generator``; `best_validation` is the best validation accuracy so far, 0 to 1.
    """

    recipe: Recipe
    input_shape: tuple[int, ...]
    classes: int
    epoch: int
    best_validation: float
    tensors: Mapping[str, torch.Tensor]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes `checkpoint` to `path`, in place of what was there only once it is whole."""
    description = {
        "format": CHECKPOINT_FORMAT,
        "version": _VERSION,
        "recipe": asdict(checkpoint.recipe),
        "input_shape": checkpoint.input_shape,
        "classes": checkpoint.classes,
        "epoch": checkpoint.epoch,
        "best_validation": checkpoint.best_validation,
    }
    partial = path.with_suffix(".partial")
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, partial, metadata={CHECKPOINT_FORMAT: json.dumps(description)})
    partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint. Raises `ArtefactError` when the file is missing, foreign, damaged or of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path} is no checkpoint: {error}; `bnn_hw train` writes one") from error
    try:
        description: dict[str, Any] = json.loads(metadata[CHECKPOINT_FORMAT])
        if description["version"] != _VERSION:
            raise ArtefactError(f"{path}: checkpoint version must be {_VERSION}, not {description['version']}")
        fields = description["recipe"]
        augmentation = AffineRange(**fields["augmentation"])
        recipe = Recipe(**{**fields, "augmentation": augmentation})
        checkpoint = Checkpoint(
            recipe,
            tuple(description["input_shape"]),
            description["classes"],
            description["epoch"],
            description["best_validation"],
            tensors,
        )
        _check_types(checkpoint)
        return checkpoint
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is no checkpoint of this version: {error!r}; `bnn_hw train` writes one") from error


def _check_types(checkpoint: Checkpoint) -> None:
    """Raises `ValueError` naming a field that is not of its type, or not in its range."""
    recipe = checkpoint.recipe
    counts = {
        **{f"input_shape[{index}]": extent for index, extent in enumerate(checkpoint.input_shape)},
        **{name: getattr(recipe, name) for name in ("epochs", "batch")},
        **{name: getattr(checkpoint, name) for name in ("classes", "epoch")},
    }
    amounts = {name: getattr(recipe.augmentation, name) for name in ("rotation_degrees", "scale", "shear", "shift_pixels")}
    numbers = {**amounts, "learning_rate": recipe.learning_rate, "best_validation": checkpoint.best_validation}
    rules = {
        **{name: type(value) is int and 0 < value <= 1 << 20 for name, value in counts.items()},
        **{name: type(value) in (int, float) for name, value in numbers.items()},
        **{name: isinstance(getattr(recipe, name), str) for name in ("name", "dataset", "topology")},
        **{
            name: type(getattr(recipe, name)) is int and getattr(recipe, name) >= 0
            for name in ("pixel_threshold", "padding", "seed", "validation")
        },
        "input_dtype": recipe.input_dtype in ("bit", "uint8", "int8"),
        "bfloat16": type(recipe.bfloat16) is bool,
        **{name: type(getattr(recipe.augmentation, name)) is bool for name in ("whole_pixels", "mirror")},
    }
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name} is not of its type, or out of range")


def recipe_network(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> BinaryNetwork:
    """Returns the untrained network of a recipe for images of that shape and so many classes."""
    product_dtype = torch.bfloat16 if recipe.bfloat16 else torch.float32
    return build_network(recipe.topology, input_shape, classes, padding=recipe.padding, product_dtype=product_dtype)


def load_network(checkpoint: Checkpoint) -> BinaryNetwork:
    """Returns the trained network in eval mode. Raises `ArtefactError` when the tensors are not those of its recipe."""
    with torch.device("meta"):  # nothing is allocated before the tensors have proved to be of the recipe's shapes
        network = recipe_network(checkpoint.recipe, checkpoint.input_shape, checkpoint.classes)
    prefix = "model."
    state = {name[len(prefix) :]: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ArtefactError(f"checkpoint does not hold the tensors of recipe {checkpoint.recipe.name!r}: {error}") from error
    return network.float().eval()
