# SPDX-License-Identifier: Apache-2.0
"""The benchmark's square products: the paper's three kernels, ours, and cuBLAS, each beside an exact reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.gemm import Packed, pack_columns_into, pack_rows_into, prepare_product
from bnn_gpu.launches import Launch, plain_launch
from bnn_gpu.layout import Layout
from bnn_gpu.measure import Bench, How, as_array, as_tensor
from bnn_gpu.products import methods

if TYPE_CHECKING:
    import torch

__all__ = ["QUICK_SIZES", "SIZES", "bench_size"]

SIZES: Final = (1024, 2048, 4096, 8192, 16384, 32768)
QUICK_SIZES: Final = (1024, 8192)
_WHOLE: Final = 8192  # the paper's size, where every row is measured
_PACKED = "packed to packed"
_INT32 = "packed to int32"
_FP32 = "fp32 to fp32, both packings"
_END = "end to end, with transfers"


@dataclass(frozen=True, eq=False)
class _Problem:
    """x [size, size] and w [size, size] of +1 and -1 in float32, b = w's columns; their products; thresholds of matches."""

    size: int
    x: "torch.Tensor"
    w: "torch.Tensor"
    sums: "torch.Tensor"
    thresholds: "torch.Tensor"
    a: Packed
    b: Packed
    packing: tuple[Launch, Launch]

    @property
    def operations(self) -> float:
        """Two for each of size**3 products."""
        return 2.0 * self.size**3


def bench_size(bench: Bench, size: int, seed: int) -> None:
    """Adds all rows of a size on random operands. The reference is cuBLAS in fp32, exact below 2**24, itself checked with numpy."""
    problem = _problem(bench, size, seed)
    _ours(bench, problem)
    if size == _WHOLE:
        _paper(bench, problem)
        _end_to_end(bench, problem)
    _cublas(bench, problem)


def _problem(bench: Bench, size: int, seed: int) -> _Problem:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator(device=bench.torch_device).manual_seed(seed)

    def signs() -> torch.Tensor:
        return torch.randint(0, 2, (size, size), device=bench.torch_device, generator=generator, dtype=torch.int8).float() * 2 - 1

    x, w = signs(), signs()
    thresholds = torch.randint(
        size // 2 - 40, size // 2 + 40, (size,), device=bench.torch_device, generator=generator, dtype=torch.int32
    )
    words = Layout(1, size, 1).row_words
    a, b = (Packed(bench.device.allocate((size, words), "<u4"), size) for _ in range(2))
    packing = pack_rows_into(as_array(x), "float", 0.0, a.words), pack_columns_into(as_array(w), "float", 0.0, b.words)
    for launch in packing:
        bench.device.launch(launch)
    sums = x @ w
    bench.device.synchronize()
    rows = np.random.default_rng(seed).choice(size, 4, replace=False)
    exact = x[rows].cpu().numpy().astype(np.float64) @ w.cpu().numpy().astype(np.float64)
    assert np.array_equal(exact, sums[rows].cpu().numpy()), "the reference is not exact"
    return _Problem(size, x, w, sums, thresholds, a, b, packing)


def _ours(bench: Bench, problem: _Problem) -> None:
    size, device = problem.size, bench.device
    available = methods(device.target)
    for method in available if size == _WHOLE else available[:1]:
        for cluster in (1, 2)[: 1 + device.clusters] if method == "wgmma" else (None,):
            product = prepare_product(
                problem.a, problem.b, device, output="bits", thresholds=as_array(problem.thresholds), method=method, cluster=cluster
            )
            device.launch(product.constants)
            name = f"ours, {method}" + (f", clusters of {cluster}" if cluster else "")
            equal, outputs = partial(_bits_equal, product.out, problem), [product.out]
            _add(bench, problem, name, _PACKED, [product.multiply], equal, outputs)
            if method == available[0]:
                _add(bench, problem, name, f"{_PACKED}, cold L2", [product.multiply], equal, outputs, how="cold")
    name = f"ours, {available[0]}"
    to_int32 = prepare_product(problem.a, problem.b, device)
    device.launch(to_int32.constants)
    check = lambda: _equal(as_tensor(to_int32.out), problem.sums)  # noqa: E731
    _add(bench, problem, name, _INT32, [to_int32.multiply], check, [to_int32.out])
    to_fp32 = prepare_product(problem.a, problem.b, device, output="float32")
    launches, packed = [*problem.packing, to_fp32.constants, to_fp32.multiply], [problem.a.words, problem.b.words]
    check = lambda: _equal(as_tensor(to_fp32.out), problem.sums)  # noqa: E731
    _add(bench, problem, name, _FP32, launches, check, [*packed, to_fp32.out])
    wanted = [as_tensor(words).clone() for words in packed]
    check = lambda: _verdict(sum(int((as_tensor(w) != o).sum()) for w, o in zip(packed, wanted, strict=True)), 2 * len(wanted[0]))  # noqa: E731
    _add(bench, problem, "ours, packing of rows and columns", "fp32 to packed", problem.packing, check, packed, operations=0)


def _paper(bench: Bench, problem: _Problem) -> None:
    import torch

    out = torch.empty_like(problem.sums)
    size, words = problem.size, problem.a.words.shape[1]
    baseline = plain_launch("float_gemm", problem.x.data_ptr(), problem.w.data_ptr(), out.data_ptr(), size, size, size)
    xnor = plain_launch("xnor_gemm_u32", problem.a.words.address, problem.b.words.address, out.data_ptr(), size, size, size, words)
    check = lambda: _equal(out, problem.sums)  # noqa: E731
    _add(bench, problem, "paper: baseline kernel", "fp32 to fp32", [baseline], check, [out])
    _add(bench, problem, "paper: XNOR kernel", "packed to fp32", [xnor], check, [out])
    _add(bench, problem, "paper: XNOR kernel", _FP32, [*problem.packing, xnor], check, [problem.a.words, problem.b.words, out])


def _end_to_end(bench: Bench, problem: _Problem) -> None:
    """From fp32 in page-locked memory of the CPU to fp32 there."""
    import torch

    hosts = [tensor.cpu().pin_memory() for tensor in (problem.x, problem.w)]
    result = torch.empty(problem.sums.shape).pin_memory()
    product = prepare_product(problem.a, problem.b, bench.device, output="float32")
    out = as_tensor(product.out)

    def work() -> None:
        problem.x.copy_(hosts[0], non_blocking=True)
        problem.w.copy_(hosts[1], non_blocking=True)
        for launch in (*problem.packing, product.constants, product.multiply):
            bench.device.launch(launch)
        result.copy_(out, non_blocking=True)

    check = lambda: _equal(result, problem.sums.cpu())  # noqa: E731
    _add(bench, problem, "ours", _END, work, check, [problem.a.words, problem.b.words, product.out, result])

    def cublas() -> None:
        problem.x.copy_(hosts[0], non_blocking=True)
        problem.w.copy_(hosts[1], non_blocking=True)
        result.copy_(problem.x @ problem.w, non_blocking=True)

    _add(bench, problem, "cuBLAS fp32", _END, cublas, check, [result])


def _cublas(bench: Bench, problem: _Problem) -> None:
    import torch

    out = torch.empty_like(problem.sums)

    def multiply(tf32: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.mm(problem.x, problem.w, out=out)
        torch.backends.cuda.matmul.allow_tf32 = False

    check = lambda: _equal(out, problem.sums)  # noqa: E731
    _add(bench, problem, "cuBLAS fp32", "fp32 to fp32", lambda: multiply(False), check, [out])
    _add(bench, problem, "cuBLAS tf32", "fp32 to fp32", lambda: multiply(True), check, [out])
    _cublas_bf16(bench, problem)
    _cublas_int8(bench, problem)
    _cublas_fp8(bench, problem)


def _cublas_bf16(bench: Bench, problem: _Problem) -> None:
    """In bf16, and with a sixteenth of K, which moves as many bytes and takes as many cycles as bits do."""
    import torch

    x, w, rounded = problem.x.bfloat16(), problem.w.bfloat16(), problem.sums.bfloat16()
    out = torch.empty_like(rounded)
    _add(bench, problem, "cuBLAS bf16", "bf16 to bf16", lambda: torch.mm(x, w, out=out), lambda: _rounded(out, rounded), [out])
    narrow = max(1, problem.size // 16)
    thin = x[:, :narrow].contiguous(), w[:narrow].contiguous()
    name, operations = "cuBLAS bf16, K / 16: the bytes of bits", 2.0 * problem.size**2 * narrow
    _add(bench, problem, name, "bf16 to bf16", lambda: torch.mm(*thin, out=out), lambda: "a yardstick", operations=operations)


def _cublas_int8(bench: Bench, problem: _Problem) -> None:
    import torch

    x, w = problem.x.to(torch.int8), problem.w.t().contiguous().to(torch.int8).t()
    last = _Last(lambda: torch._int_mm(x, w))
    _add(bench, problem, "cuBLASLt int8", "int8 to int32", last.compute, lambda: _equal(last.result(), problem.sums))


def _cublas_fp8(bench: Bench, problem: _Problem) -> None:
    import torch

    one = torch.ones((), device=bench.torch_device)
    x, w = problem.x.to(torch.float8_e4m3fn), problem.w.t().contiguous().to(torch.float8_e4m3fn).t()
    last = _Last(lambda: torch._scaled_mm(x, w, scale_a=one, scale_b=one, out_dtype=torch.bfloat16))
    rounded = problem.sums.bfloat16()
    _add(bench, problem, "cuBLASLt fp8", "fp8 to bf16", last.compute, lambda: _rounded(last.result(), rounded))


class _Last:
    """The last result of a call that makes a new tensor each time; it can be taken only once, so a check never sees an old one."""

    def __init__(self, call: "Callable[[], torch.Tensor]") -> None:
        self.call, self.tensors = call, list["torch.Tensor"]()

    def compute(self) -> None:
        self.tensors[:] = [self.call()]

    def result(self) -> "torch.Tensor":
        return self.tensors.pop()


def _add(
    bench: Bench,
    problem: _Problem,
    name: str,
    timed: str,
    work: Callable[[], object] | Sequence[Launch],
    check: Callable[[], str],
    outputs: "Sequence[DeviceArray | torch.Tensor]" = (),
    *,
    operations: float | None = None,
    how: How = "chained",
) -> None:
    operations = problem.operations if operations is None else operations
    bench.add("products", name, timed, f"{problem.size}^3", operations, work, check, outputs=outputs, how=how)


def _equal(found: "torch.Tensor", wanted: "torch.Tensor") -> str:
    wrong = sum(int((part != other).sum()) for part, other in zip(found.split(4096), wanted.split(4096), strict=True))
    return _verdict(wrong, wanted.numel())


def _rounded(found: "torch.Tensor", wanted: "torch.Tensor") -> str:
    return _equal(found, wanted) + " after rounding to bf16"


def _bits_equal(out: DeviceArray, problem: _Problem) -> str:
    import torch

    bits = torch.arange(32, device=problem.sums.device, dtype=torch.int32)
    wrong, size = 0, problem.size
    for words, sums in zip(as_tensor(out).split(1024), problem.sums.split(1024), strict=True):
        found = (words[:, :, None] >> bits & 1).reshape(len(words), -1)[:, :size]
        wrong += int((found.bool() != (sums >= 2 * problem.thresholds - size)).sum())
    return _verdict(wrong, size * size)


def _verdict(wrong: int, count: int) -> str:
    return "equal" if wrong == 0 else f"{wrong:,} of {count:,} differ"
