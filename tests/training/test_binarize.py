# SPDX-License-Identifier: Apache-2.0
"""Stochastic binarization and that of weights: values, frequencies and gradients, by cases."""

import math

import pytest
import torch

from bnn_training.binarize import binary_weights, stochastic_sign
from bnn_training.binary_layers import BinaryConv2d, BinaryLinear

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
DRAWS = 40_000
BELOW_ONE, ABOVE_ONE = 1 - 2**-24, 1 + 2**-23


def naive_hard_sigmoid(x: float) -> float:
    if x <= -1:
        return 0.0
    if x >= 1:
        return 1.0
    return (x + 1) / 2


def seeded(seed: int) -> int:
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return seed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("x", "value"), [(1.0, 1), (1.5, 1), (math.inf, 1), (-1.0, -1), (-7.0, -1), (-math.inf, -1)])
def test_from_one_on_there_is_no_chance(x: float, value: int, dtype: torch.dtype) -> None:
    seeded(1)
    result = stochastic_sign(torch.full((DRAWS,), x, dtype=dtype))
    assert (result.dtype, result.unique().tolist()) == (dtype, [value])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("x", [-0.99609375, -0.75, -0.25, -0.00390625, 0.0, 0.125, 0.5, 0.9375, 0.99609375])
def test_frequency_is_the_hard_sigmoid(x: float, dtype: torch.dtype, seed: int) -> None:
    """Within 5 deviations of the binomial distribution, for values that bfloat16 holds as well."""
    seeded(seed)
    result = stochastic_sign(torch.full((DRAWS,), x, dtype=dtype))
    share, expected = (result > 0).double().mean().item(), naive_hard_sigmoid(x)
    assert set(result.unique().tolist()) == {-1.0, 1.0}
    assert abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / DRAWS)


def test_bfloat16_is_not_drawn_in_bfloat16() -> None:
    """Draws of its few numbers would give +1 more often by 0.0005, which is 6 deviations of so many."""
    seeded(1)
    x = torch.full((1 << 20,), 0.25, dtype=torch.bfloat16)
    share = sum((stochastic_sign(x) > 0).double().mean().item() for _ in range(32)) / 32
    assert abs(share - 0.625) <= 4 * math.sqrt(0.625 * 0.375 / (32 << 20))


def test_draws_are_of_the_seed_and_of_each_element() -> None:
    results = []
    for seed in (3, 3, 4):
        seeded(seed)
        results.append(stochastic_sign(torch.zeros(100, 50)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert 0 < (results[0].mean(0) + 1).min() < (results[0].mean(0) + 1).max() < 2  # neither by rows nor by columns
    assert 0 < (results[0].mean(1) + 1).min() < (results[0].mean(1) + 1).max() < 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("x", "gradient"),
    [
        (-2.0, 0), (-ABOVE_ONE, 0), (-1.0, 3), (-BELOW_ONE, 3), (-0.5, 3), (-0.0, 3),
        (0.0, 3), (0.5, 3), (BELOW_ONE, 3), (1.0, 3), (ABOVE_ONE, 0), (2.0, 0),
    ],
)  # fmt: skip
def test_gradient_of_stochastic_sign_by_cases(x: float, gradient: float, seed: int) -> None:
    """``dL/dx = dL/dresult if |x| <= 1, 0 if |x| > 1``, for dL/dresult = 3, however the draw falls."""
    seeded(seed)
    point = torch.full((20,), x, requires_grad=True)
    (3 * stochastic_sign(point)).sum().backward()
    assert point.grad is not None
    assert point.grad.tolist() == [gradient] * 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stochastic", [False, True])
def test_gradient_of_weights_has_no_window(stochastic: bool, dtype: torch.dtype) -> None:
    """``dL/dw = dL/dresult`` everywhere, each element its own."""
    seeded(1)
    weight = torch.tensor([-5.0, -1.5, -1.0, -0.25, -0.0, 0.0, 0.5, 1.0, 3.0], dtype=dtype, requires_grad=True)
    upstream = torch.arange(-4, 5, dtype=dtype)
    result = binary_weights(weight, stochastic=stochastic)
    (result * upstream).sum().backward()
    assert weight.grad is not None
    assert (result.dtype, weight.grad.dtype) == (dtype, dtype)
    assert weight.grad.tolist() == upstream.tolist()
    if not stochastic:
        assert result.tolist() == [-1, -1, -1, -1, 1, 1, 1, 1, 1]


def test_stochastic_weights_by_cases() -> None:
    """Where clipping has taken a weight to 1 or -1, its binary form is certain; 0 is either in half of the draws."""
    seeded(2)
    weight = torch.tensor([-1.0, 0.0, 0.5, 1.0]).repeat(DRAWS, 1)
    shares = (binary_weights(weight, stochastic=True) > 0).double().mean(0).tolist()
    bound = 5 * math.sqrt(0.25 / DRAWS)
    assert (shares[0], shares[3]) == (0, 1)
    assert abs(shares[1] - 0.5) <= bound
    assert abs(shares[2] - 0.75) <= bound


@pytest.mark.parametrize(
    "layer", [BinaryLinear(6, 5, stochastic=True), BinaryConv2d(6, 5, 1, stochastic=True)], ids=["dense", "conv"]
)
def test_a_layer_draws_its_weights_in_training_alone(layer: BinaryLinear | BinaryConv2d) -> None:
    seeded(3)
    torch.nn.init.uniform_(layer.weight, -0.9, 0.9)
    shape = (1, 6) if isinstance(layer, BinaryLinear) else (1, 6, 1, 1)
    x = torch.tensor([1.0, 2, 4, 8, 16, 32]).view(shape)
    layer.train()
    drawn = {tuple(layer.products(x).flatten().tolist()) for _ in range(30)}
    assert len(drawn) > 20
    layer.eval()
    tested = {tuple(layer.products(x).flatten().tolist()) for _ in range(3)}
    signs = torch.where(layer.weight >= 0, 1.0, -1.0).flatten(1)
    assert tested == {tuple((signs @ x.flatten()).tolist())}


def test_gradients_of_a_layer_with_stochastic_weights_by_hand() -> None:
    """Inputs get the signs that were drawn, weights their inputs, straight through, as far as they are from 0."""
    seeded(4)
    layer = BinaryLinear(3, 1, stochastic=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.25, 1.75]]))
    x = torch.tensor([[3.0, 5.0, 7.0]], requires_grad=True)
    result = layer(x)
    (2 * result).backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[6.0, 10.0, 14.0]]
    signs = (x.grad / 2).flatten().tolist()
    assert signs[2] == 1
    assert set(signs) <= {-1.0, 1.0}
    assert result.item() == 3 * signs[0] + 5 * signs[1] + 7 * signs[2]
