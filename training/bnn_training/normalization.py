# SPDX-License-Identifier: Apache-2.0
"""Batch normalization, plain and shift-based, over one process or all of a distributed training."""

from typing import Final

import torch
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from bnn_training.distributed import processes

__all__ = ["BatchNorm", "ShiftBatchNorm", "power_of_two", "round_to_power_of_two_"]


_MANTISSA_BITS: Final = 23  # of float32
_CARRY: Final = (1 << _MANTISSA_BITS) - 0x3504F4  # added to a mantissa above that of sqrt(2), this carries into the exponent


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        return round_to_power_of_two_(x.clone())

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def round_to_power_of_two_(x: torch.Tensor) -> torch.Tensor:
    """Replaces each element of `x`, float32, by its `power_of_two`, in place; returns `x`."""
    x.view(torch.int32).add_(_CARRY).bitwise_and_(-(1 << _MANTISSA_BITS))
    return x


def power_of_two(x: torch.Tensor) -> torch.Tensor:
    """Returns ``AP2(x) = sign(x) * 2**round(log2|x|)``, the power of two next to `x`, of its shape; 0 for 0.

    `x`: float32; below 2**-126 the result is 0 or 2**-126. A product with the result is a shift (Hubara et al. 2016, algorithm 3).
    The gradient passes straight through: ``dL/dx = dL/dAP2``.
    """
    return _PowerOfTwo.apply(x)


class BatchNorm(nn.Module):
    """Batch norm of each channel: [batch, channels, ...] to the same shape (Ioffe and Szegedy 2015).

    ``y = (x - mean) / sqrt(variance + epsilon) * weight + bias``, in training with the batch's mean and variance, in eval
    mode with the running ones, in which a new batch has the weight `momentum`. In a distributed training the batch is
    that of all processes.

    `weight`, `bias`, `running_mean` and `running_var`: [channels] float32.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int, epsilon: float = 1e-4, momentum: float = 0.1) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    @property
    def slope(self) -> torch.Tensor:
        """The factor of ``x - running_mean`` in eval mode: [channels] float32."""
        return self.weight / torch.sqrt(self.running_var + self.epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return self._normalized_by_batch(x)
        # Each operation is rounded on its own, so that a value gives the same in a tensor of any shape, which the kernels
        # of batch norm do not promise.
        return (x - _along(self.running_mean, x)) * _along(self.slope, x) + _along(self.bias, x)

    def _normalized_by_batch(self, x: torch.Tensor) -> torch.Tensor:
        if processes() == 1:
            statistics = self.running_mean, self.running_var
            return functional.batch_norm(x, *statistics, self.weight, self.bias, True, self.momentum, self.epsilon)
        x = x.float()
        mean = _mean(x)
        centred = x - _along(mean, x)
        variance = _mean(centred.square())
        self._follow(mean, variance, x)
        return centred * _along(self.weight / torch.sqrt(variance + self.epsilon), x) + _along(self.bias, x)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, x: torch.Tensor) -> None:
        """Moves the running statistics towards those of the batch `x`; the variance is without bias, as PyTorch's is."""
        count = x.numel() // x.shape[1] * processes()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class ShiftBatchNorm(BatchNorm):
    """Shift-based batch norm, in which products are by powers of two (Hubara et al. 2016, algorithm 3).

    With c = x - mean and AP2 as in `power_of_two`:

        variance = mean(c * AP2(c))
        y = c * AP2(1 / sqrt(variance + epsilon)) * AP2(weight) + bias

    in training; in eval mode with the running mean and variance. Its function of x is as monotone as plain batch norm's, so
    it folds into the same integer thresholds.
    """

    @property
    def slope(self) -> torch.Tensor:
        """The factor of ``x - running_mean`` in eval mode, a power of two: [channels] float32."""
        return power_of_two(self.weight) * power_of_two(torch.rsqrt(self.running_var + self.epsilon))

    def _normalized_by_batch(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        mean = _mean(x)
        centred = x - _along(mean, x)
        variance = _mean(centred * power_of_two(centred))
        self._follow(mean, variance, x)
        slope = power_of_two(self.weight) * power_of_two(torch.rsqrt(variance + self.epsilon))
        return centred * _along(slope, x) + _along(self.bias, x)


def _mean(x: torch.Tensor) -> torch.Tensor:
    """Returns each channel's mean over the batch of all processes, which have equally many images: [channels]."""
    mean = x.mean([axis for axis in range(x.dim()) if axis != 1])
    return all_reduce(mean) / processes() if processes() > 1 else mean


def _along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Returns a value for each channel, [channels], in a shape that broadcasts with [batch, channels, ...]."""
    return values.view(-1, *[1] * (x.dim() - 2))
