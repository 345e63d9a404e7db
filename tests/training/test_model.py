# SPDX-License-Identifier: Apache-2.0
"""Networks of each activation, with dropout, and with the weights that test images meet."""

from itertools import pairwise

import pytest
import torch

from bnn_training.model import Activation, BinaryNetwork
from bnn_training.normalization import BatchNorm, ShiftBatchNorm
from bnn_training.recipes import Recipe, recipe_network
from bnn_training.topology import Style, build_network

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
ACTIVATIONS: tuple[Activation, ...] = ("sign", "stochastic_sign", "relu")


def network(style: Style, topology: str = "40-30", seed: int = 1) -> BinaryNetwork:
    """Returns a network whose batch norms have seen some images."""
    print(f"seed {seed}")
    torch.manual_seed(seed)
    made = build_network(topology, (20,), 4, style)
    for _ in range(10):
        made(torch.randn(50, 20))
    return made


def hidden(made: BinaryNetwork, x: torch.Tensor) -> list[torch.Tensor]:
    """Returns what goes into each block when `x` goes into the network."""
    seen: list[torch.Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0])) for block in made.stages]
    made(x)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_in_eval_mode_are_without_chance(activation: Activation) -> None:
    made = network(Style(activation=activation, input_dropout=0.5, hidden_dropout=0.5)).eval()
    x = torch.randn(9, 20)
    seen = hidden(made, x)
    assert torch.equal(seen[0], x)
    for block, (before, after) in zip(made.stages, pairwise(seen), strict=False):
        value = block(before)
        expected = torch.where(value > 0, value, 0.0) if activation == "relu" else torch.where(value >= 0, 1.0, -1.0)
        assert torch.equal(after, expected)
    assert torch.equal(made(x), made(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_in_training(activation: Activation) -> None:
    """Chance is in the stochastic sign alone, and only where the value is inside of -1..1."""
    made = network(Style(activation=activation)).train()
    x = torch.randn(200, 20)
    (_, first, _), (_, second, _) = hidden(made, x), hidden(made, x)
    values = made.stages[0](x)
    if activation == "relu":
        assert torch.allclose(first, values.clamp_min(0))
    else:
        assert set(first.unique().tolist()) == {-1.0, 1.0}
        certain = values.abs() >= 1 if activation == "stochastic_sign" else torch.full_like(values, True, dtype=torch.bool)
        assert torch.equal(first[certain], torch.where(values >= 0, 1.0, -1.0)[certain])
    assert torch.equal(first, second) == (activation != "stochastic_sign")
    if activation == "stochastic_sign":
        near = values.abs() < 0.5
        share = (first > 0)[near].double().mean().item()
        wanted = ((values[near] + 1) / 2).mean().item()
        assert abs(share - wanted) < 5 * (0.25 / near.sum().item()) ** 0.5


@pytest.mark.parametrize(("input_dropout", "hidden_dropout"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.5), (0.2, 0.5)])
def test_dropout_in_training(input_dropout: float, hidden_dropout: float) -> None:
    """So many are 0, and the rest is greater for it, so that means stay; within 5 deviations of the binomial distribution."""
    made = network(Style(input_dropout=input_dropout, hidden_dropout=hidden_dropout)).train()
    seen = hidden(made, torch.ones(400, 20))
    for index, (x, dropout) in enumerate(zip(seen, (input_dropout, hidden_dropout, hidden_dropout), strict=True)):
        share = (x == 0).double().mean().item()
        assert abs(share - dropout) <= 5 * (dropout * (1 - dropout) / x.numel()) ** 0.5, index
        assert torch.allclose(x[x != 0].abs(), torch.tensor(1 / (1 - dropout)))
    columns = (seen[1] == 0).double().mean(0)
    assert (columns < 1).all()  # elements are left out one by one, not whole neurons


def test_nothing_is_left_out_of_the_scores() -> None:
    made = network(Style(hidden_dropout=0.9)).train()
    assert (made(torch.randn(50, 20)) != 0).all()


def test_test_weights_are_binary_or_real() -> None:
    made = network(Style(activation="relu")).eval()
    x = torch.randn(7, 20)
    binary = made(x)
    made.set_test_weights("real")
    expected = x
    for index, block in enumerate(made.stages):
        expected = block.normalize(expected @ block.product.weight.T + block.product.bias)
        expected = expected.clamp_min(0) if index < 2 else expected
    assert torch.allclose(made(x), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made(x), binary, rtol=1e-2, atol=1e-2)
    made.set_test_weights("binary")
    assert torch.equal(made(x), binary)


def test_training_binarizes_whatever_the_test_weights_are() -> None:
    made = network(Style()).train()
    made.set_test_weights("real")
    products = made.stages[0].product.products(torch.ones(1, 20))
    assert torch.equal(products, products.round())


def test_a_recipe_reaches_its_network() -> None:
    recipe = Recipe(
        "tiny",
        "noise",
        "4C1-5",
        1,
        activation="stochastic_sign",
        stochastic_weights=True,
        test_weights="real",
        shift_batch_norm=True,
        batch_norm_epsilon=0.25,
        batch_norm_momentum=0.5,
        input_dropout=0.125,
        hidden_dropout=0.375,
    )
    made = recipe_network(recipe, (2, 2, 1), 3)
    assert (made.activation, made.input_dropout, made.hidden_dropout) == ("stochastic_sign", 0.125, 0.375)
    assert [type(block.normalize) for block in made.stages] == [ShiftBatchNorm, ShiftBatchNorm, BatchNorm]
    for block in made.stages:
        assert (block.normalize.epsilon, block.normalize.momentum) == (0.25, 0.5)
        assert (block.product.stochastic, block.product.test_weights) == (True, "real")
        assert block.product.product_dtype == torch.bfloat16
    plain = recipe_network(Recipe("tiny", "noise", "4C1-5", 1, bfloat16=False), (2, 2, 1), 3)
    assert [type(block.normalize) for block in plain.stages] == [BatchNorm] * 3
    assert [(block.product.stochastic, block.product.test_weights) for block in plain.stages] == [(False, "binary")] * 3
