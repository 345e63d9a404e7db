# SPDX-License-Identifier: Apache-2.0
"""How bits and bytes lie in GPU memory: each pixel's channels start at a 32-bit word, each row at 16 bytes, zeros between.

Bits are in the order of `bnn_hw.network.packing`: bit 0 of word 0 is the lowest index. A flat vector is one pixel of many channels.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["ROW_WORDS", "Layout", "pack_rows", "unpack_rows"]

ROW_WORDS = 4  # rows are a multiple of 16 bytes, for 16-byte loads and for the copy engine


@dataclass(frozen=True)
class Layout:
    """Rows of `pixels` with `channels` elements of 1 or 8 bits each."""

    pixels: int
    channels: int
    element_bits: int

    @property
    def pixel_words(self) -> int:
        """The 32-bit words of a pixel."""
        return -(-self.channels * self.element_bits // 32)

    @property
    def row_words(self) -> int:
        """The 32-bit words of a row, a multiple of 4."""
        return -(-self.pixels * self.pixel_words // ROW_WORDS) * ROW_WORDS


def pack_rows(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Packs [rows, elements] bool, int8 or uint8 into [rows, row_words] uint32."""
    rows = len(values)
    pixels = values.reshape(rows, layout.pixels, layout.channels)
    data = np.packbits(pixels, axis=2, bitorder="little") if layout.element_bits == 1 else pixels.view(np.uint8)
    padded = np.zeros((rows, layout.pixels, 4 * layout.pixel_words), np.uint8)
    padded[:, :, : data.shape[2]] = data
    whole = np.zeros((rows, 4 * layout.row_words), np.uint8)
    whole[:, : layout.pixels * 4 * layout.pixel_words] = padded.reshape(rows, -1)
    return whole.view("<u4")


def unpack_rows(words: np.ndarray, layout: Layout) -> np.ndarray:
    """Returns the bits of [rows, row_words] uint32: [rows, pixels * channels] bool."""
    data = np.ascontiguousarray(words).view(np.uint8)[:, : layout.pixels * 4 * layout.pixel_words]
    pixels = data.reshape(len(words), layout.pixels, 4 * layout.pixel_words)
    bits = np.unpackbits(pixels, axis=2, bitorder="little", count=layout.channels)
    return bits.reshape(len(words), -1).astype(bool)
