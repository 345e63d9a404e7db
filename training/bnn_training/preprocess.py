# SPDX-License-Identifier: Apache-2.0
"""The papers' preprocessing of colour images: contrast normalization and ZCA whitening."""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import torch
from torch.nn import functional

__all__ = ["PreprocessingName", "fit_preprocessing", "global_contrast", "local_contrast"]

PreprocessingName: TypeAlias = Literal["pixels", "gcn_zca", "gcn_lcn"]

_CHUNK: Final = 500
_ZCA_REGULARIZATION: Final = 0.1


def fit_preprocessing(name: PreprocessingName, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the preprocessing `name`, with the statistics it needs computed from the training `images`.

    It maps images [images, rows, columns, channels] uint8 to inputs of the same shape, float32:

    - ``gcn_zca``: global contrast normalization, then ZCA whitening (Krizhevsky 2009, appendix A), CIFAR-10's in
      BinaryConnect and in the BNN paper's Torch7 code;
    - ``gcn_lcn``: global, then local contrast normalization, SVHN's in the same code;
    - ``pixels``: the pixels unchanged.
    """
    match name:
        case "pixels":
            return lambda pixels: pixels.float()
        case "gcn_zca":
            mean, whitening = _zca(global_contrast(images))
            return lambda pixels: _by_chunks(pixels, lambda part: _whitened(global_contrast(part), mean, whitening))
        case "gcn_lcn":
            return lambda pixels: _by_chunks(pixels, lambda part: local_contrast(global_contrast(part)))


def global_contrast(images: torch.Tensor, scale: float = 55.0, least: float = 1e-8) -> torch.Tensor:
    """Returns each image less its mean, with a norm of `scale`: [images, rows, columns, channels] float32.

    ``scale * (x - mean(x)) / ||x - mean(x)||``; an image whose norm is below `least` is not divided (Coates et al. 2011, as
    in pylearn2, where CIFAR-10's scale is 55).
    """
    flat = images.float().flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / scale
    return (centred / torch.where(norms < least, torch.ones_like(norms), norms)).view(images.shape)


def local_contrast(images: torch.Tensor, size: int = 9, least: float = 1e-4) -> torch.Tensor:
    """Returns each pixel less the mean around it, over the deviation around it: [images, rows, columns, channels] float32.

    Mean and deviation are Gaussian over `size` x `size` pixels, channel by channel; the deviation divides where it is
    greater than its mean over the image (Jarrett et al. 2009, section 2).
    """
    x = images.permute(0, 3, 1, 2)
    offsets = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    line = torch.exp(-(offsets**2) / (2 * (size / 4) ** 2))
    kernel = (line[:, None] * line).expand(x.shape[1], 1, size, size)

    def around(values: torch.Tensor) -> torch.Tensor:
        total = functional.conv2d(values, kernel, padding=size // 2, groups=len(kernel))
        inside = functional.conv2d(torch.ones_like(values[:1]), kernel, padding=size // 2, groups=len(kernel))
        return total / inside

    centred = x - around(x)
    deviation = around(centred.square()).sqrt()
    divisor = torch.maximum(deviation, deviation.mean((2, 3), keepdim=True)).clamp_min(least)
    return (centred / divisor).permute(0, 2, 3, 1)


def _zca(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the mean [pixels] and the whitening matrix [pixels, pixels] of images, with pixels of all channels."""
    flat = images.flatten(1)
    mean = flat.mean(0)
    covariance = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64, device=flat.device)
    for chunk in flat.split(_CHUNK):
        centred = (chunk - mean).double()
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / len(flat))
    return mean, ((vectors / torch.sqrt(values.clamp_min(0) + _ZCA_REGULARIZATION)) @ vectors.T).float()


def _whitened(images: torch.Tensor, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
    return ((images.flatten(1) - mean) @ whitening).view(images.shape)


def _by_chunks(images: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return torch.cat([function(chunk) for chunk in images.split(_CHUNK)])
