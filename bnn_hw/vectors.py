# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: inputs, and what every layer must give for them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_hw import golden
from bnn_hw.errors import ArtefactError
from bnn_hw.network import Network
from bnn_hw.packing import pack_bits, unpack_bits

__all__ = ["Vectors", "load_vectors", "make_vectors", "save_vectors"]


@dataclass(frozen=True, eq=False)
class Vectors:
    """`inputs`: [images, inputs] bool, uint8 or int8; `expected`: the golden trace; `labels`: [images] uint8 or None."""

    inputs: np.ndarray
    expected: golden.Trace
    labels: np.ndarray | None


def make_vectors(network: Network, images: np.ndarray, labels: np.ndarray | None) -> Vectors:
    """Returns the vectors of `images`, which are as `bnn_hw.golden.prepare` takes them."""
    inputs = golden.prepare(network, images)
    return Vectors(inputs, golden.trace(network, inputs), labels)


def save_vectors(vectors: Vectors, network: Network, path: Path) -> None:
    """Writes a compressed .npz: `inputs`, ``layer.<name>`` for each layer, and `labels` where there are any.

    Bits are packed along the last axis, bit 0 first.
    """
    arrays = {"inputs": vectors.inputs if vectors.inputs.dtype != np.bool_ else pack_bits(vectors.inputs)}
    for layer, bits in zip(network.layers, vectors.expected.activations, strict=False):
        arrays[f"layer.{layer.name}"] = pack_bits(bits)
    arrays[f"layer.{network.layers[-1].name}"] = vectors.expected.scores
    if vectors.labels is not None:
        arrays["labels"] = vectors.labels
    np.savez_compressed(path, **arrays)


def load_vectors(network: Network, path: Path) -> Vectors:
    """Reads what `save_vectors` wrote. Raises `ArtefactError` when the file is not one of `network`'s."""
    *hidden, last = network.steps()
    try:
        with np.load(path, allow_pickle=False) as file:
            inputs = file["inputs"]
            if network.input.dtype == "bit":
                inputs = unpack_bits(inputs, network.input.signal.size)
            activations = tuple(unpack_bits(file[f"layer.{step.layer.name}"], step.output.size) for step in hidden)
            return Vectors(inputs, golden.Trace(activations, file[f"layer.{last.layer.name}"]), file.get("labels"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactError(f"{path} does not hold the vectors of {network.name}: {error}") from error
