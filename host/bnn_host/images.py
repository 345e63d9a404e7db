# SPDX-License-Identifier: Apache-2.0
"""Images as a board takes them: packed into the words of the accelerator's stream."""

from collections.abc import Callable
from typing import Final

import numpy as np

from bnn_hw.network.images import as_batch, prepare_images
from bnn_hw.network.layers import Input, element_bits
from bnn_hw.network.packing import pack_bits, packed_bytes

__all__ = ["as_batch", "image_bytes", "image_words", "pack_images"]

_WORD_BYTES: Final = 8
_BLOCK_BYTES: Final = 1 << 19  # of images that are packed at a time, so that what lies between the steps stays in the cache


def image_bytes(input_: Input) -> int:
    """Returns the bytes of an image: its bits, bit 0 of byte 0 first, or a byte an element."""
    return packed_bytes(input_.signal.size * element_bits(input_.signal))


def image_words(input_: Input) -> int:
    """Returns the words of 64 bits of an image on the stream."""
    return -(-image_bytes(input_) // _WORD_BYTES)


def pack_images(batch: np.ndarray, input_: Input, words: np.ndarray) -> None:
    """Packs a batch, as `as_batch` gives it, into the first rows of `words`: [images, image_words] uint64.

    The bytes that pad a row stay as they are.
    """
    rows = words[: len(batch)].view(np.uint8)[:, : image_bytes(input_)]
    pack: Callable[[np.ndarray], np.ndarray] = pack_bits if input_.dtype == "bit" else (lambda elements: elements.view(np.uint8))
    block = max(1, _BLOCK_BYTES // input_.signal.size)
    for at in range(0, len(batch), block):
        rows[at : at + block] = pack(np.ascontiguousarray(prepare_images(input_, batch[at : at + block])))
