# SPDX-License-Identifier: Apache-2.0
"""Topologies in the papers' notation: ``64C3-64C3-MP2-512`` is two convolutions, a max pooling and a dense layer."""

import math
import re
from typing import Final

import torch
from torch import nn

from bnn_hw.errors import ArtefactError
from bnn_hw.network import MAX_WEIGHT_BITS
from bnn_training.layers import BinaryConv2d, BinaryLinear
from bnn_training.network import BinaryBlock, BinaryNetwork

__all__ = ["build_network"]

_LAYER: Final = re.compile(r"(?P<outputs>[1-9]\d{0,5})(?:C(?P<kernel>[1-9]\d?))?|MP(?P<pool>[2-9])", re.ASCII)
_EPSILON: Final = 1e-4  # of batch norm, as in the BNN authors' code


def build_network(
    topology: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    padding: int = 0,
    product_dtype: torch.dtype = torch.float32,
) -> BinaryNetwork:
    """Returns the untrained network of a topology, with the scores as its last layer.

    `topology`: hidden layers joined by hyphens, ``<outputs>C<kernel>`` for a convolution, ``MP<size>`` for max pooling
    before the batch norm of the convolution in front of it, ``<outputs>`` for a fully connected layer; empty for none.
    `padding` rows and columns of true zeros go around the input of every convolution. `input_shape`: (features,) or
    (rows, columns, channels). Raises `ArtefactError` naming the layer that cannot be read or does not fit, and what it
    would take.
    """
    blocks: list[BinaryBlock] = []
    shape = input_shape
    for text in topology.split("-") if topology else ():
        layer = _LAYER.fullmatch(text)
        if layer is None:
            raise ArtefactError(f"layer {text!r} of {topology!r} must be like 64C3 (convolution), MP2 (pooling) or 512 (dense)")
        where = f"layer {text} of {topology!r} on {_text(shape)}"
        if layer["pool"]:
            shape = _add_pool(blocks, int(layer["pool"]), shape, where)
        elif layer["kernel"]:
            shape = _add_conv(blocks, int(layer["outputs"]), int(layer["kernel"]), shape, padding, product_dtype, where)
        else:
            shape = _add_dense(blocks, int(layer["outputs"]), shape, product_dtype, where)
    _add_dense(blocks, classes, shape, product_dtype, f"the scores of {topology!r} on {_text(shape)}")
    return BinaryNetwork(blocks)


def _add_conv(
    blocks: list[BinaryBlock],
    outputs: int,
    kernel: int,
    shape: tuple[int, ...],
    padding: int,
    product_dtype: torch.dtype,
    where: str,
) -> tuple[int, ...]:
    """Adds a convolution; returns the shape after it."""
    if len(shape) != 3:
        raise ArtefactError(f"{where}: a convolution takes rows, columns and channels; put it before the dense layers")
    rows, columns = (extent + 2 * padding - kernel + 1 for extent in shape[:2])
    if min(rows, columns) < 1:
        raise ArtefactError(f"{where}: the kernel is larger than the image with {padding} of padding")
    _check_weights(outputs * shape[2] * kernel**2, where)
    product = BinaryConv2d(shape[2], outputs, kernel, padding=padding, product_dtype=product_dtype)
    blocks.append(BinaryBlock(product, nn.BatchNorm2d(outputs, eps=_EPSILON)))
    return (rows, columns, outputs)


def _add_pool(blocks: list[BinaryBlock], size: int, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """Gives the last block a pooling; returns the shape after it."""
    if not blocks or not isinstance(blocks[-1].product, BinaryConv2d) or blocks[-1].pool > 1:
        raise ArtefactError(f"{where}: a pooling goes behind a convolution")
    if min(shape[:2]) < size:
        raise ArtefactError(f"{where}: the window is larger than the image")
    blocks[-1].pool = size
    return (shape[0] // size, shape[1] // size, shape[2])


def _add_dense(
    blocks: list[BinaryBlock], outputs: int, shape: tuple[int, ...], product_dtype: torch.dtype, where: str
) -> tuple[int, ...]:
    """Adds a fully connected layer; returns the shape after it."""
    inputs = math.prod(shape)
    _check_weights(outputs * inputs, where)
    blocks.append(BinaryBlock(BinaryLinear(inputs, outputs, product_dtype), nn.BatchNorm1d(outputs, eps=_EPSILON)))
    return (outputs,)


def _check_weights(count: int, where: str) -> None:
    if count > MAX_WEIGHT_BITS:
        raise ArtefactError(f"{where}: a layer may have {MAX_WEIGHT_BITS:,} weights at the most, not {count:,}")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
