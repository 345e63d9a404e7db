# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: inputs, and what every layer must give for them."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.network import Input, Network, Signal
from bnn_hw.network.packing import pack_bits, unpack_bits

__all__ = ["Vectors", "load_scores", "load_vectors", "make_vectors", "save_vectors"]


@dataclass(frozen=True, eq=False)
class Vectors:
    """`inputs`: [images, inputs] bool, uint8 or int8; `expected`: the golden trace; `labels`: [images] uint8 or None."""

    inputs: np.ndarray
    expected: golden.Trace
    labels: np.ndarray | None


def make_vectors(network: Network, images: np.ndarray, labels: np.ndarray | None) -> Vectors:
    """Returns the vectors of `images`, which are as `bnn_hw.network.golden.prepare` takes them."""
    inputs = golden.prepare(network, images)
    return Vectors(inputs, golden.trace(network, inputs), labels)


def save_vectors(vectors: Vectors, network: Network, path: str | os.PathLike[str]) -> None:
    """Writes a compressed .npz: `inputs`, ``layer.<name>`` for each layer, and `labels` where there are any.

    Bits are packed along the last axis, bit 0 first; integers are as they are.
    """
    path = Path(path)
    arrays = {"inputs": _packed(vectors.inputs)}
    for layer, activations in zip(network.layers, vectors.expected.activations, strict=False):
        arrays[f"layer.{layer.name}"] = _packed(activations)
    arrays[f"layer.{network.layers[-1].name}"] = vectors.expected.scores
    if vectors.labels is not None:
        arrays["labels"] = vectors.labels
    np.savez_compressed(path, **arrays)


def load_vectors(network: Network, path: str | os.PathLike[str]) -> Vectors:
    """Reads what `save_vectors` wrote. Raises `ArtefactError` when the file is not one of `network`'s."""
    path = Path(path)
    *hidden, last = network.steps
    try:
        with np.load(path, allow_pickle=False) as file:
            inputs = _unpacked(file["inputs"], network.input.signal)
            activations = tuple(_unpacked(file[f"layer.{step.layer.name}"], step.output) for step in hidden)
            return Vectors(inputs, golden.Trace(activations, file[f"layer.{last.layer.name}"]), file.get("labels"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactError(f"{path} does not hold the vectors of {network.name}: {error}") from error


def load_scores(input_: Input, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Reads the inputs and the scores that `save_vectors` wrote: [images, inputs] and [images, classes] int32.

    For who has no `Network`. Raises `ArtefactError` when the file is not one of vectors of such inputs.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            *_, last = (name for name in file.files if name.startswith("layer."))
            return _unpacked(file["inputs"], input_.signal), file[last]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactError(f"{path} does not hold vectors: {error}") from error


def _packed(values: np.ndarray) -> np.ndarray:
    return pack_bits(values) if values.dtype == np.bool_ else values


def _unpacked(values: np.ndarray, signal: Signal) -> np.ndarray:
    return unpack_bits(values, signal.size) if signal.dtype == "bit" else values
