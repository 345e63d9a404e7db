# SPDX-License-Identifier: Apache-2.0
"""Topologies in the papers' notation: ``64C3-64C3-MP2-512`` is two convolutions, a max pooling and a dense layer."""

import math
import re
from dataclasses import dataclass
from typing import Final

import torch

from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import MAX_WEIGHT_BITS
from bnn_training.binary_layers import BinaryConv2d, BinaryLayer, BinaryLinear
from bnn_training.model import Activation, BinaryBlock, BinaryNetwork
from bnn_training.normalization import BatchNorm, ShiftBatchNorm

__all__ = ["Style", "build_network", "scaled_topology"]

_LAYER: Final = re.compile(r"(?P<outputs>[1-9]\d{0,5})(?:C(?P<kernel>[1-9]\d?))?|MP(?P<pool>[2-9])", re.ASCII)


@dataclass(frozen=True)
class Style:
    """The settings that all layers of a network share."""

    padding: int = 0  # rows and columns of true zeros around the input of every convolution
    product_dtype: torch.dtype = torch.float32  # of a training step
    stochastic_weights: bool = False
    activation: Activation = "sign"
    shift_batch_norm: bool = False  # but after the last layer
    epsilon: float = 1e-4  # of batch norm, as in the BNN authors' Theano code
    momentum: float = 0.1  # the weight of a new batch in the running mean and variance
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0


def build_network(topology: str, input_shape: tuple[int, ...], classes: int, style: Style | None = None) -> BinaryNetwork:
    """Returns the untrained network of a topology, with the scores as its last layer.

    `topology`: hidden layers joined by hyphens, ``<outputs>C<kernel>`` for a convolution, ``MP<size>`` for max pooling
    before the batch norm of the convolution in front of it, ``<outputs>`` for a fully connected layer; empty for none.
    `input_shape`: (features,) or (rows, columns, channels). Raises `ArtefactError` naming the layer that cannot be read
    or does not fit, and what would fit.
    """
    chain = _Chain(style or Style(), input_shape)
    for text in topology.split("-") if topology else ():
        layer = _LAYER.fullmatch(text)
        if layer is None:
            raise ArtefactError(f"layer {text!r} of {topology!r} must be like 64C3 (convolution), MP2 (pooling) or 512 (dense)")
        where = f"layer {text} of {topology!r} on {_text(chain.shape)}"
        if layer["pool"]:
            chain.add_pool(int(layer["pool"]), where)
        elif layer["kernel"]:
            chain.add_conv(int(layer["outputs"]), int(layer["kernel"]), where)
        else:
            chain.add_dense(int(layer["outputs"]), where)
    chain.add_dense(classes, f"the scores of {topology!r} on {_text(chain.shape)}", last=True)
    return BinaryNetwork(chain.blocks, chain.style.activation, chain.style.input_dropout, chain.style.hidden_dropout)


def scaled_topology(topology: str, factor: float) -> str:
    """Returns a topology with the outputs of each layer times `factor`, rounded, at least 1."""
    return re.sub(r"(?<![A-Z\d])\d+", lambda outputs: str(max(1, round(int(outputs[0]) * factor))), topology, flags=re.ASCII)


class _Chain:
    """Blocks of one style, and the output shape of the last one."""

    def __init__(self, style: Style, shape: tuple[int, ...]) -> None:
        self.style, self.shape = style, shape
        self.blocks: list[BinaryBlock] = []

    def add_conv(self, outputs: int, kernel: int, where: str) -> None:
        padding = self.style.padding
        if len(self.shape) != 3:
            raise ArtefactError(f"{where}: a convolution takes rows, columns and channels; put it before the dense layers")
        rows, columns = (extent + 2 * padding - kernel + 1 for extent in self.shape[:2])
        if min(rows, columns) < 1:
            raise ArtefactError(f"{where}: the kernel is larger than the image with {padding} of padding")
        _check_weights(outputs * self.shape[2] * kernel**2, where)
        how = {"product_dtype": self.style.product_dtype, "stochastic": self.style.stochastic_weights}
        self._add(BinaryConv2d(self.shape[2], outputs, kernel, padding=padding, **how), outputs)  # type: ignore[arg-type]
        self.shape = (rows, columns, outputs)

    def add_pool(self, size: int, where: str) -> None:
        """Adds a pooling to the last block."""
        if not self.blocks or not isinstance(self.blocks[-1].product, BinaryConv2d) or self.blocks[-1].pool > 1:
            raise ArtefactError(f"{where}: a pooling goes behind a convolution")
        if min(self.shape[:2]) < size:
            raise ArtefactError(f"{where}: the window is larger than the image")
        self.blocks[-1].pool = size
        self.shape = (self.shape[0] // size, self.shape[1] // size, self.shape[2])

    def add_dense(self, outputs: int, where: str, *, last: bool = False) -> None:
        inputs = math.prod(self.shape)
        _check_weights(outputs * inputs, where)
        product = BinaryLinear(inputs, outputs, self.style.product_dtype, stochastic=self.style.stochastic_weights)
        self._add(product, outputs, last=last)
        self.shape = (outputs,)

    def _add(self, product: BinaryLayer, outputs: int, *, last: bool = False) -> None:
        kind = ShiftBatchNorm if self.style.shift_batch_norm and not last else BatchNorm
        self.blocks.append(BinaryBlock(product, kind(outputs, self.style.epsilon, self.style.momentum)))


def _check_weights(count: int, where: str) -> None:
    if count > MAX_WEIGHT_BITS:
        raise ArtefactError(f"{where}: a layer may have at most {MAX_WEIGHT_BITS:,} weights, not {count:,}")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
