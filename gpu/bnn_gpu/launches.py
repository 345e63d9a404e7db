# SPDX-License-Identifier: Apache-2.0
"""Launches: a kernel, its grid and the bytes of its arguments, computed without a GPU.

The fields of each kernel's arguments are those of `struct Arguments` in its file.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from bnn_gpu.products import Method, Output, Product

__all__ = [
    "Geometry",
    "Kernel",
    "Launch",
    "MapMaker",
    "Multiplication",
    "align_launch",
    "argmax_launch",
    "constants_launch",
    "issue_rate_launch",
    "matvec_launch",
    "multiply_launch",
    "pack_columns_launch",
    "pack_rows_launch",
    "plain_launch",
    "pool_launch",
]

_TILE: Final = 128  # rows and columns of a tile in gemm.cu, rows in gemm_sm90.cu
_STAGE_BYTES: Final = 2 * _TILE * 128
_STAGES_SM90: Final = 4
_POINTERS: Final = {"a", "b", "out", "x", "mask", "constants", "place_classes", "thresholds", "scores", "cycles", "sink", "winners"}
_LONGS: Final = {"a_stride", "b_stride", "out_stride", "x_stride"}


@dataclass(frozen=True)
class Kernel:
    """A kernel: its name, which is its file's, and the macros it is compiled with."""

    name: str
    defines: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Launch:
    """A kernel with its grid and arguments. `overlaps`: the kernel itself waits for its predecessor, so it may start early."""

    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: bytes
    shared_bytes: int = 0
    cluster: int = 1
    overlaps: bool = False


class MapMaker(Protocol):
    """A maker of tensor maps for the copy engine, as a device is."""

    @property
    def multiprocessors(self) -> int: ...

    @property
    def clusters(self) -> bool: ...

    def tensor_map(self, address: int, rows: int, row_bytes: int, stride_bytes: int, box_rows: int) -> bytes:
        """Returns a CUtensorMap of bytes [rows, row_bytes] in boxes of 128 bytes of some rows, with the 128-byte swizzle."""
        ...


@dataclass(frozen=True)
class Geometry:
    """Where the rows of a lie: places of a window on images. A dense layer is a 1x1 window on a 1x1 image."""

    places: int = 1
    place_columns: int = 1
    image_rows: int = 1
    image_columns: int = 1
    pixel_words: int = 0
    kernel_columns: int = 1
    stride_rows: int = 1
    stride_columns: int = 1
    above: int = 0
    left: int = 0


@dataclass(frozen=True)
class Multiplication:
    """``out = f(a b^T)``: addresses, strides and row lengths in 32-bit words, and how many rows and columns.

    `constants` and `place_classes` are addresses of the arrays in `Constants`; `out_words` are the words of a row (for a
    convolution of a place) of packed bits. `winners`, for `matvec` alone: the address for the column of the greatest value, or 0.
    """

    a: int
    a_stride: int
    b: int
    b_stride: int
    rows: int
    columns: int
    k_words: int
    out: int
    constants: int
    padded_columns: int
    out_stride: int = 0
    out_words: int = 0
    place_classes: int = 0
    winners: int = 0
    geometry: Geometry | None = None


def multiply_launch(
    maps: MapMaker,
    target: str,
    method: Method,
    product: Product,
    output: Output,
    task: Multiplication,
    *,
    cluster: int | None = None,
    tile_columns: int | None = None,
) -> Launch:
    """Returns the launch of a product by a method that the target has; few dense rows go to `matvec`, without tensor cores.

    `cluster`: how many blocks share b under wgmma, 1 or 2; by default 2 if the device has clusters and rows fill two tiles.
    `tile_columns`: 256, 64 or, except for bits, 16; by default, narrow tiles if all of them are computed at once.
    """
    if method == "wgmma" and task.geometry is None:
        cluster = cluster or (2 if maps.clusters and task.rows > _TILE else 1)
        return _sm90(maps, product, output, task, cluster, tile_columns or _tile_columns(maps, output, task))
    stages = 2 if target == "sm_75" else 3  # of 32 KB: an sm_75 block has at most 64 KB, an sm_86 block 99 KB
    geometry = task.geometry or Geometry(pixel_words=task.k_words)
    vector = next(words for words in (4, 2, 1) if geometry.pixel_words % words == 0)
    fields = {**vars(task), **vars(geometry)}
    del fields["geometry"]
    names = (
        "a b out constants place_classes a_stride b_stride out_stride rows columns k_words padded_columns out_words places "
        "place_columns image_rows image_columns pixel_words kernel_columns stride_rows stride_columns above left"
    )
    kernel = Kernel("gemm", _defines(PRODUCT=product, OUTPUT=output, PAIRS=_pairs(output, task), VECTOR=vector, STAGES=stages))
    tiles = -(-task.rows // _TILE) * -(-task.columns // _TILE)
    return Launch(kernel, (tiles, 1, 1), (256, 1, 1), _arguments(names, fields), stages * _STAGE_BYTES, overlaps=True)


def _sm90(maps: MapMaker, product: Product, output: Output, task: Multiplication, cluster: int, columns: int) -> Launch:
    fields = {**vars(task), "k_bytes": 4 * task.k_words}
    fields["a"] = maps.tensor_map(task.a, task.rows, 4 * task.k_words, 4 * task.a_stride, _TILE)
    fields["b"] = maps.tensor_map(task.b, task.columns, 4 * task.k_words, 4 * task.b_stride, min(128, columns // cluster))
    pairs, tail = _pairs(output, task), -(-task.k_words // 8) % 4
    macros = _defines(PRODUCT=product, OUTPUT=output, PAIRS=pairs, CLUSTER=cluster, COLUMNS=columns, TAIL=tail)
    tiles = -(-task.rows // (cluster * _TILE)) * -(-task.columns // columns)
    names = "a b out constants out_stride rows columns k_bytes padded_columns out_words"
    blocks = cluster * min(tiles, max(1, maps.multiprocessors // cluster))
    shared = _STAGES_SM90 * (_TILE + columns) * 128 + 64
    return Launch(
        Kernel("gemm_sm90", macros), (blocks, 1, 1), (384, 1, 1), _arguments(names, fields), shared, cluster, overlaps=True
    )


def _tile_columns(maps: MapMaker, output: Output, task: Multiplication) -> int:
    """Returns how many columns tiles have: few where the product has no more, or where each multiprocessor gets at most one."""
    if output != Output.BITS and task.columns <= 16:
        return 16
    blocks = -(-task.rows // _TILE) * -(-task.columns // 64)
    return 64 if blocks <= maps.multiprocessors else 256


def _pairs(output: Output, task: Multiplication) -> bool:
    """Returns whether outputs are written two at a time; bits never are, and have one kernel."""
    return output == Output.BITS or task.columns % 2 == 0


def matvec_launch(product: Product, output: Output, task: Multiplication) -> Launch:
    """Returns the launch of a dense product of few rows, bits (POPC) or bytes; each row reads all weights."""
    names = "a b out constants winners a_stride b_stride out_stride rows columns k_words padded_columns out_words"
    words = task.out_words if output == Output.BITS else -(-task.columns // 32)
    kernel = Kernel("matvec", _defines(PRODUCT=product, OUTPUT=output))
    return Launch(kernel, (words, task.rows, 1), (256, 1, 1), _arguments(names, vars(task)), overlaps=True)


def pack_rows_launch(
    x: int,
    x_stride: int,
    ctype: str,
    threshold: float,
    rows: int,
    elements: int,
    words: int,
    out: int,
    out_stride: int,
    pixels: int = 1,
) -> Launch:
    """Returns the launch that packs `rows` of `elements`, `pixels` of them a row of out; `ctype` is the elements' type in C."""
    names = "x out x_stride out_stride rows elements words pixels threshold"
    warps = rows * -(-words // 32)
    return Launch(Kernel("pack_rows", (("BNN_TYPE", ctype),)), (-(-warps // 8), 1, 1), (256, 1, 1), _arguments(names, locals()))


def pack_columns_launch(
    x: int, x_stride: int, ctype: str, threshold: float, elements: int, columns: int, words: int, out: int
) -> Launch:
    """Returns the launch that packs `columns` of `elements` each; `words` is a multiple of 4."""
    names = "x out x_stride elements columns words threshold"
    grid = (-(-columns // 128), min(words // 4, 65535), 1)
    return Launch(Kernel("pack_columns", (("BNN_TYPE", ctype),)), grid, (128, 1, 1), _arguments(names, locals()))


def align_launch(x: int, x_stride: int, rows: int, elements: int, words: int, out: int, out_stride: int, pixels: int) -> Launch:
    """Returns the launch that copies bytes so that pixels start at words and rows at 16 bytes."""
    names = "x out x_stride out_stride rows elements words pixels"
    return Launch(Kernel("align"), (-(-rows * words // 256), 1, 1), (256, 1, 1), _arguments(names, locals()))


def pool_launch(
    x: int,
    x_stride: int,
    out: int,
    out_stride: int,
    mask: int,
    images: int,
    words: int,
    image: tuple[int, int],
    places: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
) -> Launch:
    """Returns the launch of a max pooling of packed bits; pairs are rows and columns."""
    fields = dict(locals())
    for name, pair in (("image", image), ("place", places), ("size", size), ("stride", stride)):
        fields[f"{name}_rows"], fields[f"{name}_columns"] = pair
    names = (
        "x out mask x_stride out_stride images words image_rows image_columns place_rows place_columns size_rows size_columns "
        "stride_rows stride_columns"
    )
    threads = images * places[0] * places[1] * words
    return Launch(Kernel("pool"), (-(-threads // 256), 1, 1), (256, 1, 1), _arguments(names, fields), overlaps=True)


def argmax_launch(scores: int, out: int, rows: int, classes: int) -> Launch:
    """Returns the launch that finds each row's class, the lowest among the greatest."""
    arguments = _arguments("scores out rows classes", locals())
    return Launch(Kernel("argmax"), (-(-rows // 4), 1, 1), (128, 1, 1), arguments, overlaps=True)


def constants_launch(
    product: Product, output: Output, b: int, b_stride: int, thresholds: int, out: int, columns: int, padded_columns: int, bits: int
) -> Launch:
    """Returns the launch that makes the constants of a product with packed rows on the device."""
    names = "b thresholds out b_stride columns padded_columns bits"
    kernel = Kernel("constants", _defines(PRODUCT=product, OUTPUT=output))
    return Launch(kernel, (-(-padded_columns // 8), 1, 1), (256, 1, 1), _arguments(names, locals()))


def plain_launch(name: str, a: int, b: int, out: int, rows: int, columns: int, inner: int, words: int = 0) -> Launch:
    """Returns the launch of one of the paper's own kernels, `float_gemm` or `xnor_gemm_u32`."""
    names = "a b out rows columns inner" if name == "float_gemm" else "a b out rows columns words inner"
    return Launch(Kernel(name), (-(-columns // 16), -(-rows // 16), 1), (16, 16, 1), _arguments(names, locals()))


def issue_rate_launch(product: Product, cycles: int, sink: int, rounds: int, blocks: int) -> Launch:
    """Returns the launch that measures how fast wgmma issues, one block a multiprocessor."""
    kernel = Kernel("issue_rate", (("BNN_PRODUCT", str(int(product))),))
    return Launch(kernel, (blocks, 1, 1), (256, 1, 1), _arguments("cycles sink rounds", locals()), 3 * 128 * 128)


def _defines(**values: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"BNN_{name}", str(int(value))) for name, value in values.items())


def _arguments(names: str, fields: dict[str, object]) -> bytes:
    """Returns the bytes of a struct of these fields in C's layout, filled up to a multiple of 64."""
    dtype = np.dtype([(name, _field_type(name, fields[name])) for name in names.split()], align=True)
    record = np.zeros((), dtype)
    for name in names.split():
        value = fields[name]
        record[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    return record.tobytes() + bytes(-dtype.itemsize % 64)


def _field_type(name: str, value: object) -> object:
    if isinstance(value, bytes):
        return (np.uint8, len(value))
    if name in _POINTERS:
        return np.uint64
    return np.int64 if name in _LONGS else np.float32 if name == "threshold" else np.int32
