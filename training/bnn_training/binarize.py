# SPDX-License-Identifier: Apache-2.0
"""Binarization with the straight-through gradient."""

import torch

__all__ = ["sign"]


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        # Adding 0 turns -0 into +0. Several times faster than a comparison and a choice.
        return torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x + 0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        past_one = 1 + torch.finfo(x.dtype).eps  # the least number above 1: the bounds of hardtanh themselves give 0
        return torch.ops.aten.hardtanh_backward(gradient, x, -past_one, past_one)


def sign(x: torch.Tensor) -> torch.Tensor:
    """Returns the sign of `x`, of its shape and dtype: deterministic binarization (Hubara et al. 2016, equation 1).

    ``sign(x) = +1 if x >= 0, -1 if x < 0``; zero counts as positive, in PyTorch, numpy, RTL and CUDA alike.

    The gradient is the straight-through estimator (equation 4): ``dL/dx = dL/dsign if |x| <= 1, 0 if |x| > 1``.
    """
    return _Sign.apply(x)
