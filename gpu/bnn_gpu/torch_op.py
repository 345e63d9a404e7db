# SPDX-License-Identifier: Apache-2.0
"""The binary linear layer as an operator of PyTorch, so that a trained model can run its evaluation on the kernels.

``torch.ops.bnn_gpu.binary_linear(x, weight)`` is ``sign(x) @ sign(weight).T`` with ``sign(0) = +1``: packed and multiplied as bits
on a GPU, in float32 elsewhere, with the same result. In a model of `bnn_training`, for a layer whose inputs are signs already::

    layer.products = lambda x: binary_linear(x, layer.weight)

It has no gradient. Importing this module imports torch; nothing else in bnn_gpu does.
"""

from typing import TYPE_CHECKING

from bnn_gpu import gemm
from bnn_hw.errors import ArtefactError, ToolError

if TYPE_CHECKING:
    import torch

__all__ = ["binary_linear", "register"]


def binary_linear(x: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """Returns ``sign(x) @ sign(weight).T``: [batch, inputs] and [outputs, inputs] float32 to [batch, outputs] float32.

    Raises `ArtefactError` for other shapes or dtypes, `ToolError` where PyTorch is missing.
    """
    register()
    import torch

    result: torch.Tensor = torch.ops.bnn_gpu.binary_linear(x, weight)
    return result


def register() -> None:
    """Registers the operator with PyTorch, once. Raises `ToolError` where PyTorch is missing or too old."""
    try:
        import torch
    except ImportError as error:
        raise ToolError("torch, whose operator this is, is not installed: pip install torch") from error
    if hasattr(torch.ops.bnn_gpu, "binary_linear"):
        return
    if not hasattr(torch.library, "custom_op"):
        raise ToolError(f"torch must be of version 2.4 or newer, not {torch.__version__}")

    def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        check(x, weight)
        signs = [torch.where(operand >= 0, 1.0, -1.0) for operand in (x, weight)]
        return signs[0] @ signs[1].T

    operator = torch.library.custom_op("bnn_gpu::binary_linear", linear, mutates_args=())

    @operator.register_kernel("cuda")
    def cuda(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        check(x, weight)
        out = gemm.binary_linear(x.detach().contiguous(), weight.detach().contiguous())
        return torch.as_tensor(out, device=x.device)

    @operator.register_fake
    def shape(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        check(x, weight)
        return x.new_empty((x.shape[0], weight.shape[0]))

    def check(x: torch.Tensor, weight: torch.Tensor) -> None:
        if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or x.shape[1] == 0:
            raise ArtefactError(
                f"x and weight must be [batch, inputs] and [outputs, inputs], not {list(x.shape)} and {list(weight.shape)}"
            )
        if x.dtype != torch.float32 or weight.dtype != torch.float32:
            raise ArtefactError(f"x and weight must be float32, not {x.dtype} and {weight.dtype}")
        if x.device != weight.device:
            raise ArtefactError(f"x and weight must be on one device, not {x.device} and {weight.device}")
