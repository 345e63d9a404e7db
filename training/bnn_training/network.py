# SPDX-License-Identifier: Apache-2.0
"""Binarized networks as PyTorch modules."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from bnn_training.binarize import sign
from bnn_training.layers import BinaryLayer, BinaryLinear

__all__ = ["BinaryBlock", "BinaryNetwork"]


class BinaryBlock(nn.Module):
    """A binarized product and what follows it up to the sign: ``normalize(pool(sign(W) x) + b)``.

    [batch, inputs] to [batch, outputs] float32, or images [batch, channels, rows, columns] to images. With `pool` other
    than 1 the greatest of each pool x pool sums goes on, before batch norm, as in the networks of Hubara et al. 2016;
    rows and columns that fill no window are left out. `activation` is the part after the pooled product, the function
    that folding turns into an integer threshold.
    """

    def __init__(self, product: BinaryLayer, normalize: nn.BatchNorm1d | nn.BatchNorm2d, pool: int = 1) -> None:
        super().__init__()
        self.product = product
        self.normalize = normalize
        self.pool = pool

    def pooled_products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``pool(sign(W) x)``: [batch, outputs] or [batch, outputs, rows, columns], of the product's dtype."""
        products = self.product.products(x)
        return functional.max_pool2d(products, self.pool) if self.pool > 1 else products

    def activation(self, sums: torch.Tensor) -> torch.Tensor:
        """Returns the block's output for given pooled products, both [batch, outputs, ...].

        In eval mode each operation is rounded on its own, so that a sum gives the same in a tensor of any shape, which
        the kernels of batch norm do not promise.
        """
        norm = self.normalize
        bias = _along_outputs(self.product.bias, sums)
        if self.training:
            return norm(sums + bias.to(sums.dtype))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, slope, offset = (
            _along_outputs(values, sums)
            for values in (norm.running_mean, norm.weight / torch.sqrt(norm.running_var + norm.eps), norm.bias)
        )
        return (sums + bias - mean) * slope + offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.pooled_products(x))


class BinaryNetwork(nn.Module):
    """A chain of binary blocks, with a sign between them and batch norm after the last one too.

    Inputs are float32 of +1 and -1, or raw integers: [batch, inputs], or images [batch, channels, rows, columns]. Images
    are flattened for the first fully connected block in the order row, column, channel. The result is [batch, classes]
    float32 scores.
    """

    def __init__(self, blocks: Sequence[BinaryBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    @property
    def stages(self) -> list[BinaryBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, BinaryBlock)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        *hidden, last = self.stages
        for block in hidden:
            x = sign(block(_arranged(x, block)))
        return last(_arranged(x, last))


def _along_outputs(values: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Returns a value for each output, [outputs], as it goes with [batch, outputs, ...]."""
    return values.view(-1, *[1] * (sums.dim() - 2))


def _arranged(x: torch.Tensor, block: BinaryBlock) -> torch.Tensor:
    """Returns images as a fully connected block takes them; anything else as it is."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 and isinstance(block.product, BinaryLinear) else x
