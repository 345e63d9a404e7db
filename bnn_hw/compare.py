# SPDX-License-Identifier: Apache-2.0
"""An executor's results against the golden model's, bit for bit."""

from collections.abc import Sequence

import numpy as np

from bnn_hw.errors import MismatchError
from bnn_hw.golden import Trace
from bnn_hw.network import Network

__all__ = ["check_against_golden"]


def check_against_golden(
    network: Network, expected: Trace, activations: Sequence[np.ndarray], scores: np.ndarray, classes: np.ndarray
) -> None:
    """Raises `MismatchError` at the first difference, in the order of the layers.

    `activations`: for each layer before the scores [images, outputs] bool; `scores`: [images, classes]; `classes`:
    [images].
    """
    for layer, golden, found in zip(network.layers, (*expected.activations, expected.scores), (*activations, scores), strict=True):
        _check(f"layer {layer.name}", "neuron", golden, found)
    _check("result", "class", expected.scores.argmax(axis=1)[:, None], classes[:, None])


def _check(what: str, unit: str, expected: np.ndarray, found: np.ndarray) -> None:
    if expected.shape != found.shape:
        raise MismatchError(f"{what}: expected {expected.shape[0]} images of {expected.shape[1:]}, got {found.shape}")
    wrong = np.argwhere(expected != found)
    if len(wrong):
        image, neuron = wrong[0]
        values = f"expected {int(expected[image, neuron])}, got {int(found[image, neuron])}"
        raise MismatchError(f"{what}, image {image}, {unit} {neuron}: {values} ({len(wrong):,} of {expected.size:,} differ)")
