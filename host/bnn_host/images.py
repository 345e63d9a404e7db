# SPDX-License-Identifier: Apache-2.0
"""Images as a board takes them: one or a batch, checked, and packed into the words of the accelerator's stream."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.golden import flat_images, prepare_images
from bnn_hw.layers import INPUT_RANGES, Input, element_bits
from bnn_hw.packing import pack_bits, packed_bytes

__all__ = ["as_batch", "image_bytes", "image_words", "pack_images"]

_WORD_BYTES: Final = 8
_BLOCK_BYTES: Final = 1 << 19  # of images that are packed at a time, so that what lies between the steps stays in the cache


def image_bytes(input_: Input) -> int:
    """Returns the bytes of an image: its bits, bit 0 of byte 0 first, or a byte an element."""
    return packed_bytes(input_.signal.size * element_bits(input_.signal))


def image_words(input_: Input) -> int:
    """Returns the words of 64 bits of an image on the stream."""
    return -(-image_bytes(input_) // _WORD_BYTES)


def as_batch(images: np.ndarray, input_: Input) -> tuple[np.ndarray, bool]:
    """Returns images as a batch, [images, elements] as `bnn_hw.golden.prepare_images` takes them, and whether it is one alone.

    `images`: [images, ...] or one image, in the input's shape or flattened, of a dtype that `prepare_images` takes or of
    another integer dtype within the input's range. Raises `ArtefactError` naming the rule that is broken.
    """
    size = input_.signal.size
    if images.ndim and math.prod(images.shape[1:]) == size:
        batch, one = images, False
    elif images.size == size:
        batch, one = images[None], True
    else:
        shape = ", ".join(map(str, input_.shape))
        raise ArtefactError(f"images must be [images, {shape}] or one image, which is {size:,} elements, not {list(images.shape)}")
    if len(input_.shape) == 1:
        batch = batch.reshape(len(batch), size)
    own = np.dtype(bool if input_.dtype == "bit" else input_.dtype)
    if batch.dtype.kind in "iu" and batch.dtype not in (np.uint8, own):
        low, high = INPUT_RANGES[input_.dtype]
        outside = (batch < low) | (batch > high)
        if outside.any():
            cure = "" if input_.pixel_threshold is None else "; pixels must be uint8"
            rule = f"elements of images must be {low}..{high} for {input_.dtype} inputs"
            raise ArtefactError(f"{rule}, not {batch[outside][0]}{cure}")
        batch = batch.astype(own)
    return flat_images(input_, batch), one


def pack_images(batch: np.ndarray, input_: Input, words: np.ndarray) -> None:
    """Packs a batch, as `as_batch` gives it, into the first rows of `words`: [images, image_words] uint64.

    The bytes that pad a row stay as they are.
    """
    rows = words[: len(batch)].view(np.uint8)[:, : image_bytes(input_)]
    pack: Callable[[np.ndarray], np.ndarray] = pack_bits if input_.dtype == "bit" else (lambda elements: elements.view(np.uint8))
    block = max(1, _BLOCK_BYTES // input_.signal.size)
    for at in range(0, len(batch), block):
        rows[at : at + block] = pack(np.ascontiguousarray(prepare_images(input_, batch[at : at + block])))
