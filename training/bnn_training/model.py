# SPDX-License-Identifier: Apache-2.0
"""Binarized networks as PyTorch modules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from bnn_training.binarize import sign, stochastic_sign
from bnn_training.binary_layers import BinaryLayer, BinaryLinear
from bnn_training.normalization import BatchNorm

__all__ = ["Activation", "BinaryBlock", "BinaryNetwork"]

Activation: TypeAlias = Literal["sign", "stochastic_sign", "relu"]

_ACTIVATIONS: Final[Mapping[Activation, Callable[[torch.Tensor], torch.Tensor]]] = {
    "sign": sign,
    "stochastic_sign": stochastic_sign,
    "relu": functional.relu,
}


class BinaryBlock(nn.Module):
    """A binarized product with its pooling and normalization, up to the activation: ``normalize(pool(sign(W) x) + b)``.

    [batch, inputs] to [batch, outputs] float32, or images [batch, channels, rows, columns] to images. With `pool` other
    than 1 the greatest of each pool x pool sums goes on, before batch norm, as in the networks of Hubara et al. 2016;
    rows and columns that fill no window are left out. `normalized` is the part after the pooled product, the function
    that folding turns into an integer threshold.
    """

    def __init__(self, product: BinaryLayer, normalize: BatchNorm, pool: int = 1) -> None:
        super().__init__()
        self.product = product
        self.normalize = normalize
        self.pool = pool

    def pooled_products(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``pool(sign(W) x)``: [batch, outputs] or [batch, outputs, rows, columns], of the product's dtype."""
        products = self.product.products(x)
        return functional.max_pool2d(products, self.pool) if self.pool > 1 else products

    def normalized(self, sums: torch.Tensor) -> torch.Tensor:
        """Returns the block's output for given pooled products, both [batch, outputs, ...]."""
        bias = self.product.bias.to(sums.dtype)
        return self.normalize(sums + bias.view(-1, *[1] * (sums.dim() - 2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.normalized(self.pooled_products(x))


class BinaryNetwork(nn.Module):
    """A chain of binary blocks, with an activation between them and batch norm after the last one too.

    Inputs are float32 of +1 and -1, or raw integers: [batch, inputs], or images [batch, channels, rows, columns]. Images
    are flattened for the first fully connected block in the order row, column, channel. The result is [batch, classes]
    float32 scores.

    `activation`: ``sign``; ``stochastic_sign``, which is by chance while training and the sign in eval mode; or ``relu``,
    as in BinaryConnect. `input_dropout` and `hidden_dropout`: the probability that an input, or an activation's output,
    is 0 in a training step (Srivastava et al. 2014).
    """

    def __init__(
        self,
        blocks: Sequence[BinaryBlock],
        activation: Activation = "sign",
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.activation, self.input_dropout, self.hidden_dropout = activation, input_dropout, hidden_dropout

    @property
    def stages(self) -> list[BinaryBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, BinaryBlock)]

    def set_test_weights(self, which: Literal["binary", "real"]) -> None:
        """Sets the weights of eval mode: their signs, or the real-valued ones themselves."""
        for block in self.stages:
            block.product.test_weights = which

    def clip(self) -> None:
        """Clips the real-valued weights of all layers; called after each optimizer step."""
        for block in self.stages:
            block.product.clip()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        x = functional.dropout(x, self.input_dropout, self.training)
        *hidden, last = self.stages
        for block in hidden:
            x = functional.dropout(self._activated(block(_arranged(x, block))), self.hidden_dropout, self.training)
        return last(_arranged(x, last))

    def _activated(self, x: torch.Tensor) -> torch.Tensor:
        without_chance = self.activation == "stochastic_sign" and not self.training
        return _ACTIVATIONS["sign" if without_chance else self.activation](x)


def _arranged(x: torch.Tensor, block: BinaryBlock) -> torch.Tensor:
    """Returns images as a fully connected block takes them; anything else unchanged."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 and isinstance(block.product, BinaryLinear) else x
