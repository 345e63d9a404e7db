# SPDX-License-Identifier: Apache-2.0
"""Binarization, deterministic and stochastic, with the straight-through gradient."""

import torch

__all__ = ["binary_weights", "sign", "stochastic_sign"]


class _Windowed(torch.autograd.Function):
    """Gives `binary`, and passes its gradient to x where |x| <= 1."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor, binary: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return binary

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        past_one = 1 + torch.finfo(x.dtype).eps  # the least number above 1: the bounds of hardtanh themselves give 0
        return torch.ops.aten.hardtanh_backward(gradient, x, -past_one, past_one), None


class _Unwindowed(torch.autograd.Function):
    """Gives `binary`, and passes its gradient to x."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor, binary: torch.Tensor) -> torch.Tensor:
        ctx.dtype = x.dtype  # type: ignore[attr-defined]
        return binary

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.to(ctx.dtype), None  # type: ignore[attr-defined]


def sign(x: torch.Tensor) -> torch.Tensor:
    """Returns the sign of `x`, of its shape and dtype: deterministic binarization (Hubara et al. 2016, equation 1).

    ``sign(x) = +1 if x >= 0, -1 if x < 0``; zero counts as positive, in PyTorch, numpy, RTL and CUDA alike.

    The gradient is the straight-through estimator (equation 4): ``dL/dx = dL/dsign if |x| <= 1, 0 if |x| > 1``.
    """
    return _Windowed.apply(x, _sign(x))


def stochastic_sign(x: torch.Tensor) -> torch.Tensor:
    """Returns +1 or -1 by chance, of the shape and dtype of `x`: stochastic binarization (Hubara et al. 2016, equation 2).

    ``+1 with probability hard_sigmoid(x) = clip((x + 1) / 2, 0, 1), else -1``; so from 1 on it is +1 and up to -1 it is -1,
    always. Draws come from PyTorch's own generator of the device.

    The gradient is that of `sign`: ``dL/dx = dL/dresult if |x| <= 1, 0 if |x| > 1``.
    """
    return _Windowed.apply(x, _stochastic_sign(x))


def binary_weights(weight: torch.Tensor, dtype: torch.dtype | None = None, *, stochastic: bool = False) -> torch.Tensor:
    """Returns weights binarized as by `sign`, or as by `stochastic_sign`, of its shape, in `dtype` or its own.

    The gradient passes straight through: ``dL/dw = dL/dresult`` (Courbariaux et al. 2015, algorithm 1). In [-1, 1], where
    clipping keeps the weights, that is the gradient of `sign`.
    """
    dtype = dtype or weight.dtype
    with torch.no_grad():
        if stochastic:
            binary = _stochastic_sign(weight).to(dtype)
        else:  # in place, since allocating a large matrix costs more than writing it
            binary = weight.to(dtype, copy=True).add_(0)
            torch.copysign(torch.ones((), dtype=dtype, device=weight.device), binary, out=binary)
    return _Unwindowed.apply(weight, binary)


@torch.no_grad()
def _sign(x: torch.Tensor) -> torch.Tensor:
    # Adding 0 turns -0 into +0. Several times faster than a comparison and a choice.
    return torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x + 0)


@torch.no_grad()
def _stochastic_sign(x: torch.Tensor) -> torch.Tensor:
    draws = torch.empty_like(x, dtype=torch.float32).uniform_(-1, 1)  # of -1 <= draw < 1, (x + 1) / 2 lie below x
    return torch.where(draws < x, 1.0, -1.0).to(x.dtype)
