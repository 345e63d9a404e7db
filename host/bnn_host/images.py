# SPDX-License-Identifier: Apache-2.0
"""Images as a board takes them: packed into the words of the accelerator's stream."""

from typing import Final

import numpy as np

from bnn_hw.contract.streams import image_words as words_of
from bnn_hw.contract.streams import pack_words
from bnn_hw.network.images import prepare_images
from bnn_hw.network.layers import Input

__all__ = ["image_words", "pack_images"]

_BLOCK_BYTES: Final = 1 << 19  # of images packed at a time, so that intermediate results stay in the cache


def image_words(input_: Input) -> int:
    """Returns the words of an image on the stream."""
    return words_of(input_.dtype, input_.signal.size)


def pack_images(batch: np.ndarray, input_: Input, words: np.ndarray) -> None:
    """Packs a batch, as `as_batch` gives it, into the first rows of `words`: [images, image_words] uint64.

    The padding bytes of a row stay unchanged.
    """
    block = max(1, _BLOCK_BYTES // input_.signal.size)
    for at in range(0, len(batch), block):
        inputs = np.ascontiguousarray(prepare_images(input_, batch[at : at + block]))
        pack_words(inputs, words[at : at + len(inputs)])
