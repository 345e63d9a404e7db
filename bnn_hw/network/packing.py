# SPDX-License-Identifier: Apache-2.0
"""Bits into bytes: bit 0 of byte 0 is the lowest index."""

import numpy as np

__all__ = ["pack_bits", "packed_bytes", "unpack_bits"]


def packed_bytes(count: int) -> int:
    """Returns how many bytes hold `count` bits."""
    return -(-count // 8)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Packs the last axis, bit 0 first, the rest of the last byte 0: [..., count] bool to [..., ceil(count/8)] uint8."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack_bits(packed: np.ndarray, count: int) -> np.ndarray:
    """Returns the first `count` bits of the last axis: [..., bytes] uint8 to [..., count] bool."""
    return np.unpackbits(packed, axis=-1, count=count, bitorder="little").astype(bool)
