# SPDX-License-Identifier: Apache-2.0
"""An executor's results against the golden model's, bit for bit."""

from collections.abc import Sequence

import numpy as np

from bnn_hw.errors import MismatchError
from bnn_hw.network.golden import Trace
from bnn_hw.network.network import Network

__all__ = ["check_against_golden"]


def check_against_golden(
    network: Network, expected: Trace, activations: Sequence[np.ndarray], scores: np.ndarray, classes: np.ndarray
) -> None:
    """Raises `MismatchError` at the first difference, in the order of the layers.

    `activations`: for each layer before the scores [images, outputs] bool or uint8; `scores`: [images, classes];
    `classes`: [images].
    """
    for step, golden, found in zip(network.steps, (*expected.activations, expected.scores), (*activations, scores), strict=True):
        _check(f"layer {step.layer.name}", step.output.shape, golden, found)
    _check("class", (), expected.scores.argmax(axis=1)[:, None], classes[:, None])


def _check(what: str, shape: tuple[int, ...], expected: np.ndarray, found: np.ndarray) -> None:
    if expected.shape != found.shape:
        raise MismatchError(f"{what}: expected {expected.shape[0]} images of {expected.shape[1:]}, got {found.shape}")
    wrong = np.argwhere(expected != found)
    if len(wrong):
        image, element = wrong[0]
        place = np.unravel_index(element, shape)
        axes = ("neuron",) if len(shape) == 1 else ("row", "column", "channel")
        where = ", ".join((f"image {image}", *(f"{axis} {index}" for axis, index in zip(axes, place, strict=False))))
        values = f"expected {int(expected[image, element])}, got {int(found[image, element])}"
        raise MismatchError(f"{what}, {where}: {values} ({len(wrong):,} of {expected.size:,} differ)")
