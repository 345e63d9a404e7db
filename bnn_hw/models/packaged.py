# SPDX-License-Identifier: Apache-2.0
"""The networks and test images that the package brings, and a model by name or path."""

import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.artefacts.formats import CHECKPOINT_FORMAT, has_format
from bnn_hw.datasets import Split
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import ArtefactError
from bnn_hw.network.file import load_network, network_digest
from bnn_hw.network.network import Network
from bnn_hw.tools import require

__all__ = [
    "is_packaged",
    "load",
    "packaged_models",
    "packaged_network",
    "packaged_test_images",
]

_MODELS: Final = files("bnn_hw.models")
_SUFFIX: Final = ".safetensors"
_NETWORK_FILE: Final = "network.safetensors"  # in the folder of a build or a training
_TEST_IMAGES: Final = {  # by the SHA-256 of the whole data set, `Dataset.sha256`
    "d383f9043a2bcf8169f03b91f7c66f2bbedd181ee38e85bbb234ab53420ddc92": "mnist-test-images.npz",
    "f3e86f1701ef5cefe918862f48846cef901c824db1d7e15532a4b60b007ae4ab": "cifar10-test-images.npz",
}


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


def is_packaged(network: Network) -> bool:
    """Returns whether this is the packaged network of its name, and not another one that is called so."""
    return network.name in packaged_models() and network_digest(network) == network_digest(packaged_network(network.name))


def load(model: str | os.PathLike[str]) -> Network:
    """Returns the network that `model` names: a packaged one, a network file, or a checkpoint, which is folded.

    A folder stands for the network file in it, as builds and trainings have one. Raises `ArtefactError` where there is no such
    network, and `ToolError` for a checkpoint where torch is not installed.
    """
    path, model = Path(model), os.fspath(model)
    if model in packaged_models() or not path.exists():
        return packaged_network(model)
    if path.is_dir():
        if not (path / _NETWORK_FILE).is_file():
            raise ArtefactError(f"{path} must be a folder with a {_NETWORK_FILE}, as that of a build or training, or no folder")
        path /= _NETWORK_FILE
    return _folded(path) if has_format(path, CHECKPOINT_FORMAT) else load_network(path)


def packaged_test_images(network: Network) -> Split | None:
    """Returns the packaged test images of the data set that a network was trained on, or None where the package has none of it."""
    data = trained_on(network)
    if data is None or data.sha256 not in _TEST_IMAGES:
        return None
    with as_file(_MODELS.joinpath(_TEST_IMAGES[data.sha256])) as path, np.load(path, allow_pickle=False) as file:
        return Split(file["images"], file["labels"])


def _folded(path: Path) -> Network:
    require("torch")
    from bnn_training.folding import export_checkpoint

    return export_checkpoint(path)[0]
