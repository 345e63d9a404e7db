# SPDX-License-Identifier: Apache-2.0
"""Binarized networks as PyTorch modules."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from bnn_training.binarize import sign
from bnn_training.layers import BinaryLinear

__all__ = ["BinaryBlock", "BinaryMlp"]


class BinaryBlock(nn.Module):
    """A binarized product and what follows it up to the sign: ``normalize(sign(W) x + b)``.

    [batch, inputs] to [batch, outputs] float32. `activation` is the part after the product, the function that folding
    turns into an integer threshold.
    """

    def __init__(self, product: BinaryLinear, normalize: nn.BatchNorm1d) -> None:
        super().__init__()
        self.product = product
        self.normalize = normalize

    def activation(self, sums: torch.Tensor) -> torch.Tensor:
        """Returns the block's output for given products ``sign(W) x``, both [batch, outputs] float32."""
        return self.normalize(sums + self.product.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.product.products(x))


class BinaryMlp(nn.Module):
    """A multi-layer perceptron of binary blocks, with a sign between them and batch norm after the last one too.

    `widths`: inputs, hidden widths, classes. Inputs are [batch, widths[0]] float32 of +1 and -1 (or raw integers);
    the result is [batch, classes] float32 scores.
    """

    def __init__(self, widths: Sequence[int], product_dtype: torch.dtype = torch.float32, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            BinaryBlock(BinaryLinear(inputs, outputs, product_dtype), nn.BatchNorm1d(outputs, eps=epsilon, momentum=0.1))
            for inputs, outputs in pairwise(widths)
        )

    @property
    def stages(self) -> list[BinaryBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, BinaryBlock)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.stages
        for block in hidden:
            x = sign(block(x))
        return last(x)
