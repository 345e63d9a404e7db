# SPDX-License-Identifier: Apache-2.0
"""Binarized layers for PyTorch."""

import math

import torch
from torch import nn
from torch.nn import functional

from bnn_training.binarize import sign

__all__ = ["BinaryLinear"]


class BinaryLinear(nn.Module):
    """A linear layer whose weights are binarized in each forward pass: ``y = sign(W) x + b``.

    `weight`: [outputs, inputs] float32, the real-valued weights that the optimizer updates and `clip` keeps in [-1, 1];
    `bias`: [outputs] float32. Inputs and outputs are [batch, inputs] and [batch, outputs] float32. The bias is added
    after the product, so that in eval mode the product of integer inputs is an exact integer in float32.

    `product_dtype` is the type in which a training step multiplies; eval mode always multiplies in float32.
    """

    def __init__(self, inputs: int, outputs: int, product_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.product_dtype = product_dtype
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # Glorot and Bengio 2010, equation 16, as in the BNN authors' code.
        limit = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -limit, limit)

    @property
    def learning_rate_scale(self) -> float:
        """The factor on the learning rate of `weight`: ``1/sqrt(1.5/(inputs+outputs))`` (Courbariaux et al. 2015, 2.5)."""
        outputs, inputs = self.weight.shape
        return 1 / math.sqrt(1.5 / (inputs + outputs))

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``sign(W) x``, without the bias: [batch, outputs] float32."""
        dtype = self.product_dtype if self.training else torch.float32
        return functional.linear(x.to(dtype), sign(self.weight).to(dtype)).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.products(x) + self.bias

    @torch.no_grad()
    def clip(self) -> None:
        """Clips the real-valued weights to [-1, 1] (Courbariaux et al. 2015, 2.4); called after each optimizer step."""
        self.weight.clamp_(-1, 1)
