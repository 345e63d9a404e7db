# SPDX-License-Identifier: Apache-2.0
"""The papers' optimizers, with the learning rate of binarized weights scaled."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import nn

from bnn_training.binary_layers import BinaryLayer
from bnn_training.normalization import power_of_two, round_to_power_of_two_

__all__ = ["OPTIMIZER_STATE", "OptimizerName", "ShiftAdaMax", "make_optimizer", "set_learning_rate"]

OptimizerName: TypeAlias = Literal["adam", "adamax", "shift_adamax"]

# The tensors that each optimizer keeps of a parameter, all of its shape, beside the number of its steps.
OPTIMIZER_STATE: Final[dict[OptimizerName, tuple[str, ...]]] = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamax": ("exp_avg", "exp_inf"),
    "shift_adamax": ("exp_avg", "exp_inf"),
}


class ShiftAdaMax(torch.optim.Optimizer):
    """Shift-based AdaMax, whose products are by powers of two (Hubara et al. 2016, algorithm 4; AdaMax: Kingma and Ba 2015).

    With the gradient g, t the number of the step, and AP2 as in `bnn_training.normalization.power_of_two`:

        m = beta1 * m + (1 - beta1) * g
        v = max(beta2 * v, |g|)
        parameter = parameter - AP2(learning rate / (1 - beta1**t)) * m * AP2(1 / (v + epsilon))
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 2**-10,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 2**-27,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Makes one step with the gradients that the parameters hold."""
        assert closure is None
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], beta1, beta2, group["eps"])

    def _update(self, parameter: torch.Tensor, learning_rate: float, beta1: float, beta2: float, epsilon: float) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_inf"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        mean, greatest = state["exp_avg"], state["exp_inf"]
        mean.lerp_(parameter.grad, 1 - beta1)
        torch.maximum(greatest.mul_(beta2), parameter.grad.abs(), out=greatest)
        size = power_of_two(torch.tensor(learning_rate / (1 - beta1 ** state["step"].item()))).item()
        inverse = round_to_power_of_two_((greatest + epsilon).reciprocal_())
        parameter.addcmul_(mean, inverse, value=-size)


def make_optimizer(name: OptimizerName, network: nn.Module) -> torch.optim.Optimizer:
    """Returns an optimizer with a group for each parameter; `scale` in a group multiplies the learning rate."""
    groups: list[dict[str, Any]] = []
    for module in network.modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            binarized = isinstance(module, BinaryLayer) and parameter_name == "weight"
            groups.append({"params": [parameter], "scale": module.learning_rate_scale if binarized else 1.0})
    match name:
        case "adam":
            return torch.optim.Adam(groups, fused=True)
        case "adamax":
            return torch.optim.Adamax(groups)
        case "shift_adamax":
            return ShiftAdaMax(groups)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of the next steps, scaled for each parameter."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]
