# SPDX-License-Identifier: Apache-2.0
"""Sign, binary layers, blocks and the loss, against values computed by hand."""

import math

import pytest
import torch
from torch import nn

from bnn_training.binarize import sign
from bnn_training.layers import BinaryLinear
from bnn_training.losses import squared_hinge
from bnn_training.network import BinaryBlock, BinaryMlp

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
BELOW_ONE, ABOVE_ONE = 1 - 2**-24, 1 + 2**-23


@pytest.mark.parametrize(
    ("x", "value", "gradient"),
    [
        (-2.0, -1, 0), (-ABOVE_ONE, -1, 0), (-1.0, -1, 3), (-BELOW_ONE, -1, 3), (-0.5, -1, 3), (-1e-45, -1, 3), (-0.0, 1, 3),
        (0.0, 1, 3), (1e-45, 1, 3), (0.5, 1, 3), (BELOW_ONE, 1, 3), (1.0, 1, 3), (ABOVE_ONE, 1, 0), (2.0, 1, 0),
        (math.inf, 1, 0), (-math.inf, -1, 0),
    ],
)  # fmt: skip
def test_sign_by_cases(x: float, value: float, gradient: float) -> None:
    """``dL/dx = dL/dsign if |x| <= 1, 0 if |x| > 1``, for dL/dsign = 3."""
    point = torch.tensor([x], requires_grad=True)
    result = sign(point)
    (3 * result).sum().backward()
    assert point.grad is not None
    assert (result.item(), point.grad.item()) == (value, gradient)


def test_sign_keeps_shape_and_dtype() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        result = sign(torch.zeros(2, 0, 3, dtype=dtype)), sign(torch.full((2, 3), -0.1, dtype=dtype))
        assert [(part.shape, part.dtype) for part in result] == [((2, 0, 3), dtype), ((2, 3), dtype)]


def test_binary_linear_by_hand() -> None:
    layer = BinaryLinear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, -0.2, 0.0], [-1.0, 1.5, -0.1]]))
        layer.bias.copy_(torch.tensor([0.5, -2.0]))
    x = torch.tensor([[1.0, -1.0, -1.0], [3.0, 2.0, 1.0]], requires_grad=True)
    assert layer.products(x).tolist() == [[1.0, -1.0], [2.0, -2.0]]
    result = layer(x)
    assert result.tolist() == [[1.5, -3.0], [2.5, -4.0]]
    (result * torch.tensor([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    # Through the product with sign(W), then through the sign: 0 where |w| > 1.
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[301.0, 199.0, 99.0], [3010.0, 0.0, 990.0]]
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == [101.0, 1010.0]
    assert x.grad is not None
    assert x.grad.tolist() == [[-9.0, 9.0, -9.0], [-900.0, 900.0, -900.0]]


def test_clip() -> None:
    layer = BinaryLinear(5, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-3.0, -1.0, 0.25, 1.0, 1.5]]))
        layer.bias.fill_(7.0)
    layer.clip()
    assert layer.weight.tolist() == [[-1.0, -1.0, 0.25, 1.0, 1.0]]
    assert layer.bias.tolist() == [7.0]


@pytest.mark.parametrize(("inputs", "outputs", "scale"), [(1, 5, 2.0), (90, 6, 8.0), (784, 1024, math.sqrt(1808 / 1.5))])
def test_learning_rate_scale(inputs: int, outputs: int, scale: float) -> None:
    """1/sqrt(1.5/(inputs+outputs)): for 1 and 5 that is sqrt(4)."""
    assert BinaryLinear(inputs, outputs).learning_rate_scale == pytest.approx(scale, rel=1e-15)


def test_first_weights_are_glorots() -> None:
    torch.manual_seed(3)
    weights = BinaryLinear(300, 300).weight
    assert 0.099 < weights.abs().max().item() <= 0.1
    assert abs(weights.mean().item()) < 0.001


def test_products_of_eval_mode_are_exact() -> None:
    """bfloat16 holds integers up to 256; eval mode must give 1023 whatever the training multiplies in."""
    layer = BinaryLinear(1023, 1, torch.bfloat16)
    nn.init.ones_(layer.weight)
    assert layer.eval().products(torch.ones(1, 1023)).item() == 1023
    assert layer.train().products(torch.ones(1, 1023)).item() != 1023


def test_block_is_its_activation_of_its_products() -> None:
    block = BinaryBlock(BinaryLinear(4, 3), nn.BatchNorm1d(3, eps=0.25)).eval()
    norm = block.normalize
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        block.product.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
        norm.running_mean.copy_(torch.tensor([2.0, -2.0, 0.0]))
        norm.running_var.fill_(3.75)
        norm.weight.copy_(torch.tensor([2.0, -4.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -0.5]))
    sums = torch.tensor([[4.0, 2.0, -4.0]])
    assert block.activation(sums).tolist() == [[3.0, -7.0, -0.5]]
    x = torch.tensor([[1.0, -1.0, 1.0, 1.0]])
    assert torch.equal(block(x), block.activation(block.product.products(x)))


def test_mlp_puts_a_sign_between_blocks_and_none_after_the_last() -> None:
    torch.manual_seed(1)
    network = BinaryMlp((6, 5, 4, 3)).eval()
    x = torch.randn(7, 6)
    expected = x
    for index, block in enumerate(network.stages):
        expected = block(expected)
        expected = torch.where(expected >= 0, 1.0, -1.0) if index < 2 else expected
    assert torch.equal(network(x), expected)
    assert not torch.equal(network(x).abs(), torch.ones(7, 3))


def test_squared_hinge_by_hand() -> None:
    """Label 1: targets -1, +1, -1. Hinges of the first image 3, 0.5, 0, of the second 1, 0, 2.5 (label 0: +1, -1, -1)."""
    scores = torch.tensor([[2.0, 0.5, -1.0], [0.0, -1.5, 1.5]], requires_grad=True)
    loss = squared_hinge(scores, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((9 + 0.25 + 0 + 1 + 0 + 6.25) / 6, rel=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert (6 * scores.grad).flatten().tolist() == pytest.approx([6, -1, 0, -2, 0, 5], rel=1e-6)
