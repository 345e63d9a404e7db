# SPDX-License-Identifier: Apache-2.0
"""Binarized layers for PyTorch."""

import math
from abc import abstractmethod

import torch
from torch import nn
from torch.nn import functional

from bnn_training.binarize import sign

__all__ = ["BinaryConv2d", "BinaryLayer", "BinaryLinear"]


class BinaryLayer(nn.Module):
    """A layer whose weights are binarized in each forward pass: ``y = sign(W) x + b``.

    `weight`: [outputs, ...] float32, the real-valued weights that the optimizer updates and `clip` keeps in [-1, 1];
    `bias`: [outputs] float32. The bias is added after the product, so that in eval mode the product of integer inputs
    is an exact integer in float32. `fan_in` and `fan_out` are the products that go into an output and out of an input.

    `product_dtype` is the type in which a training step multiplies; eval mode always multiplies in float32.
    """

    def __init__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, product_dtype: torch.dtype) -> None:
        super().__init__()
        self.fan_in, self.fan_out = fan_in, fan_out
        self.product_dtype = product_dtype
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        # Glorot and Bengio 2010, equation 16, as in the BNN authors' code.
        limit = math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(self.weight, -limit, limit)

    @property
    def learning_rate_scale(self) -> float:
        """The factor on the learning rate of `weight`: ``1/sqrt(1.5/(fan_in+fan_out))`` (Courbariaux et al. 2015, 2.5)."""
        return 1 / math.sqrt(1.5 / (self.fan_in + self.fan_out))

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``sign(W) x``, without the bias: float32, but in a training step a convolution's in `product_dtype`."""
        dtype = self.product_dtype if self.training else torch.float32
        return self._product(x.to(dtype), sign(self.weight).to(dtype))

    @abstractmethod
    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Returns the product of `x` with the binarized `weight`, both of the type to multiply in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        products = self.products(x).float()
        return products + self.bias.view(-1, *[1] * (products.dim() - 2))

    @torch.no_grad()
    def clip(self) -> None:
        """Clips the real-valued weights to [-1, 1] (Courbariaux et al. 2015, 2.4); called after each optimizer step."""
        self.weight.clamp_(-1, 1)


class BinaryLinear(BinaryLayer):
    """A fully connected binary layer: [batch, inputs] to [batch, outputs]; `weight` is [outputs, inputs]."""

    def __init__(self, inputs: int, outputs: int, product_dtype: torch.dtype = torch.float32) -> None:
        super().__init__((outputs, inputs), inputs, outputs, product_dtype)

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weight).float()


class BinaryConv2d(BinaryLayer):
    """A binary convolution: [batch, channels, rows, columns] to [batch, outputs, rows', columns'].

    `weight` is [outputs, channels, kernel, kernel]; `padding` rows and columns of `padding_value` go around the input.
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
    ) -> None:
        area = kernel * kernel
        super().__init__((outputs, channels, kernel, kernel), channels * area, outputs * area, product_dtype)
        self.stride, self.padding, self.padding_value = stride, padding, padding_value

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        padding = self.padding
        if padding and self.padding_value:  # a convolution's own padding is 0
            x, padding = functional.pad(x, (padding,) * 4, value=self.padding_value), 0
        return functional.conv2d(x, weight.contiguous(memory_format=torch.channels_last), stride=self.stride, padding=padding)
