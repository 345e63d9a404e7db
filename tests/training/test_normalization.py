# SPDX-License-Identifier: Apache-2.0
"""Batch norm against PyTorch's, shift-based batch norm and powers of two against loops written from the formulas."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from bnn_training.normalization import BatchNorm, ShiftBatchNorm, power_of_two

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
SHAPES = [(7, 3), (5, 3, 4, 6)]


def naive_power_of_two(x: float) -> float:
    """``sign(x) * 2**round(log2|x|)``; no float32 lies half way, since the square root of 2 is irrational."""
    if x == 0:
        return 0.0
    return math.copysign(2.0 ** round(math.log2(abs(x))), x)


def powers(values: Sequence[float]) -> list[float]:
    return power_of_two(torch.tensor(values)).tolist()


def test_powers_of_two_by_hand() -> None:
    assert powers([1.0, 2.0, 3.0, 0.75, 0.7, 5.5, 6.0, -1.0, -3.0, -0.1]) == [1, 2, 4, 1, 0.5, 4, 8, -1, -4, -0.125]
    assert powers([0.0, -0.0]) == [0, 0]
    assert powers([math.inf, -math.inf]) == [math.inf, -math.inf]
    assert powers([2.0**-126, 2.0**-126 * 1.5, 2.0**127, 1e-45, 2.0**-130]) == [2**-126, 2**-125, 2**127, 0, 0]
    assert powers([2.0**-127, -(2.0**-127)]) == [2**-126, -(2**-126)]
    assert powers([2.0**127 * 1.5]) == [math.inf]  # 2**128, which float32 does not hold


@pytest.mark.parametrize("exponent", [*range(-125, 127, 7), -126, -1, 0, 1, 126])
def test_powers_of_two_next_to_the_square_root(exponent: int) -> None:
    """The float32 numbers on either side of the square root of 2 part; those next to a power itself go there."""
    root = np.float32(math.sqrt(2))
    near = [np.nextafter(root, np.float32(0)), root, np.nextafter(root, np.float32(2))]
    near += [np.float32(1), np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(2), np.float32(1))]
    values = [sign * math.ldexp(float(value), exponent) for value in near for sign in (1, -1)]
    assert powers(values) == [naive_power_of_two(value) for value in values]
    assert math.sqrt(2) > float(root)
    assert powers([math.ldexp(float(root), exponent)]) == [2.0**exponent]
    assert powers([math.ldexp(float(near[2]), exponent)]) == [2.0 ** (exponent + 1)]


def test_powers_of_two_of_many_numbers() -> None:
    rng = np.random.default_rng(1)
    values = (np.ldexp(rng.uniform(1, 2, 5000), rng.integers(-126, 126, 5000)) * rng.choice([-1, 1], 5000)).astype(np.float32)
    result = power_of_two(torch.from_numpy(values))
    assert (result.dtype, result.shape) == (torch.float32, (5000,))
    assert result.tolist() == [naive_power_of_two(value) for value in values.tolist()]


def test_powers_of_two_of_a_view_and_of_a_number() -> None:
    x = torch.arange(24.0).view(4, 6).T[::2]
    assert power_of_two(x).tolist() == [[naive_power_of_two(value) for value in row] for row in x.tolist()]
    assert power_of_two(torch.tensor(0.3)).item() == 0.25


def test_gradient_of_a_power_of_two_passes_straight_through() -> None:
    x = torch.tensor([-3.0, 0.0, 0.7, 1000.0], requires_grad=True)
    (power_of_two(x) * torch.tensor([2.0, 3.0, 5.0, 7.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 3, 5, 7]


def randomized(norm: BatchNorm, seed: int) -> BatchNorm:
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(torch.randn(len(tensor), generator=generator))
        norm.running_var.copy_(torch.rand(len(norm.running_var), generator=generator) + 0.5)
    return norm


def inputs(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Returns values whose channels have means and deviations of their own."""
    generator = torch.Generator().manual_seed(seed)
    along = (1, shape[1], *[1] * (len(shape) - 2))
    deviations, means = 3 * torch.rand(along, generator=generator) + 0.1, torch.randn(along, generator=generator)
    return (torch.randn(shape, generator=generator) * deviations + means).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("epsilon", "momentum"), [(1e-4, 0.1), (0.25, 0.15)])
def test_batch_norm_is_pytorchs(shape: tuple[int, ...], epsilon: float, momentum: float) -> None:
    """Outputs and gradients in training, the running statistics after some batches, and eval mode."""
    norm = randomized(BatchNorm(3, epsilon, momentum), 1)
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, epsilon, momentum)
    theirs.load_state_dict({**norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    for seed in range(4):
        x = inputs(shape, seed)
        outputs, gradients = [], []
        for module in (norm, theirs):
            x.grad = None
            module.zero_grad()
            output = module(x)
            output.pow(3).sum().backward()
            assert x.grad is not None
            outputs.append(output)
            gradients.append([x.grad.clone(), module.weight.grad.clone(), module.bias.grad.clone()])
        assert torch.equal(outputs[0], outputs[1])
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert torch.equal(norm.running_mean, theirs.running_mean)
    assert torch.equal(norm.running_var, theirs.running_var)
    assert torch.allclose(norm.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(norm.running_mean, theirs.running_mean)  # eval mode moves nothing


def test_running_statistics_by_hand() -> None:
    """A batch of 1, 2 and 6 has the mean 3 and, without bias, the variance 7; they have the weight 1/4."""
    for kind, variance in ((BatchNorm, 7.0), (ShiftBatchNorm, (2 * 2 + 1 * 1 + 3 * 4) / 2)):  # AP2: -2, -1 and 4
        norm = kind(1, momentum=0.25)
        norm(torch.tensor([[1.0], [2.0], [6.0]]))
        assert norm.running_mean.item() == pytest.approx(0.75, rel=1e-6)
        assert norm.running_var.item() == pytest.approx(0.75 + 0.25 * variance, rel=1e-6)


def naive_shift_batch_norm(norm: ShiftBatchNorm, values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Returns what a layer of one channel gives for the values of a batch, their mean and their shift-based variance."""
    mean = sum(values.tolist()) / len(values)
    centred = [value - mean for value in values.tolist()]
    variance = sum(c * naive_power_of_two(c) for c in centred) / len(centred)
    inverse = naive_power_of_two(1 / math.sqrt(variance + norm.epsilon))
    slope = inverse * naive_power_of_two(norm.weight.item())
    return np.array([c * slope + norm.bias.item() for c in centred]), mean, variance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shift_batch_norm_is_the_papers_formula(shape: tuple[int, ...], seed: int) -> None:
    norm = randomized(ShiftBatchNorm(3, 1e-5, 0.125), seed)
    x = inputs(shape, seed).detach()
    before = norm.running_mean.clone(), norm.running_var.clone()
    result = norm(x)
    count = x.numel() // 3
    for channel in range(3):
        of_channel = ShiftBatchNorm(1, 1e-5)
        with torch.no_grad():
            of_channel.weight.copy_(norm.weight[channel])
            of_channel.bias.copy_(norm.bias[channel])
        expected, mean, variance = naive_shift_batch_norm(of_channel, x[:, channel].flatten().double().numpy())
        assert np.allclose(result[:, channel].flatten().detach().numpy(), expected, rtol=1e-5, atol=1e-5)
        means, variances = (old[channel].item() for old in before)
        assert norm.running_mean[channel].item() == pytest.approx(0.875 * means + 0.125 * mean, rel=1e-5, abs=1e-6)
        unbiased = variance * count / (count - 1)
        assert norm.running_var[channel].item() == pytest.approx(0.875 * variances + 0.125 * unbiased, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shift_batch_norm_in_eval_mode(shape: tuple[int, ...]) -> None:
    """With the running statistics; products by powers of two are exact, so float32 and float64 give the same slope."""
    norm = randomized(ShiftBatchNorm(3, 1e-5), 7).eval()
    x = inputs(shape, 7).detach()
    result = norm(x)
    for channel in range(3):
        gamma, variance = norm.weight[channel].item(), norm.running_var[channel].item()
        slope = naive_power_of_two(gamma) * naive_power_of_two(1 / math.sqrt(variance + 1e-5))
        assert norm.slope[channel].item() == slope
        assert math.frexp(slope)[0] in (0.5, -0.5)
        expected = (x[:, channel].double() - norm.running_mean[channel].item()) * slope + norm.bias[channel].item()
        assert torch.allclose(result[:, channel].double(), expected, rtol=1e-6, atol=1e-6)


def test_gradients_of_shift_batch_norm_by_hand() -> None:
    """With AP2 straight through: its derivative is 1, so that of c * AP2(c) is AP2(c) + c.

    For y = c * A * G + bias with c = x - mean(x), v = mean(c * AP2(c)), A = AP2(s), s = (v + epsilon)**-1/2, G = AP2(weight):
    dL/dv = sum(dL/dy * c) * G * (-1/2) * (v + epsilon)**-3/2, and dL/dc = dL/dy * A * G + dL/dv * (AP2(c) + c) / n.
    """
    values, upstream, gamma, epsilon = [1.0, 2.5, 7.0, -3.0], [1.0, -2.0, 0.5, 3.0], -1.3, 0.5
    norm = ShiftBatchNorm(1, epsilon)
    with torch.no_grad():
        norm.weight.fill_(gamma)
    x = torch.tensor(values).view(4, 1).requires_grad_()
    (norm(x).flatten() * torch.tensor(upstream)).sum().backward()
    mean = sum(values) / 4
    centred = [value - mean for value in values]
    variance = sum(c * naive_power_of_two(c) for c in centred) / 4
    inverse, sign = naive_power_of_two((variance + epsilon) ** -0.5), naive_power_of_two(gamma)
    of_products = sum(g * c for g, c in zip(upstream, centred, strict=True))
    of_variance = of_products * sign * -0.5 * (variance + epsilon) ** -1.5
    of_centred = [
        g * inverse * sign + of_variance * (naive_power_of_two(c) + c) / 4 for g, c in zip(upstream, centred, strict=True)
    ]
    expected = [gradient - sum(of_centred) / 4 for gradient in of_centred]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert norm.weight.grad is not None
    assert norm.weight.grad.item() == pytest.approx(of_products * inverse, rel=1e-5)
    assert norm.bias.grad is not None
    assert norm.bias.grad.item() == pytest.approx(sum(upstream), rel=1e-6)


@pytest.mark.parametrize("kind", [BatchNorm, ShiftBatchNorm])
def test_a_batch_of_bfloat16_is_normalized_in_float32(kind: type[BatchNorm]) -> None:
    """The mean of 256 and 258 is 257, which bfloat16 does not hold; running statistics must."""
    norm = kind(1, momentum=1.0)
    norm(torch.tensor([[256.0], [258.0]], dtype=torch.bfloat16))
    assert norm.running_mean.dtype == torch.float32
    assert norm.running_mean.item() == 257
