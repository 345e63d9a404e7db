# SPDX-License-Identifier: Apache-2.0
"""The operator for PyTorch: on the CPU against numpy, its registration by PyTorch's own check, and on a GPU where there is one."""

import numpy as np
import pytest

from bnn_gpu.torch_op import binary_linear
from bnn_hw.errors import ArtefactError
from support.gpu_device import needs_gpu

torch = pytest.importorskip("torch", reason="torch is not installed")


def operands(device: str) -> tuple["torch.Tensor", "torch.Tensor", np.ndarray]:
    rng = np.random.default_rng(6)
    x, weight = rng.normal(size=(5, 70)).astype(np.float32), rng.normal(size=(9, 70)).astype(np.float32)
    x[0, :3] = 0.0, -0.0, np.inf
    wanted = np.where(x >= 0, 1, -1) @ np.where(weight >= 0, 1, -1).T
    return torch.from_numpy(x).to(device), torch.from_numpy(weight).to(device), wanted


def test_on_the_cpu() -> None:
    x, weight, wanted = operands("cpu")
    assert np.array_equal(binary_linear(x, weight).numpy(), wanted)


def test_pytorch_accepts_it() -> None:
    x, weight, _ = operands("cpu")
    binary_linear(x, weight)
    assert set(torch.library.opcheck(torch.ops.bnn_gpu.binary_linear, (x, weight)).values()) == {"SUCCESS"}


def test_it_stands_for_a_trained_layers_products() -> None:
    from bnn_training.binary_layers import BinaryLinear

    layer = BinaryLinear(70, 9).eval()
    x = torch.sign(torch.randn(4, 70, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        wanted = layer(x)
        layer.products = lambda x: binary_linear(x, layer.weight)
        assert torch.equal(layer(x), wanted)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        ((2, 3), (4, 5), r"x and weight must be \[batch, inputs\] and \[outputs, inputs\], not \[2, 3\] and \[4, 5\]"),
        ((2, 0), (4, 0), r"x and weight must be \[batch, inputs\] and \[outputs, inputs\], not \[2, 0\] and \[4, 0\]"),
    ],
)
def test_shapes_that_do_not_fit(x: tuple[int, int], weight: tuple[int, int], message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        binary_linear(torch.zeros(x), torch.zeros(weight))


def test_another_dtype() -> None:
    with pytest.raises(ArtefactError, match=r"^x and weight must be float32, not torch\.float64 and torch\.float32$"):
        binary_linear(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(4, 3))


@pytest.mark.gpu
@needs_gpu
def test_on_the_gpu() -> None:
    x, weight, wanted = operands("cuda")
    assert np.array_equal(binary_linear(x, weight).cpu().numpy(), wanted)
    compiled = torch.compile(lambda x, weight: binary_linear(x, weight) + 1, fullgraph=False)
    assert np.array_equal(compiled(x, weight).cpu().numpy(), wanted + 1)
