# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors with a JSON description; nothing is ever unpickled."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bnn_hw.artefacts.files import whole_file
from bnn_hw.artefacts.formats import CHECKPOINT_FORMAT
from bnn_hw.artefacts.strict_json import read_envelope
from bnn_hw.datasets import DataIdentity
from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import MAX_PADDING
from bnn_hw.network.network import check_network_name
from bnn_training.augment import AffineRange
from bnn_training.model import BinaryNetwork
from bnn_training.recipes import Recipe, recipe_network

__all__ = ["Checkpoint", "load_checkpoint", "load_network", "save_checkpoint"]

_VERSION: Final = 4
_MAX_COUNT: Final = 1 << 20
_CHOICES: Final = {name: get_args(type_) for name, type_ in get_type_hints(Recipe).items() if get_origin(type_) is Literal}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after `epoch` epochs.

    `name` is that of the network. `tensors` holds ``model.<parameter>`` and, where the training is to be resumed,
    ``optimizer.<index>.<state>``; `best_validation` is the best validation accuracy so far, 0 to 1.
    """

    name: str
    recipe: Recipe
    input_shape: tuple[int, ...]
    data: DataIdentity
    epoch: int
    best_validation: float
    tensors: Mapping[str, torch.Tensor]


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Writes `checkpoint` to `path`, replacing an existing file only once the new one is complete."""
    path = Path(path)
    description = {
        "format": CHECKPOINT_FORMAT,
        "version": _VERSION,
        "name": checkpoint.name,
        "recipe": asdict(checkpoint.recipe),
        "input_shape": checkpoint.input_shape,
        "data": checkpoint.data.as_json(),
        "epoch": checkpoint.epoch,
        "best_validation": checkpoint.best_validation,
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={CHECKPOINT_FORMAT: json.dumps(description)})


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint. Raises `ArtefactError` when the file is missing, foreign, damaged or of another version."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path} is no checkpoint: {error}; `bnn_hw train` writes one") from error
    try:
        envelope = read_envelope(metadata[CHECKPOINT_FORMAT])
        version = envelope.version
        if version == _VERSION:
            return _read(envelope.fields, tensors)
        if version is None:
            raise KeyError("version")
    except (ArtefactError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path} is no checkpoint of this version: {error!r}; `bnn_hw train` writes one") from error
    raise ArtefactError(
        f"{path}: checkpoint version must be {_VERSION}, not {version!r}; train again, or export it with the bnn_hw that wrote it"
    )


def _read(description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Checkpoint:
    """Returns the checkpoint of a description. Raises one of the errors that `load_checkpoint` catches where it is wrong."""
    fields = description["recipe"]
    recipe = Recipe(**{**fields, "augmentation": AffineRange(**fields["augmentation"])})
    checkpoint = Checkpoint(
        description["name"],
        recipe,
        tuple(description["input_shape"]),
        DataIdentity.from_json(description["data"]),
        description["epoch"],
        description["best_validation"],
        tensors,
    )
    _check_fields(checkpoint)
    return checkpoint


def _check_fields(checkpoint: Checkpoint) -> None:
    """Raises `ValueError`, or `ArtefactError` for the name, naming a field that has the wrong type or is out of range."""
    check_network_name(checkpoint.name)
    recipe, augmentation = checkpoint.recipe, checkpoint.recipe.augmentation

    def check(
        owner: Checkpoint | DataIdentity | Recipe | AffineRange, names: tuple[str, ...], holds: Callable[[Any], object]
    ) -> None:
        for name in names:
            if not holds(getattr(owner, name)):
                raise ValueError(f"{name} is not of its type, or out of range: {getattr(owner, name)!r}")

    check(checkpoint, ("input_shape",), lambda shape: len(shape) in (1, 3) and all(map(_is_count, shape)))
    check(recipe, ("epochs", "batch"), _is_count)
    check(checkpoint, ("epoch",), lambda epoch: _is_count(epoch) and epoch <= recipe.epochs)
    check(recipe, ("validation", "seed", "halve_every"), lambda value: type(value) is int and value >= 0)
    check(recipe, ("padding",), lambda value: type(value) is int and 0 <= value <= MAX_PADDING)
    check(recipe, ("pixel_threshold",), lambda value: type(value) is int and 0 <= value <= 256)
    check(recipe, ("name", "dataset", "topology"), lambda value: isinstance(value, str))
    flags = ("bfloat16", "stochastic_weights", "shift_batch_norm", "balanced_validation")
    check(recipe, flags, lambda value: type(value) is bool)
    for name, values in _CHOICES.items():
        check(recipe, (name,), values.__contains__)
    check(augmentation, ("whole_pixels", "mirror"), lambda value: type(value) is bool)
    check(augmentation, ("border",), lambda value: value in ("reflection", "zeros"))
    check(augmentation, ("rotation_degrees", "scale", "shear", "shift_pixels"), lambda value: type(value) in (int, float))
    numbers = ("learning_rate", "last_learning_rate", "batch_norm_epsilon", "batch_norm_momentum")
    check(recipe, numbers, lambda value: type(value) in (int, float) and 0 <= value < math.inf)
    if recipe.schedule == "halving":
        check(recipe, ("halve_every",), _is_count)
    check(recipe, ("input_dropout", "hidden_dropout"), lambda value: type(value) in (int, float) and 0 <= value < 1)
    check(checkpoint.data, ("class_names",), len)
    check(checkpoint, ("best_validation",), lambda value: type(value) in (int, float))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value <= _MAX_COUNT


def load_network(checkpoint: Checkpoint) -> BinaryNetwork:
    """Returns the trained network in eval mode. Raises `ArtefactError` when the tensors are not those of its recipe."""
    with torch.device("meta"):  # nothing is allocated before the tensors have proved to be of the recipe's shapes
        network = recipe_network(checkpoint.recipe, checkpoint.input_shape, len(checkpoint.data.class_names))
    prefix = "model."
    state = {name[len(prefix) :]: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ArtefactError(f"checkpoint does not hold the tensors of recipe {checkpoint.recipe.name!r}: {error}") from error
    return network.float().eval()
