# SPDX-License-Identifier: Apache-2.0
"""Binarized layers for PyTorch."""

import math
from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from bnn_training.binarize import binary_weights

__all__ = ["BinaryConv2d", "BinaryLayer", "BinaryLinear"]


class _BinaryWeights(nn.Module):
    """The weights of a layer that are binarized in each forward pass: ``y = sign(W) x + b``.

    `weight`: [outputs, inputs, ...] float32, the real-valued weights that the optimizer updates and `clip` keeps in
    [-1, 1]; `bias`: [outputs] float32. The bias is added after the product, so that in eval mode the product of integer
    inputs is an exact integer in float32.

    `product_dtype` is the type in which a training step multiplies; eval mode always multiplies in float32. With
    `stochastic` the weights of a training step are binarized by chance (BinaryConnect, Courbariaux et al. 2015, 2.3).
    `test_weights` are those of eval mode: ``binary``, or ``real`` for W itself, as BinaryConnect tests its stochastic form.
    """

    def __init__(self, shape: tuple[int, ...], product_dtype: torch.dtype, stochastic: bool) -> None:
        super().__init__()
        self.product_dtype, self.stochastic = product_dtype, stochastic
        self.test_weights: Literal["binary", "real"] = "binary"
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        # Glorot and Bengio 2010, equation 16, as in the BNN authors' code.
        limit = math.sqrt(6 / self._fans)
        nn.init.uniform_(self.weight, -limit, limit)

    @property
    def _fans(self) -> int:
        """The number of products that go into an output, and of those that an input goes into, together."""
        return self.weight[0].numel() + self.weight[:, 0].numel()

    @property
    def learning_rate_scale(self) -> float:
        """The factor on the learning rate of `weight`: ``1/sqrt(1.5/(fan_in+fan_out))`` (Courbariaux et al. 2015, 2.5)."""
        return 1 / math.sqrt(1.5 / self._fans)

    def operands(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns `x` and the weights in the type to multiply in."""
        if self.training:
            weight = binary_weights(self.weight, self.product_dtype, stochastic=self.stochastic)
            return x.to(self.product_dtype), weight
        return x.float(), self.weight if self.test_weights == "real" else binary_weights(self.weight)

    @torch.no_grad()
    def clip(self) -> None:
        """Clips the real-valued weights to [-1, 1] (Courbariaux et al. 2015, 2.4); called after each optimizer step."""
        self.weight.clamp_(-1, 1)


class BinaryLinear(_BinaryWeights):
    """A fully connected binary layer: [batch, inputs] to [batch, outputs] float32; `weight` is [outputs, inputs]."""

    def __init__(self, inputs: int, outputs: int, product_dtype: torch.dtype = torch.float32, *, stochastic: bool = False) -> None:
        super().__init__((outputs, inputs), product_dtype, stochastic)

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``sign(W) x``, without the bias: [batch, outputs] float32."""
        return functional.linear(*self.operands(x)).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.products(x) + self.bias


class BinaryConv2d(_BinaryWeights):
    """A binary convolution: [batch, channels, rows, columns] to [batch, outputs, rows', columns'] float32.

    `weight` is [outputs, channels, kernel, kernel]; `padding` rows and columns of `padding_value` (-1, 0 or 1) go around
    the input on each side; `stride` rows and columns lie from one place of the kernel to the next.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        padding_value: int = 0,
        product_dtype: torch.dtype = torch.float32,
        stochastic: bool = False,
    ) -> None:
        super().__init__((outputs, channels, kernel, kernel), product_dtype, stochastic)
        self.stride, self.padding, self.padding_value = stride, padding, padding_value

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``sign(W) * x``, without the bias: [batch, outputs, rows', columns'].

        In a training step it stays in `product_dtype`, so that pooling and batch norm move half the bytes.
        """
        x, weight = self.operands(x)
        padding = self.padding
        if padding and self.padding_value:  # a convolution's own padding is 0
            x, padding = functional.pad(x, (padding,) * 4, value=self.padding_value), 0
        return functional.conv2d(x, weight.contiguous(memory_format=torch.channels_last), stride=self.stride, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.products(x).float() + self.bias[:, None, None]


BinaryLayer: TypeAlias = BinaryLinear | BinaryConv2d
