# SPDX-License-Identifier: Apache-2.0
"""Sign, binary layers, blocks and the loss, against values computed by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from bnn_training.binarize import sign
from bnn_training.binary_layers import BinaryConv2d, BinaryLinear
from bnn_training.losses import squared_hinge
from bnn_training.model import BinaryBlock, BinaryNetwork
from bnn_training.normalization import BatchNorm
from bnn_training.topology import build_network

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


def test_sign_of_bfloat16_by_cases() -> None:
    """The neighbours of 1 in bfloat16 are 1 - 2**-8 and 1 + 2**-7; the least number above 0 is 2**-133."""
    cases = [(2**-133, 1, 3), (-(2**-133), -1, 3), (0.0, 1, 3), (-0.0, 1, 3), (1.0, 1, 3), (-1.0, -1, 3)]
    cases += [(1 - 2**-8, 1, 3), (2**-8 - 1, -1, 3), (1 + 2**-7, 1, 0), (-1 - 2**-7, -1, 0)]
    point = torch.tensor([x for x, _, _ in cases], dtype=torch.bfloat16, requires_grad=True)
    assert point.tolist() == [x for x, _, _ in cases]
    result = sign(point)
    (3 * result).sum().backward()
    assert point.grad is not None
    assert (result.dtype, point.grad.dtype) == (torch.bfloat16, torch.bfloat16)
    assert list(zip(point.tolist(), result.tolist(), point.grad.tolist(), strict=True)) == cases


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
    # Through the product with sign(W), then straight through.
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[301.0, 199.0, 99.0], [3010.0, 1990.0, 990.0]]
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


def naive_conv(
    x: Sequence[Sequence[Sequence[float]]], weight: Sequence[Sequence[Sequence[float]]], stride: int, padding: int, value: float
) -> list[list[float]]:
    """Returns one output of a convolution on one image [channels][rows][columns], by loops."""
    rows, columns, kernel = len(x[0]), len(x[0][0]), len(weight[0])
    result = []
    for top in range(-padding, rows + padding - kernel + 1, stride):
        line = []
        for left in range(-padding, columns + padding - kernel + 1, stride):
            total = 0.0
            for channel in range(len(x)):
                for row in range(kernel):
                    for column in range(kernel):
                        inside = 0 <= top + row < rows and 0 <= left + column < columns
                        element = x[channel][top + row][left + column] if inside else value
                        total += element if weight[channel][row][column] >= 0 else -element
            line.append(total)
        result.append(line)
    return result


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("stride", "padding", "value"), [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 2, -1), (2, 1, 1), (3, 2, 1)])
def test_binary_conv_is_a_loop_over_windows(training: bool, stride: int, padding: int, value: int) -> None:
    torch.manual_seed(1)
    layer = BinaryConv2d(2, 3, 3, stride=stride, padding=padding, padding_value=value).train(training)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = 0.0  # which counts as +1
        layer.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
    x = torch.randint(-128, 128, (2, 2, 5, 6)).float()
    expected = torch.tensor(
        [[naive_conv(image, weight, stride, padding, value) for weight in layer.weight.tolist()] for image in x.tolist()]
    )
    assert torch.equal(layer.products(x), expected)
    assert torch.equal(layer(x), expected + torch.tensor([0.5, -1.0, 2.0]).view(3, 1, 1))


def test_gradients_of_a_convolution() -> None:
    """One window: each weight gets its input, straight through; each input gets its weight's sign."""
    layer = BinaryConv2d(1, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[0.3, -1.5], [-0.2, 1.0]]]]))
    x = torch.tensor([[[[3.0, 5.0], [7.0, -11.0]]]], requires_grad=True)
    (2 * layer(x)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.flatten().tolist() == [6.0, 10.0, 14.0, -22.0]
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == [2.0]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2.0, -2.0, -2.0, 2.0]


def test_products_of_a_convolution_are_exact_in_eval_mode() -> None:
    """513 channels in windows of 3 by 3 come to 4617, which bfloat16 does not hold; eval mode must, as float32."""
    layer = BinaryConv2d(513, 1, 3, product_dtype=torch.bfloat16)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, 513, 3, 3)
    assert (layer.eval().products(x).item(), layer.products(x).dtype) == (4617, torch.float32)
    assert layer.train().products(x).item() != 4617
    assert layer(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "scale"), [(2, 4, 1, 2.0), (1, 5, 2, 4.0), (3, 64, 3, math.sqrt(603 / 1.5))]
)
def test_learning_rate_scale_of_a_convolution(channels: int, outputs: int, kernel: int, scale: float) -> None:
    """Its fans are k**2 times its channels: for 1, 5 and a kernel of 2 that is sqrt(4 * 6 / 1.5)."""
    assert BinaryConv2d(channels, outputs, kernel).learning_rate_scale == pytest.approx(scale, rel=1e-15)


def test_first_weights_of_a_convolution_are_glorots() -> None:
    """sqrt(6 / (9 * (20 + 40))) is 1/9.49."""
    torch.manual_seed(3)
    weights = BinaryConv2d(20, 40, 3).weight
    assert 0.1045 < weights.abs().max().item() <= math.sqrt(6 / 540)


def block_by_hand(product: BinaryLinear | BinaryConv2d, pool: int = 1) -> BinaryBlock:
    """Returns a block of three outputs whose activation of a sum s is s - 1, -2 s - 3 and -0.5."""
    normalize = BatchNorm(3, epsilon=0.25)
    block = BinaryBlock(product, normalize, pool).eval()
    norm = block.normalize
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        block.product.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
        norm.running_mean.copy_(torch.tensor([2.0, -2.0, 0.0]))
        norm.running_var.fill_(3.75)
        norm.weight.copy_(torch.tensor([2.0, -4.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -0.5]))
    return block


def test_block_is_its_activation_of_its_products() -> None:
    block = block_by_hand(BinaryLinear(4, 3))
    sums = torch.tensor([[4.0, 2.0, -4.0]])
    assert block.normalized(sums).tolist() == [[3.0, -7.0, -0.5]]
    x = torch.tensor([[1.0, -1.0, 1.0, 1.0]])
    assert torch.equal(block(x), block.normalized(block.product.products(x)))


def test_block_pools_before_batch_norm() -> None:
    """The greatest sum goes on, which under a falling function gives the least value; what fills no window is left out."""
    block = block_by_hand(BinaryConv2d(1, 3, 1), pool=2)
    nn.init.ones_(block.product.weight)
    x = torch.tensor([[[[1.0, 5.0, 9.0, -2.0, 70.0], [3.0, -4.0, 2.0, 8.0, 80.0], [90.0] * 5]]])
    assert block.pooled_products(x).tolist() == [[[[5.0, 9.0]]] * 3]
    assert block(x).tolist() == [[[[4.0, 8.0]], [[-13.0, -21.0]], [[-0.5, -0.5]]]]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_activation_in_training_is_batch_norm_of_the_biased_sums(dimensions: int) -> None:
    torch.manual_seed(1)
    block = block_by_hand(BinaryLinear(4, 3) if dimensions == 1 else BinaryConv2d(1, 3, 1)).train()
    sums = torch.randn(5, 3) if dimensions == 1 else torch.randn(5, 3, 2, 2)
    biased = (sums + block.product.bias.view(3, *[1] * (sums.dim() - 2))).transpose(0, 1).flatten(1)
    deviation = torch.sqrt(biased.var(1, unbiased=False) + 0.25)
    expected = (biased - biased.mean(1)[:, None]) / deviation[:, None] * block.normalize.weight[:, None] + block.normalize.bias[
        :, None
    ]
    assert torch.allclose(block.normalized(sums).transpose(0, 1).flatten(1), expected, atol=1e-5)


def test_activation_in_eval_mode_depends_on_the_sum_alone() -> None:
    """A sum gives the same bits as a vector, as images of any shape and in any order in memory, and one by one."""
    torch.manual_seed(2)
    outputs = 37
    block = BinaryBlock(BinaryConv2d(1, outputs, 1), BatchNorm(outputs)).eval()
    with torch.no_grad():
        for tensor in (*block.normalize.parameters(), block.normalize.running_mean, block.product.bias):
            assert tensor is not None
            tensor.copy_(torch.randn(outputs) * 7)
        assert block.normalize.running_var is not None
        block.normalize.running_var.copy_(torch.rand(outputs) * 100)
        sums = torch.randint(-500, 500, (6, outputs, 5, 7)).float()
        one_by_one = torch.stack([block.normalized(sums[:, :, row, column]) for row in range(5) for column in range(7)], 2)
        values = block.normalized(sums)
        assert torch.equal(values.flatten(2), one_by_one)
        assert torch.equal(block.normalized(sums.contiguous(memory_format=torch.channels_last)), values)
        assert torch.equal(block.normalized(sums[3:4, :, 2:3, 4:5]), values[3:4, :, 2:3, 4:5])


def test_network_puts_a_sign_between_blocks_and_none_after_the_last() -> None:
    torch.manual_seed(1)
    network = build_network("5-4", (6,), 3).eval()
    x = torch.randn(7, 6)
    expected = x
    for index, block in enumerate(network.stages):
        expected = block(expected)
        expected = torch.where(expected >= 0, 1.0, -1.0) if index < 2 else expected
    assert torch.equal(network(x), expected)
    assert not torch.equal(network(x).abs(), torch.ones(7, 3))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_flattened_by_row_column_channel(layout: torch.memory_format) -> None:
    """The only weight that is +1 finds its element, in images and in what a convolution gives."""
    rows, columns, channels = 2, 3, 4
    x = torch.where(torch.rand(1, channels, rows, columns, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    x = x.contiguous(memory_format=layout)
    copies = BinaryConv2d(channels, channels, 1)  # gives each channel as it is, by the majority of signs
    dense = BinaryLinear(rows * columns * channels, rows * columns * channels)
    with torch.no_grad():
        copies.weight.copy_(torch.eye(channels).view(channels, channels, 1, 1) - 0.5)
        dense.weight.copy_(torch.eye(rows * columns * channels) - 0.5)
    on_images = BinaryNetwork([BinaryBlock(dense, BatchNorm(24))]).eval()(x)[0]
    on_features = BinaryNetwork([BinaryBlock(copies, BatchNorm(channels)), BinaryBlock(dense, BatchNorm(24))]).eval()(x)[0]
    features = torch.where(copies.products(x) >= 0, 1.0, -1.0)
    for elements, scores in ((x, on_images), (features, on_features)):
        flat = [
            elements[0, channel, row, column].item()
            for row in range(rows)
            for column in range(columns)
            for channel in range(channels)
        ]
        expected = torch.tensor([2 * element - sum(flat) for element in flat])
        assert torch.allclose(scores, expected, rtol=1e-4)


def test_squared_hinge_by_hand() -> None:
    """Label 1: targets -1, +1, -1. Hinges of the first image 3, 0.5, 0, of the second 1, 0, 2.5 (label 0: +1, -1, -1)."""
    scores = torch.tensor([[2.0, 0.5, -1.0], [0.0, -1.5, 1.5]], requires_grad=True)
    loss = squared_hinge(scores, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((9 + 0.25 + 0 + 1 + 0 + 6.25) / 6, rel=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert (6 * scores.grad).flatten().tolist() == pytest.approx([6, -1, 0, -2, 0, 5], rel=1e-6)
