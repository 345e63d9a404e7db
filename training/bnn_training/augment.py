# SPDX-License-Identifier: Apache-2.0
"""Augmentation: each image under a small random affine map."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

__all__ = ["AffineRange", "random_affine"]


@dataclass(frozen=True)
class AffineRange:
    """How far a random affine map goes: each amount is drawn evenly from minus to plus its value."""

    rotation_degrees: float = 0.0
    scale: float = 0.0  # as a share of the size, rows and columns alone
    shear: float = 0.0  # columns a row
    shift_pixels: float = 0.0  # rows and columns alone
    whole_pixels: bool = False  # draw shifts from the whole numbers, so that a shift alone blurs nothing
    mirror: bool = False  # let left and right change places in half of the images
    border: Literal["reflection", "zeros"] = "reflection"  # how an image goes on beyond its edges


def random_affine(images: torch.Tensor, reach: AffineRange, generator: torch.Generator) -> torch.Tensor:
    """Returns each image under an affine map of its own, bilinear: [batch, channels, rows, columns] float32.

    `images`: [batch, rows, columns, channels] uint8 or float32; `generator`: of their device.
    The map says where each pixel of the result comes from.
    """
    batch, rows, columns, _ = images.shape
    pixels = images.permute(0, 3, 1, 2).float()
    if reach == AffineRange():
        return pixels
    draws = torch.rand(6, batch, generator=generator, device=pixels.device)
    rotation, rows_scale, columns_scale, shear, down, right = 2 * draws - 1
    angle = math.radians(reach.rotation_degrees) * rotation
    turn = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], 1).view(-1, 2, 2)
    stretch = torch.zeros(batch, 2, 2, device=pixels.device)
    stretch[:, 0, 0], stretch[:, 1, 1] = 1 + reach.scale * columns_scale, 1 + reach.scale * rows_scale
    stretch[:, 0, 1] = reach.shear * shear
    if reach.mirror:
        stretch[:, :, 0] *= torch.where(torch.rand(batch, 1, generator=generator, device=pixels.device) < 0.5, -1.0, 1.0)
    # affine_grid measures in half image sizes.
    shift = torch.stack([2 * _shift(right, reach) / columns, 2 * _shift(down, reach) / rows], 1)
    grid = functional.affine_grid(torch.cat([turn @ stretch, shift[:, :, None]], 2), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode=reach.border, align_corners=False)


def _shift(draws: torch.Tensor, reach: AffineRange) -> torch.Tensor:
    """Returns shifts in pixels for draws from -1 to 1, of their shape."""
    if not reach.whole_pixels:
        return reach.shift_pixels * draws
    span = math.floor(reach.shift_pixels) + 0.5  # each whole number from minus to plus the shift equally often
    return torch.round(span * draws)
