# SPDX-License-Identifier: Apache-2.0
"""The networks and test images that the package brings, and a model by name or path."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets import DATASETS, Split
from bnn_hw.errors import ArtefactError
from bnn_hw.network import Network
from bnn_hw.network_file import load_network

__all__ = ["CHECKPOINT_FORMAT", "find_model", "packaged_models", "packaged_network", "packaged_test_images"]

CHECKPOINT_FORMAT: Final = "bnn_hw.checkpoint"  # the metadata key of checkpoints, as training writes them
_MODELS: Final = files("bnn_hw.models")
_SUFFIX: Final = ".safetensors"


def packaged_models() -> list[str]:
    """Returns the names of the packaged networks, the smallest file first."""
    entries = [entry for entry in _MODELS.iterdir() if entry.name.endswith(_SUFFIX)]
    return [entry.name.removesuffix(_SUFFIX) for entry in sorted(entries, key=lambda entry: (len(entry.read_bytes()), entry.name))]


def packaged_network(name: str) -> Network:
    """Returns the packaged network of that name. Raises `ArtefactError` with the known ones."""
    if name not in packaged_models():
        raise ArtefactError(f"model must be a network file, a checkpoint or one of {', '.join(packaged_models())}, not {name!r}")
    with as_file(_MODELS.joinpath(name + _SUFFIX)) as path:
        return load_network(path)


def find_model(model: str, fold: Callable[[Path], Network]) -> Network:
    """Returns the network that `model` names: a packaged one, a network file, or a checkpoint, which `fold` reads."""
    path = Path(model)
    if model in packaged_models() or not path.exists():
        return packaged_network(model)
    return fold(path) if _is_checkpoint(path) else load_network(path)


def packaged_test_images(dataset: object) -> Split | None:
    """Returns the packaged test images of the data set of that name, or None where the package has none of it."""
    entry = _MODELS.joinpath(f"{dataset}-test-images.npz")
    if dataset not in DATASETS or not entry.is_file():
        return None
    with as_file(entry) as path, np.load(path, allow_pickle=False) as file:
        return Split(file["images"], file["labels"])


def _is_checkpoint(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open  # late, as in network_file

    try:
        with safe_open(path, framework="np") as file:
            return CHECKPOINT_FORMAT in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # load_network says what is wrong with it
