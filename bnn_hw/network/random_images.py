# SPDX-License-Identifier: Apache-2.0
"""Random images of a network's input, the same ones from the same seed."""

from typing import Final

import numpy as np

from bnn_hw.network.layers import INPUT_RANGES, Input

__all__ = ["random_images"]

_BLOCK: Final = 1 << 10  # images drawn at a time, since a board has little memory for integers of 64 bits


def random_images(input_: Input, count: int, seed: int = 0, *, pixels: bool = False) -> np.ndarray:
    """Returns random images, [count, elements] of the input's dtype, or, with `pixels`, uint8 where the input takes pixels."""
    kind = "uint8" if pixels and (input_.pixel_threshold is not None or input_.dtype == "int8") else input_.dtype
    low, high = INPUT_RANGES[kind]
    images = np.empty((count, input_.signal.size), bool if kind == "bit" else kind)
    rng = np.random.default_rng(seed)
    for at in range(0, count, _BLOCK):
        block = images[at : at + _BLOCK]
        block[:] = rng.integers(low, high + 1, block.shape)
    return images
