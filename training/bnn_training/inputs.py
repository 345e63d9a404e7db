# SPDX-License-Identifier: Apache-2.0
"""Inputs of the integer network as tensors for the trained one."""

import numpy as np
import torch

from bnn_hw.network.network import Input

__all__ = ["pixel_inputs", "to_tensor"]


def pixel_inputs(pixels: torch.Tensor, input_: Input) -> torch.Tensor:
    """Returns pixels as a network takes them, same shape, float32; for whole pixels as `bnn_hw.network.golden.prepare` does.

    `pixels`: float32 from 0 to 255, after augmentation with fractions. As bits they are +1 from the input's
    `pixel_threshold` on and else -1; as ``int8`` they are the pixel less 128.
    """
    match input_.dtype:
        case "bit":
            assert input_.pixel_threshold is not None
            return torch.where(pixels >= input_.pixel_threshold, 1.0, -1.0)
        case "uint8":
            return pixels
        case "int8":
            return pixels - 128


def to_tensor(inputs: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Returns inputs as a network takes them: [images, features] or [images, channels, rows, columns] float32.

    `inputs`: [images, inputs] bool, uint8 or int8, as `bnn_hw.network.golden.prepare` gives them; `shape`: of an image,
    (features,) or (rows, columns, channels).
    """
    values = np.where(inputs, np.float32(1), np.float32(-1)) if inputs.dtype == np.bool_ else inputs.astype(np.float32)
    images = torch.from_numpy(values.reshape(len(inputs), *shape))
    return images.permute(0, 3, 1, 2) if len(shape) == 3 else images
