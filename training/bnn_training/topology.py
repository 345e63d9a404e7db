# SPDX-License-Identifier: Apache-2.0
"""Topologies in the papers' notation: ``64C3-64C3-MP2-512`` is two convolutions, a max pooling and a dense layer."""

import re
from typing import Final

import torch
from torch import nn

from bnn_hw.errors import ArtefactError
from bnn_training.layers import BinaryConv2d, BinaryLinear
from bnn_training.network import BinaryBlock, BinaryNetwork

__all__ = ["build_network"]

_LAYER: Final = re.compile(r"(?P<outputs>[1-9]\d{0,5})(?:C(?P<kernel>[1-9]\d?))?|MP(?P<pool>[2-9])")
_EPSILON: Final = 1e-4


def build_network(
    topology: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    padding: int = 0,
    padding_value: int = 0,
    product_dtype: torch.dtype = torch.float32,
) -> BinaryNetwork:
    """Returns the untrained network of a topology, with the scores as its last layer.

    `topology`: hidden layers joined by hyphens, ``<outputs>C<kernel>`` for a convolution, ``MP<size>`` for max pooling
    before the batch norm of the convolution in front of it, ``<outputs>`` for a fully connected layer; empty for none.
    `padding` rows and columns of `padding_value` go around the input of every convolution. `input_shape`: (features,)
    or (rows, columns, channels). Raises `ArtefactError` naming the layer that cannot be read or does not fit.
    """
    blocks: list[BinaryBlock] = []
    shape = input_shape
    for text in filter(None, topology.split("-")):
        layer = _LAYER.fullmatch(text)
        if layer is None:
            raise ArtefactError(f"layer {text!r} of {topology!r} must be like 64C3 (convolution), MP2 (pooling) or 512 (dense)")
        where = f"layer {text} of {topology!r} on {'×'.join(map(str, shape))}"
        if layer["pool"]:
            shape = _add_pool(blocks, int(layer["pool"]), shape, where)
        elif layer["kernel"]:
            if len(shape) != 3:
                raise ArtefactError(f"{where}: a convolution takes rows, columns and channels; put it before the dense layers")
            outputs, kernel = int(layer["outputs"]), int(layer["kernel"])
            rows, columns = (extent + 2 * padding - kernel + 1 for extent in shape[:2])
            if min(rows, columns) < 1:
                raise ArtefactError(f"{where}: the kernel is larger than the image with {padding} of padding")
            product = BinaryConv2d(
                shape[2], outputs, kernel, padding=padding, padding_value=padding_value, product_dtype=product_dtype
            )
            blocks.append(BinaryBlock(product, nn.BatchNorm2d(outputs, eps=_EPSILON)))
            shape = (rows, columns, outputs)
        else:
            blocks.append(_dense(shape, int(layer["outputs"]), product_dtype))
            shape = (int(layer["outputs"]),)
    blocks.append(_dense(shape, classes, product_dtype))
    return BinaryNetwork(blocks)


def _add_pool(blocks: list[BinaryBlock], size: int, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """Gives the last block a pooling; returns the shape after it."""
    if not blocks or not isinstance(blocks[-1].product, BinaryConv2d) or blocks[-1].pool > 1:
        raise ArtefactError(f"{where}: a pooling goes behind a convolution")
    if min(shape[:2]) < size:
        raise ArtefactError(f"{where}: the window is larger than the image")
    blocks[-1].pool = size
    return (shape[0] // size, shape[1] // size, shape[2])


def _dense(shape: tuple[int, ...], outputs: int, product_dtype: torch.dtype) -> BinaryBlock:
    inputs = 1
    for extent in shape:
        inputs *= extent
    return BinaryBlock(BinaryLinear(inputs, outputs, product_dtype), nn.BatchNorm1d(outputs, eps=_EPSILON))
