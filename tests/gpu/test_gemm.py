# SPDX-License-Identifier: Apache-2.0
"""Packing and products of packed rows, by the kernels on the emulator; what arrays are taken and what are refused."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bnn_gpu
from bnn_gpu.arrays import DeviceArray, stream_handle, take_array
from bnn_gpu.gemm import Packed, prepare_product
from bnn_gpu.launches import plain_launch
from bnn_gpu.layout import Layout, pack_rows, unpack_rows
from bnn_gpu.products import methods
from bnn_hw.errors import ArtefactError
from support.gpu_device import needs_emulator
from support.gpu_emulator import EmulatedDevice


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice([-1, 1], shape)


@needs_emulator
@pytest.mark.parametrize(("dtype", "threshold"), [("float32", None), ("int8", None), ("uint8", 77.0), ("bool", None)])
def test_packing_rows_and_columns(dtype: str, threshold: float | None) -> None:
    rng, device = np.random.default_rng(1), EmulatedDevice()
    if dtype == "float32":
        x = rng.normal(size=(5, 1100)).astype(np.float32)
        x[0, :4] = 0.0, -0.0, np.nan, -np.inf
    else:
        x = rng.integers(0, 256, (5, 1100), np.uint8).astype(dtype)
    least = threshold if threshold is not None else 1 if dtype == "bool" else 0
    with np.errstate(invalid="ignore"):
        wanted = x >= least
    rows = bnn_gpu.pack(device.upload(x), threshold=threshold, device=device)
    assert (rows.rows, rows.bits) == (5, 1100)
    assert np.array_equal(device.download(rows.words), pack_rows(wanted, Layout(1, 1100, 1)))
    columns = bnn_gpu.pack_columns(device.upload(x), threshold=threshold, device=device)
    assert np.array_equal(device.download(columns.words), pack_rows(np.ascontiguousarray(wanted.T), Layout(1, 5, 1)))


@needs_emulator
@pytest.mark.parametrize("target", ["sm_75", "sm_80", "sm_90a"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (130, 131, 1100)])
def test_products_by_every_method(target: str, shape: tuple[int, int, int]) -> None:
    (rows, columns, inner), rng, device = shape, np.random.default_rng(2), EmulatedDevice(target, seed=3)
    x, w = signs(rng, rows, inner), signs(rng, columns, inner)
    a, b = (Packed(device.upload(pack_rows(operand > 0, Layout(1, inner, 1))), inner) for operand in (x, w))
    sums = x @ w.T
    thresholds = rng.integers(0, inner + 2, columns).astype(np.int32)
    fired = (sums + inner) // 2 >= thresholds
    for method in methods(target):
        assert np.array_equal(device.download(bnn_gpu.xnor_gemm(a, b, method=method, device=device)), sums)
        bits = bnn_gpu.xnor_gemm_bits(a, b, device.upload(thresholds), method=method, device=device)
        assert np.array_equal(unpack_rows(device.download(bits.words), Layout(1, columns, 1)), fired)
    assert np.array_equal(device.download(bnn_gpu.xnor_gemm(a, b, dtype="float32", device=device)), sums)


@needs_emulator
@pytest.mark.parametrize("cluster", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_clusters_and_orders_of_threads(cluster: int, seed: int) -> None:
    rng, device = np.random.default_rng(seed), EmulatedDevice("sm_90a", multiprocessors=3, seed=seed)
    x, w, inner = signs(rng, 300, 5300), signs(rng, 270, 5300), 5300
    a, b = (Packed(device.upload(pack_rows(operand > 0, Layout(1, inner, 1))), inner) for operand in (x, w))
    product = prepare_product(a, b, device, cluster=cluster)
    for launch in (product.constants, product.multiply):
        device.launch(launch)
    assert np.array_equal(device.download(product.out), x @ w.T)


@needs_emulator
@pytest.mark.parametrize("cluster", [1, 2])
@pytest.mark.parametrize("tile_columns", [256, 64, 16])
def test_tiles_and_tails(cluster: int, tile_columns: int) -> None:
    """Tiles of each width, with last stages of 4, 1, 2 and 3 products, the last without a stage before."""
    rng, device = np.random.default_rng(tile_columns), EmulatedDevice("sm_90a", multiprocessors=3, seed=cluster)
    for inner in {1: (2048, 700), 2: (1100, 1500)}[cluster]:
        x, w = signs(rng, 140, inner), signs(rng, 75, inner)
        a, b = (Packed(device.upload(pack_rows(operand > 0, Layout(1, inner, 1))), inner) for operand in (x, w))
        thresholds = rng.integers(inner // 2 - 30, inner // 2 + 30, 75).astype(np.int32)
        thresholds[[3, 40]] = np.iinfo(np.int32).max, np.iinfo(np.int32).min
        bits = tile_columns > 16
        product = prepare_product(
            a,
            b,
            device,
            output="bits" if bits else "int32",
            thresholds=device.upload(thresholds) if bits else None,
            cluster=cluster,
            tile_columns=tile_columns,
        )
        tail = dict(product.multiply.kernel.defines)["BNN_TAIL"]
        assert tail == {2048: "0", 1100: "1", 1500: "2", 700: "3"}[inner]
        for launch in (product.constants, product.multiply):
            device.launch(launch)
        found = device.download(product.out)
        if bits:
            assert np.array_equal(unpack_rows(found, Layout(1, 75, 1)), (x @ w.T + inner) // 2 >= thresholds)
        else:
            assert np.array_equal(found, x @ w.T)


@pytest.mark.parametrize(
    ("rows", "columns", "output", "wanted"),
    [(16, 4096, "bits", "64"), (128, 4096, "bits", "64"), (257, 4096, "bits", "256"), (10_000, 10, "int32", "16")],
)
def test_tiles_are_narrow_where_wide_ones_leave_multiprocessors_idle(rows: int, columns: int, output: str, wanted: str) -> None:
    device = EmulatedDevice("sm_90a", multiprocessors=132)
    a, b = (Packed(DeviceArray(256, (extent, 4), np.dtype("<u4"), None), 128) for extent in (rows, columns))
    thresholds = device.upload(np.zeros(columns, np.int32)) if output == "bits" else None
    product = prepare_product(a, b, device, output=output, thresholds=thresholds)  # type: ignore[arg-type]
    assert dict(product.multiply.kernel.defines)["BNN_COLUMNS"] == wanted


@needs_emulator
def test_the_papers_kernels() -> None:
    rng, device = np.random.default_rng(3), EmulatedDevice()
    x, w = signs(rng, 35, 70).astype(np.float32), signs(rng, 70, 20).astype(np.float32)
    a, b = device.upload(x), device.upload(w)
    packed = bnn_gpu.pack(a, device=device), bnn_gpu.pack_columns(b, device=device)
    out = device.allocate((35, 20), "<f4")
    device.launch(plain_launch("float_gemm", a.address, b.address, out.address, 35, 20, 70))
    assert np.array_equal(device.download(out), x @ w)
    out = device.allocate((35, 20), "<f4")
    words = [operand.words for operand in packed]
    device.launch(plain_launch("xnor_gemm_u32", words[0].address, words[1].address, out.address, 35, 20, 70, words[0].shape[1]))
    assert np.array_equal(device.download(out), x @ w)


@needs_emulator
def test_a_kernel_that_reads_too_early_is_found() -> None:
    """The emulator can fail: memory that nobody wrote, and copies that nobody waits for, give wrong sums."""
    device = EmulatedDevice()
    x = signs(np.random.default_rng(4), 4, 64)
    a = Packed(device.upload(pack_rows(x > 0, Layout(1, 64, 1))), 64)
    product = prepare_product(a, a, device)
    device.launch(product.multiply)  # without its constants
    assert not np.array_equal(device.download(product.out), x @ x.T)


def test_binary_products_that_do_not_fit() -> None:
    device = EmulatedDevice("sm_80")

    def packed(rows: int, bits: int) -> Packed:
        return Packed(DeviceArray(256, (rows, Layout(1, bits, 1).row_words), np.dtype("<u4"), None), bits)

    for message, call in (
        (
            "both operands must have as many bits in a row, not 64 and 65",
            lambda: prepare_product(packed(2, 64), packed(2, 65), device),
        ),
        (
            "the product must have at most 2,147,483,648 elements, not 65,536 x 32,769; split it",
            lambda: prepare_product(packed(65536, 64), packed(32769, 64), device),
        ),
        (
            "method must be one of mma, popc on sm_80, not 'wgmma'",
            lambda: prepare_product(packed(1, 64), packed(1, 64), device, method="wgmma"),
        ),
        (
            "rows must have fewer than 1,073,741,824 bits, not 1,073,741,824",
            lambda: prepare_product(packed(1, 1 << 30), packed(1, 1 << 30), device),
        ),
        (
            "thresholds go with an output of bits, and only with it",
            lambda: prepare_product(packed(1, 64), packed(1, 64), device, output="bits"),
        ),
        (
            r"thresholds must be \[1\] int32, not \[2\] int32",
            lambda: bnn_gpu.xnor_gemm_bits(packed(1, 64), packed(1, 64), device.upload(np.zeros(2, np.int32)), device=device),
        ),
    ):
        with pytest.raises(ArtefactError, match=f"^{message}$"):
            call()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 0), np.float32), r"x must be \[rows, elements\], each at least 1, not \[2, 0\]"),
        (np.zeros((0, 2), np.float32), r"x must be \[rows, elements\], each at least 1, not \[0, 2\]"),
        (np.zeros(4, np.float32), r"x must be \[rows, elements\], each at least 1, not \[4\]"),
        (np.zeros((2, 2), np.float64), r"x must be one of float32, int8, uint8, bool, not float64"),
    ],
)
def test_what_cannot_be_packed(x: np.ndarray, message: str) -> None:
    device = EmulatedDevice()
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        bnn_gpu.pack(device.upload(x), device=device)


@dataclass
class Foreign:
    """An array of someone else's, as `__cuda_array_interface__` describes it."""

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    typestr: str = "<f4"
    address: int = 4096
    stream: int | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = {
            "shape": self.shape,
            "typestr": self.typestr,
            "data": (self.address, True),
            "strides": self.strides,
            "version": 3,
        }
        return described if self.stream is None else {**described, "stream": self.stream}


def test_arrays_are_taken_where_they_are() -> None:
    taken = take_array(Foreign((3, 5)), "x")
    assert (taken.address, taken.shape, taken.dtype, taken.stride) == (4096, (3, 5), np.dtype("<f4"), 5)
    apart = take_array(Foreign((3, 5), (32, 4)), "x")
    assert apart.stride == 8
    assert apart.__cuda_array_interface__["strides"] == (32, 4)
    assert take_array(apart, "x") is apart
    assert take_array(Foreign((1, 5), (4, 4)), "x").stride == 5  # the stride of a single row means nothing


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"x must be in the memory of a CUDA device, not of the CPU; move it there, as with \.cuda\(\) in torch"),
        ([1, 2], r"x must be an array on a CUDA device \(torch, CuPy, DLPack\), not list"),
        (
            Foreign((3, 5), (4, 12)),
            r"x must have its rows' elements one after the other, not strides of \(4, 12\); make it contiguous",
        ),
        (
            Foreign((3, 5), (10, 4)),
            r"x must have its rows' elements one after the other, not strides of \(10, 4\); make it contiguous",
        ),
        (
            Foreign((3, 5), (-20, 4)),
            r"x must have its rows' elements one after the other, not strides of \(-20, 4\); make it contiguous",
        ),
        (Foreign((65536, 32769)), r"x must have at most 2,147,483,648 elements, not 2,147,549,184; split it"),
        (Foreign((3, 5), address=4098), r"x must be aligned to its elements of 4 bytes, not at address 0x1002"),
    ],
)
def test_arrays_that_are_refused(value: object, message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        take_array(value, "x")


def test_dlpack() -> None:
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    x = np.arange(12, dtype=np.float32).reshape(3, 4)

    class Provider:
        def __dlpack__(self, **options: object) -> object:
            streams.append(options.pop("stream", None))
            return x[:, :3].__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return devices.pop()

    streams, devices = list[object](), [(1, 0), (2, 0)]  # on a GPU when it is asked first, then truly
    taken = take_array(Provider(), "x", 5)
    assert (taken.address, taken.shape, taken.dtype, taken.stride) == (x.ctypes.data, (3, 3), np.dtype("<f4"), 4)


def test_streams() -> None:
    @dataclass
    class Torch:
        cuda_stream: int = 7

    @dataclass
    class Cupy:
        ptr: int = 8

    assert stream_handle(5) == 5
    assert stream_handle(Torch()) == 7
    assert stream_handle(Cupy()) == 8
    assert stream_handle(None, Foreign((3,))) == 0
    assert stream_handle(None, Foreign((3,)), Foreign((3,), stream=9)) == 9
    with pytest.raises(ArtefactError, match=r"^stream must be a stream of torch, CuPy or cuda\.core or its handle, not str$"):
        stream_handle("s")
