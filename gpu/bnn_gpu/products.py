# SPDX-License-Identifier: Apache-2.0
"""Which instruction multiplies on which GPU, and the kernels' constants for it.

Inputs are ``x = a``, ``a - 128`` or, for bits, ``2a - 1``; outside of an image a is 0 and x is the padding's value v. With weights
w of +1 and -1 (as bits b), a neuron's sum over a window is, exactly, ::

    sum = scale * value - base,   base = origin * sum(w inside) - v * sum(w outside)

where for bits ``scale = 2``, ``origin = 1`` and ``value = sum(w * a) = 2 popc(a & b) - popc(a) = popc(b) - popc(a ^ b)``, and for
integers ``scale = 1``, ``origin = 0`` or 128 and ``value = sum(w * a)``. So all three paddings, and pixels that become ``int8``
less 128, differ in constants only, one row of them for each set of window pixels that lie inside.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, TypeAlias

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import Conv, Dense, Scores, Signal, WeightLayer, least_sums

__all__ = [
    "METHODS",
    "PADDED_COLUMNS",
    "VALUE_LIMIT",
    "Constants",
    "Method",
    "Output",
    "Product",
    "bit_product",
    "layer_constants",
    "methods",
]

Method: TypeAlias = Literal["wgmma", "mma", "popc"]
METHODS: Final[tuple[Method, ...]] = ("wgmma", "mma", "popc")  # the fastest first
PADDED_COLUMNS: Final = 256  # constants are padded to the widest tile
VALUE_LIMIT: Final = 1 << 30  # above all values; thresholds are clipped to it, so that value - threshold is an int32


class Product(IntEnum):
    """What is summed; the kernels' `Product`."""

    POPC = 0
    XOR = 1
    AND = 2
    U8 = 3
    S8 = 4


class Output(IntEnum):
    """What a kernel writes; the kernels' `Output`."""

    BITS = 0
    INT32 = 1
    FLOAT32 = 2


def methods(target: str, element_bits: int = 1) -> tuple[Method, ...]:
    """Returns how a target, as ``sm_90a``, can multiply bits or bytes by tensor cores or without, the best first.

    Tensor cores from sm_100 on have no instruction for bits; NVRTC would emulate it on others.
    """
    generation = int(target.removeprefix("sm_").rstrip("af"))
    if element_bits == 8:
        return ("wgmma", "mma") if target == "sm_90a" else ("mma",)
    tensor: tuple[Method, ...] = ("mma",) if generation < 100 else ()
    return ("wgmma", *tensor, "popc") if target == "sm_90a" else (*tensor, "popc")


def bit_product(target: str, method: Method) -> Product:
    """Returns how bits are multiplied: XOR is native on sm_75 only, AND from sm_80 to sm_90."""
    if method == "popc":
        return Product.POPC
    return Product.XOR if target == "sm_75" else Product.AND


@dataclass(frozen=True, eq=False)
class Constants:
    """A layer's constants for the kernels.

    `values`: [classes of places, padded outputs] int32 thresholds of value, or [2, padded outputs] int32 multipliers and
    offsets of scores; `place_classes`: [places] int32 rows of `values`, or None where all places are alike.
    """

    values: np.ndarray
    place_classes: np.ndarray | None


def layer_constants(layer: Dense | Conv | Scores, signal: Signal, product: Product, origin: int) -> Constants:
    """Returns a layer's constants when it takes `signal`, which is bits, or integers less `origin`.

    Raises `ArtefactError` where the layer's values may reach `VALUE_LIMIT`.
    """
    inputs, most = layer.weights[0].size, VALUE_LIMIT // (1 if signal.dtype == "bit" else 255)
    if inputs >= most:
        raise ArtefactError(f"layer {layer.name}: a neuron must have fewer than {most:,} inputs on a GPU, not {inputs:,}")
    scale, origin = (2, 1) if signal.dtype == "bit" else (1, origin)
    bases, place_classes = _bases(layer, signal, origin)
    ones = layer.weights.reshape(len(layer.weights), -1).sum(axis=1, dtype=np.int64)
    shift = ones if product in (Product.POPC, Product.XOR) else np.zeros_like(ones)  # value = popc(b) - popc(a ^ b)
    match layer:
        case Scores():
            multipliers = scale * layer.scale.astype(np.int64)
            offsets = layer.offset - layer.scale * bases[0] + multipliers * shift
            return Constants(_wrapped(_padded(np.stack([multipliers, offsets]), 0)), None)
        case Dense() | Conv():
            thresholds = -(-(least_sums(layer, signal) + bases) // scale) - shift
            clipped = np.clip(thresholds, -VALUE_LIMIT, VALUE_LIMIT).astype(np.int32)
            return Constants(_padded(clipped, VALUE_LIMIT), place_classes)


def _bases(layer: WeightLayer, signal: Signal, origin: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns base for each class of places and neuron, and the class of each place: [classes, outputs] int64, [places] int32."""
    signs = np.where(layer.weights, 1, -1).astype(np.int64)
    total = signs.reshape(len(signs), -1).sum(axis=1)
    if not isinstance(layer, Conv):
        return origin * total[None], None
    rows = _inside(signal.shape[0], layer.kernel[0], layer.stride[0], layer.padding[:2])
    columns = _inside(signal.shape[1], layer.kernel[1], layer.stride[1], layer.padding[2:])
    pairs = [(row, column) for row in rows for column in columns]
    classes = sorted(set(pairs))
    pixels = signs.sum(axis=3)
    inside = np.stack([pixels[:, slice(*row), slice(*column)].sum(axis=(1, 2)) for row, column in classes])
    bases = origin * inside - layer.padding_value * (total - inside)
    if (bases == bases[0]).all():
        return bases[:1], None
    index = {pair: number for number, pair in enumerate(classes)}
    return bases, np.array([index[pair] for pair in pairs], np.int32)


def _inside(extent: int, size: int, stride: int, padding: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns for each place along an axis which of the window's pixels, from first to before last, lie on the image."""
    starts = range(-padding[0], extent + padding[1] - size + 1, stride)
    return [(min(size, max(0, -start)), max(0, min(size, extent - start))) for start in starts]


def _padded(values: np.ndarray, fill: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, -values.shape[1] % PADDED_COLUMNS)), constant_values=fill)


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Returns int64 modulo 2**32 as int32: the score itself fits in int32, its parts may not."""
    return values.astype(np.uint64).astype(np.uint32).view(np.int32)
