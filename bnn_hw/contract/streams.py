# SPDX-License-Identifier: Apache-2.0
"""The accelerator's streams: how wide they are, and how an image lies in the words of the input."""

from typing import Final

import numpy as np

from bnn_hw.network.packing import pack_bits, packed_bytes

__all__ = ["RESULT_BITS", "STREAM_BITS", "WORD_BYTES", "image_bytes", "image_words", "pack_words", "stream_words"]

STREAM_BITS: Final = 64  # of a word
RESULT_BITS: Final = 32  # of a score and of the class, on the output stream
WORD_BYTES: Final = STREAM_BITS // 8


def image_bytes(dtype: str, elements: int) -> int:
    """Returns the bytes of an image: its bits, bit 0 of byte 0 first, or a byte an element."""
    return packed_bytes(elements) if dtype == "bit" else elements


def image_words(dtype: str, elements: int) -> int:
    """Returns the words of an image; the last is padded, since each image begins with a word of its own."""
    return -(-image_bytes(dtype, elements) // WORD_BYTES)


def pack_words(inputs: np.ndarray, words: np.ndarray) -> None:
    """Packs images into `words`: [images, image_words] uint64, little-endian. The bytes that pad a row stay as they are.

    `inputs`: [images, elements] of bool, uint8 or int8.
    """
    content = pack_bits(inputs) if inputs.dtype == np.bool_ else inputs.view(np.uint8)
    words.view(np.uint8)[:, : content.shape[1]] = content


def stream_words(inputs: np.ndarray) -> np.ndarray:
    """Returns images as words, padded with 0: [images, image_words] uint64, little-endian. `inputs`: as `pack_words` takes them."""
    dtype = "bit" if inputs.dtype == np.bool_ else str(inputs.dtype)
    words = np.zeros((len(inputs), image_words(dtype, inputs.shape[1])), "<u8")
    pack_words(inputs, words)
    return words
