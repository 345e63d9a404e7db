# SPDX-License-Identifier: Apache-2.0
"""The optimizers against loops written from the papers' formulas, and the learning rate of each parameter."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bnn_training.binary_layers import BinaryLayer
from bnn_training.optimizers import OPTIMIZER_STATE, OptimizerName, ShiftAdaMax, make_optimizer, set_learning_rate
from bnn_training.topology import build_network

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
NAMES: tuple[OptimizerName, ...] = ("adam", "adamax", "shift_adamax")


def naive_power_of_two(x: float) -> float:
    return math.copysign(2.0 ** round(math.log2(abs(x))), x) if x else 0.0


def naive_steps(name: OptimizerName, start: float, gradients: list[float], rates: list[float]) -> Iterator[float]:
    """Yields a parameter after each step; in float64."""
    beta1, beta2 = 0.9, 0.999
    parameter, mean, second, greatest = start, 0.0, 0.0, 0.0
    for index, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
        t = index + 1
        mean = beta1 * mean + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        size = rate / (1 - beta1**t)
        if name == "adam":
            parameter -= size * mean / (math.sqrt(second / (1 - beta2**t)) + 1e-8)
        elif name == "adamax":
            greatest = max(beta2 * greatest, abs(gradient) + 1e-8)
            parameter -= size * mean / greatest
        else:
            greatest = max(beta2 * greatest, abs(gradient))
            parameter -= naive_power_of_two(size) * mean * naive_power_of_two(1 / (greatest + 2**-27))
        yield parameter


class _Line(nn.Module):
    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_steps_are_the_papers(name: OptimizerName, seed: int) -> None:
    """Gradients of many sizes, which also pass and come back to 0, under a learning rate that falls."""
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    count, steps = 12, 9
    gradients = torch.randn(steps, count, generator=generator) * 10.0 ** torch.randint(-6, 3, (1, count), generator=generator)
    gradients[:, 0], gradients[4:, 1] = 0, 0
    start = torch.randn(count, generator=generator).tolist()
    rates = [0.3 * 0.7**step for step in range(steps)]
    module = _Line(start)
    optimizer = make_optimizer(name, module)
    expected = [list(naive_steps(name, start[index], gradients[:, index].tolist(), rates)) for index in range(count)]
    for step in range(steps):
        set_learning_rate(optimizer, rates[step])
        module.values.grad = gradients[step].clone()
        optimizer.step()
        assert module.values.tolist() == pytest.approx([values[step] for values in expected], rel=1e-4, abs=1e-5)


def test_a_shift_step_by_hand() -> None:
    """t = 1: m = 0.1 * -3, v = 3, AP2(1/3) = 1/4, AP2(0.25 / 0.1) = 2; t = 2: v = 2.997, m = -0.27 + 0.4, AP2(0.25/0.19) = 1."""
    module = _Line([1.0])
    optimizer = make_optimizer("shift_adamax", module)
    assert isinstance(optimizer, ShiftAdaMax)
    set_learning_rate(optimizer, 0.25)
    for gradient, value in ((-3.0, 1 + 2 * 0.3 / 4), (4.0, 1.15 - 1 * 0.13 / 4)):
        module.values.grad = torch.tensor([gradient])
        optimizer.step()
        assert module.values.item() == pytest.approx(value, rel=1e-6)


def test_a_parameter_without_gradient_stays() -> None:
    module = _Line([1.0, 2.0])
    make_optimizer("shift_adamax", module).step()
    assert module.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", NAMES)
def test_binarized_weights_alone_have_a_scaled_learning_rate(name: OptimizerName) -> None:
    """1/sqrt(1.5/(fan_in+fan_out)), a convolution's fans times 9; biases and batch norm go at the rate itself."""
    network = build_network("3C3-4", (4, 4, 2), 5)
    optimizer = make_optimizer(name, network)
    set_learning_rate(optimizer, 0.5)
    fans = [9 * (2 + 3), 2 * 2 * 3 + 4, 4 + 5]
    scales = {id(block.product.weight): math.sqrt(fan / 1.5) for block, fan in zip(network.stages, fans, strict=True)}
    seen = []
    for group in optimizer.param_groups:
        (parameter,) = group["params"]
        assert group["lr"] == pytest.approx(0.5 * scales.get(id(parameter), 1.0), rel=1e-12)
        seen.append(id(parameter))
    assert sorted(seen) == sorted(id(parameter) for parameter in network.parameters())
    weights = [module.weight for module in network.modules() if isinstance(module, BinaryLayer)]
    assert {id(weight) for weight in weights} == set(scales)


@pytest.mark.parametrize("name", NAMES)
def test_a_scale_multiplies_the_step(name: OptimizerName) -> None:
    """The same gradient moves a weight of fans 96 eight times as far as a bias; of the shift-based, by a power of two."""
    network = build_network("", (90,), 6)
    (only,) = network.stages
    optimizer = make_optimizer(name, network)
    set_learning_rate(optimizer, 2.0**-6)
    before = only.product.weight.clone(), only.product.bias.clone()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    moved = [(old - new).flatten() for old, new in zip(before, (only.product.weight, only.product.bias), strict=True)]
    assert torch.allclose(moved[0], 8 * moved[1][0], rtol=1e-4)
    assert (moved[1] > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_state_is_as_it_is_named(name: OptimizerName) -> None:
    """Checkpoints are checked against these names and shapes."""
    network = build_network("3", (4,), 2)
    optimizer = make_optimizer(name, network)
    network(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    parameters = [group["params"][0] for group in optimizer.param_groups]
    state = optimizer.state_dict()["state"]
    assert list(state) == list(range(len(parameters)))
    for index, parameter in enumerate(parameters):
        assert set(state[index]) == {"step", *OPTIMIZER_STATE[name]}
        assert torch.as_tensor(state[index]["step"]).shape == ()
        assert all(state[index][key].shape == parameter.shape for key in OPTIMIZER_STATE[name])
