# SPDX-License-Identifier: Apache-2.0
"""Images as a network takes them: of which shapes and types, one or a batch. Golden model, driver and GPU share this rule."""

import math

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import INPUT_RANGES, Input

__all__ = ["as_batch", "image_count", "prepare_images"]


def image_count(input_: Input, shape: tuple[int, ...]) -> tuple[int, bool]:
    """Returns how many images an array of that shape holds, and whether it is one alone, without an axis of images.

    An image has the input's shape, or lacks the axis of its channels where there is one channel, or is flattened. The first
    of these forms that the array has, or that it has behind its first axis, is the one that counts: with inputs of
    (1, 96, 1), an array of (1, 96) is one image. Raises `ArtefactError` where the array has none of them.
    """
    own, size = input_.shape, math.prod(input_.shape)
    for form in (own, own[:2] if own[2:] == (1,) else own, (size,)):
        if shape == form:
            return 1, True
        if shape[1:] == form:
            return shape[0], False
    wanted = ", ".join(map(str, own))
    raise ArtefactError(f"images must be [images, {wanted}] or one [{wanted}], not {list(shape)}")


def as_batch(images: np.ndarray, input_: Input) -> tuple[np.ndarray, bool]:
    """Returns images as a batch, [images, elements] as `prepare_images` takes them, and whether it was one image alone.

    `images`: [images, ...] or one image, in a form that `image_count` knows: bool for ``bit`` inputs, else of the input's
    dtype, or of any integer dtype within the input's range. uint8 are pixels, of any value, for ``int8`` inputs and for those
    with a `pixel_threshold`. Raises `ArtefactError` naming the rule that is broken.
    """
    count, one = image_count(input_, images.shape)
    return _elements(images, input_).reshape(count, input_.signal.size), one


def prepare_images(input_: Input, images: np.ndarray) -> np.ndarray:
    """Returns images as the first layer behind `input_` takes them: [images, inputs] of bool, uint8 or int8.

    `images`: as `as_batch` takes them; one alone is a batch of one. Pixels that are no inputs yet are compared with the
    `pixel_threshold` for ``bit`` inputs, and become pixel - 128 for ``int8`` inputs.
    """
    batch, _ = as_batch(images, input_)
    if input_.dtype == "bit" and batch.dtype == np.uint8:
        return batch >= input_.pixel_threshold
    if input_.dtype == "int8" and batch.dtype == np.uint8:
        return (batch ^ 0x80).view(np.int8)
    return batch


def _elements(images: np.ndarray, input_: Input) -> np.ndarray:
    """Returns images of the input's own dtype, or uint8 pixels, once their dtype and values are such as `as_batch` takes."""
    dtype, thresholded = input_.dtype, input_.pixel_threshold is not None
    own = np.dtype(bool if dtype == "bit" else dtype)
    if images.dtype == own or (images.dtype == np.uint8 and (dtype == "int8" or thresholded)):
        return images
    if images.dtype.kind not in "iu":
        wanted = {"bit": "bool, or uint8 pixels" if thresholded else "bool", "int8": "int8, or uint8 pixels"}.get(dtype, dtype)
        cure = "; round them first, pixels of 0 to 1 by numpy.uint8(numpy.round(255 * images))" if images.dtype.kind == "f" else ""
        raise ArtefactError(f"images must be {wanted}, not {images.dtype}{cure}")
    low, high = INPUT_RANGES[dtype]
    outside = (images < low) | (images > high)
    if outside.any():
        cure = "; pixels must be uint8" if dtype == "int8" or thresholded else ""
        raise ArtefactError(f"elements of images must be {low}..{high} for {dtype} inputs, not {images[outside][0]}{cure}")
    return images.astype(own)
