# SPDX-License-Identifier: Apache-2.0
"""Binary matrix products of arrays in GPU memory: packing, and products of packed rows to sums or to packed bits."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from bnn_gpu.arrays import MAX_ELEMENTS, DeviceArray, stream_handle, take_array
from bnn_gpu.device import device_of, open_device
from bnn_gpu.inference import Executor
from bnn_gpu.launches import Launch, Multiplication, constants_launch, multiply_launch, pack_columns_launch, pack_rows_launch
from bnn_gpu.layout import Layout
from bnn_gpu.products import PADDED_COLUMNS, VALUE_LIMIT, Method, Output, bit_product, methods
from bnn_hw.errors import ArtefactError

__all__ = [
    "Packed",
    "Product2D",
    "binary_linear",
    "pack",
    "pack_columns",
    "pack_columns_into",
    "pack_rows_into",
    "prepare_product",
    "xnor_gemm",
    "xnor_gemm_bits",
]

_CTYPES: Final = {"float32": "float", "int8": "signed char", "uint8": "unsigned char", "bool": "unsigned char"}


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of bits in GPU memory: `words` [rows, row words] uint32, bit 0 first, zero-padded to a multiple of 4 words a row."""

    words: DeviceArray
    bits: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.words.shape[0]


def pack(x: object, *, threshold: float | None = None, stream: object = None, device: Executor | None = None) -> Packed:
    """Packs the rows of [rows, elements] float32, int8, uint8 or bool: a bit is ``x >= threshold``.

    Without a threshold that is the sign, with ``sign(0) = +1`` (for bool and uint8: not zero). NaN is bit 0. Raises
    `ArtefactError` for another dtype or shape, and for an array without rows or elements.
    """
    array, ctype, threshold, device, handle = _taken(x, threshold, stream, device)
    rows, elements = array.shape
    words = device.allocate((rows, Layout(1, elements, 1).row_words), "<u4")
    device.launch(pack_rows_into(array, ctype, threshold, words), handle)
    return Packed(words, elements)


def pack_columns(x: object, *, threshold: float | None = None, stream: object = None, device: Executor | None = None) -> Packed:
    """Packs the columns of [elements, columns], each to a row of bits; the rest is as for `pack`."""
    array, ctype, threshold, device, handle = _taken(x, threshold, stream, device)
    elements, columns = array.shape
    words = device.allocate((columns, Layout(1, elements, 1).row_words), "<u4")
    device.launch(pack_columns_into(array, ctype, threshold, words), handle)
    return Packed(words, elements)


def pack_rows_into(array: DeviceArray, ctype: str, threshold: float, words: DeviceArray) -> Launch:
    """Returns the launch that packs an array's rows into words."""
    (rows, elements), row_words = array.shape, words.shape[1]
    return pack_rows_launch(array.address, array.stride, ctype, threshold, rows, elements, row_words, words.address, row_words)


def pack_columns_into(array: DeviceArray, ctype: str, threshold: float, words: DeviceArray) -> Launch:
    """Returns the launch that packs an array's columns into words."""
    (elements, columns), row_words = array.shape, words.shape[1]
    return pack_columns_launch(array.address, array.stride, ctype, threshold, elements, columns, row_words, words.address)


@dataclass(frozen=True, eq=False)
class Product2D:
    """A product of packed rows, prepared: two launches and their outputs. The `constants` launch must run once for each b."""

    constants: Launch
    multiply: Launch
    out: DeviceArray
    memory: tuple[DeviceArray, ...]


def prepare_product(
    a: Packed,
    b: Packed,
    device: Executor,
    *,
    output: Literal["bits", "int32", "float32"] = "int32",
    thresholds: DeviceArray | None = None,
    method: Method | None = None,
    cluster: int | None = None,
    tile_columns: int | None = None,
) -> Product2D:
    """Returns the launches of ``a b^T``; with `thresholds` [b.rows] int32 of matches, of the bits ``matches >= threshold``.

    `method`: ``wgmma``, ``mma`` or ``popc``, by default the device's best. `cluster` and `tile_columns` are
    as for `multiply_launch`. Raises `ArtefactError` if a and b do not fit together.
    """
    possible = methods(device.target)
    if method is not None and method not in possible:
        raise ArtefactError(f"method must be one of {', '.join(possible)} on {device.target}, not {method!r}")
    if a.bits != b.bits:
        raise ArtefactError(f"both operands must have as many bits in a row, not {a.bits:,} and {b.bits:,}")
    if a.rows * b.rows > MAX_ELEMENTS:
        raise ArtefactError(f"the product must have at most {MAX_ELEMENTS:,} elements, not {a.rows:,} x {b.rows:,}; split it")
    if a.bits >= VALUE_LIMIT:
        raise ArtefactError(f"rows must have fewer than {VALUE_LIMIT:,} bits, not {a.bits:,}")
    kind = Output[output.upper()]
    if (thresholds is None) == (kind == Output.BITS):
        raise ArtefactError("thresholds go with an output of bits, and only with it")
    if thresholds is not None and (thresholds.shape != (b.rows,) or thresholds.dtype != np.int32):
        raise ArtefactError(f"thresholds must be [{b.rows}] int32, not {list(thresholds.shape)} {thresholds.dtype}")
    chosen = method or possible[0]
    product = bit_product(device.target, chosen)
    padded, row_words = -(-b.rows // PADDED_COLUMNS) * PADDED_COLUMNS, Layout(1, b.rows, 1).row_words
    constants = device.allocate((1 if kind == Output.BITS else 2, padded), "<i4")
    out = device.allocate(
        (a.rows, row_words if kind == Output.BITS else b.rows), {"bits": "<u4", "int32": "<i4"}.get(output, "<f4")
    )
    task = Multiplication(
        a=a.words.address,
        a_stride=a.words.stride,
        b=b.words.address,
        b_stride=b.words.stride,
        rows=a.rows,
        columns=b.rows,
        k_words=a.words.shape[1],
        out=out.address,
        constants=constants.address,
        padded_columns=padded,
        out_stride=row_words,
        out_words=row_words,
    )
    address = 0 if thresholds is None else thresholds.address
    prepare = constants_launch(product, kind, b.words.address, b.words.stride, address, constants.address, b.rows, padded, b.bits)
    multiply = multiply_launch(device, device.target, chosen, product, kind, task, cluster=cluster, tile_columns=tile_columns)
    return Product2D(prepare, multiply, out, (a.words, b.words, constants, *([thresholds] if thresholds else [])))


def xnor_gemm(
    a: Packed,
    b: Packed,
    *,
    dtype: Literal["int32", "float32"] = "int32",
    method: Method | None = None,
    stream: object = None,
    device: Executor | None = None,
) -> DeviceArray:
    """Returns the sums of products of +1 and -1: [a.rows, b.rows] int32, or float32 (exact up to 2**24 bits)."""
    device = device or open_device(device_of(a.words, "a"))
    return _run(prepare_product(a, b, device, output=dtype, method=method), device, stream_handle(stream))


def xnor_gemm_bits(
    a: Packed,
    b: Packed,
    thresholds: object,
    *,
    method: Method | None = None,
    stream: object = None,
    device: Executor | None = None,
) -> Packed:
    """Returns ``popcount(xnor(a, b)) >= threshold``, packed for the next layer; `thresholds`: [b.rows] int32 of matches."""
    device = device or open_device(device_of(a.words, "a"))
    handle = stream_handle(stream, thresholds)
    taken = take_array(thresholds, "thresholds", handle)
    product = prepare_product(a, b, device, output="bits", thresholds=taken, method=method)
    return Packed(_run(product, device, handle), b.rows)


def binary_linear(x: object, weight: object, *, stream: object = None, device: Executor | None = None) -> DeviceArray:
    """Returns ``sign(x) sign(weight)^T``: [batch, inputs] and [outputs, inputs] float32 to [batch, outputs] float32."""
    handle = stream_handle(stream, x, weight)
    device = device or open_device(device_of(take_array(x, "x"), "x"))
    packed = [pack(operand, stream=handle, device=device) for operand in (x, weight)]
    return xnor_gemm(*packed, dtype="float32", stream=handle, device=device)


def _run(product: Product2D, device: Executor, stream: int) -> DeviceArray:
    device.launch(product.constants, stream)
    device.launch(product.multiply, stream)
    out = product.out
    return DeviceArray(out.address, out.shape, out.dtype, (out.owner, product.memory))  # keeps the operands alive


def _taken(
    x: object, threshold: float | None, stream: object, device: Executor | None
) -> tuple[DeviceArray, str, float, Executor, int]:
    handle = stream_handle(stream, x)
    array = take_array(x, "x", handle)
    if array.dtype.name not in _CTYPES:
        raise ArtefactError(f"x must be one of {', '.join(_CTYPES)}, not {array.dtype.name}")
    if len(array.shape) != 2 or not array.size:
        raise ArtefactError(f"x must be [rows, elements], each at least 1, not {list(array.shape)}")
    if threshold is None:
        threshold = 1.0 if array.dtype.name in ("bool", "uint8") else 0.0
    return array, _CTYPES[array.dtype.name], threshold, device or open_device(device_of(array, "x")), handle
