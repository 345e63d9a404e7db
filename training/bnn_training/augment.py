# SPDX-License-Identifier: Apache-2.0
"""Augmentation: each image under a small random affine map."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

__all__ = ["AffineRange", "random_affine"]


@dataclass(frozen=True)
class AffineRange:
    """How far a random affine map goes: each amount is drawn evenly from minus to plus its value."""

    rotation_degrees: float = 0.0
    scale: float = 0.0  # as a share of the size, rows and columns alone
    shear: float = 0.0  # columns a row
    shift_pixels: float = 0.0
    whole_pixels: bool = False  # shifts are whole numbers, so that a shift alone blurs nothing
    mirror: bool = False  # left and right change places in half of the images


def random_affine(images: torch.Tensor, reach: AffineRange, generator: torch.Generator) -> torch.Tensor:
    """Returns each image under an affine map of its own, bilinear: [batch, channels, rows, columns] float32.

    `images`: [batch, rows, columns, channels] uint8. Beyond its border an image goes on as its reflection.
    """
    batch, rows, columns, _ = images.shape
    pixels = images.permute(0, 3, 1, 2).float()
    if reach == AffineRange():
        return pixels
    rotation, rows_scale, columns_scale, shear, down, right = 2 * torch.rand(6, batch, generator=generator) - 1
    angle = math.radians(reach.rotation_degrees) * rotation
    turn = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], 1).view(-1, 2, 2)
    stretch = torch.zeros(batch, 2, 2)
    stretch[:, 0, 0], stretch[:, 1, 1] = 1 + reach.scale * columns_scale, 1 + reach.scale * rows_scale
    stretch[:, 0, 1] = reach.shear * shear
    if reach.mirror:
        stretch[:, :, 0] *= torch.where(torch.rand(batch, 1, generator=generator) < 0.5, -1.0, 1.0)
    if reach.whole_pixels:
        span = math.floor(reach.shift_pixels) + 0.5  # each whole number from minus to plus the shift equally often
        down, right = torch.round(span * down), torch.round(span * right)
    else:
        down, right = reach.shift_pixels * down, reach.shift_pixels * right
    # affine_grid measures in half image sizes.
    shift = torch.stack([2 * right / columns, 2 * down / rows], 1)
    grid = functional.affine_grid(torch.cat([turn @ stretch, shift[:, :, None]], 2), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
