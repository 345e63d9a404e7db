# SPDX-License-Identifier: Apache-2.0
"""Images as boards take them: against a packing that goes bit by bit, and on a machine that has numpy alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnn_host.images import image_words, pack_images
from bnn_hw.contract.streams import image_bytes, stream_words
from bnn_hw.errors import ArtefactError
from bnn_hw.network.images import as_batch, prepare_images
from bnn_hw.network.layers import Input
from support.cocotb_run import fresh_seed

ROOT = Path(__file__).parents[2]
_INPUTS = [
    *(Input((28, 28, 1), "bit", 100), Input((7, 10, 1), "bit", 0), Input((65,), "bit", 256), Input((64,), "bit")),
    *(Input((3, 3, 2), "uint8"), Input((32, 32, 3), "uint8"), Input((5,), "int8"), Input((4, 4, 1), "int8")),
]


def naive_words(image: list[int], input_: Input, pixels: bool) -> list[int]:
    """Returns an image's words, one element after the other."""
    bits = []
    for element in image:
        if input_.dtype == "bit":
            bits.append(int(element >= input_.pixel_threshold) if pixels else element)
            continue
        value = element - 128 if pixels and input_.dtype == "int8" else element
        bits += [value % 256 // 2**place % 2 for place in range(8)]
    bits += [0] * (-len(bits) % 64)
    return [sum(bit << place for place, bit in enumerate(bits[at : at + 64])) for at in range(0, len(bits), 64)]


def _images(input_: Input, pixels: bool, count: int, seed: int) -> np.ndarray:
    low, high = (0, 256) if pixels else {"bit": (0, 2), "uint8": (0, 256), "int8": (-128, 128)}[input_.dtype]
    dtype = np.uint8 if pixels else {"bit": bool, "uint8": np.uint8, "int8": np.int8}[input_.dtype]
    images = np.random.default_rng(seed).integers(low, high, (count, input_.signal.size))
    if pixels and input_.pixel_threshold:
        images[:, 0] = min(255, input_.pixel_threshold)  # the threshold itself
    return images.astype(dtype)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("input_", _INPUTS, ids=str)
def test_packing(input_: Input, pixels: bool) -> None:
    """Word by word what a packing gives that goes bit by bit, through all blocks, for images of any shape and memory order."""
    if pixels and input_.dtype == "bit" and input_.pixel_threshold is None:
        return
    seed = fresh_seed()
    images = _images(input_, pixels, 1500, seed)
    expected = {row: naive_words(images[row].tolist(), input_, pixels) for row in (0, 1, 667, 668, 669, 1337, 1499)}
    for given in (images, images.reshape(-1, *input_.shape), np.asfortranarray(images)):
        batch, one = as_batch(given, input_)
        words = np.zeros((1501, image_words(input_)), np.uint64)
        pack_images(batch, input_, words)
        assert not one
        assert {row: words[row].tolist() for row in expected} == expected
        assert not words[1500].any()
    np.testing.assert_array_equal(words.view(np.uint8)[:, image_bytes(input_.dtype, input_.signal.size) :], 0)
    np.testing.assert_array_equal(stream_words(prepare_images(input_, images)), words[:1500])


def test_one_image_and_other_integers() -> None:
    input_ = Input((4, 4, 1), "int8")
    image = _images(input_, False, 1, 1)[0]
    words = np.zeros((1, 2), np.uint64)
    for given in (image, image.reshape(4, 4), image.reshape(4, 4, 1), image.astype(np.int64), image[None].astype(np.int16)):
        batch, one = as_batch(given, input_)
        assert (batch.shape, one) == ((1, 16), given.ndim != 2 or given.shape == (4, 4))
        pack_images(batch, input_, words)
        assert words[0].tolist() == naive_words(image.tolist(), input_, False)
    assert as_batch(np.zeros((0, 4, 4), np.int8), input_)[0].shape == (0, 16)


@pytest.mark.parametrize(
    ("input_", "images", "message"),
    [
        (
            Input((4, 4, 1), "bit"),
            np.zeros((2, 15), bool),
            r"images must be \[images, 4, 4, 1\] or one \[4, 4, 1\], not \[2, 15\]",
        ),
        (Input((4, 2, 1), "bit"), np.zeros((2, 2, 4), bool), r"images must be \[images, 4, 2, 1\] or one .*, not \[2, 2, 4\]"),
        (Input((4,), "bit"), np.full((2, 4), 3, np.uint8), r"elements of images must be 0\.\.1 for bit inputs, not 3"),
        (Input((4,), "bit", 3), np.zeros((2, 4)), r"images must be bool, or uint8 pixels, not float64; round them first, .*"),
        (
            Input((4,), "bit", 3),
            np.full((2, 4), 2),
            r"elements of images must be 0\.\.1 for bit inputs, not 2; pixels must be uint8",
        ),
        (Input((4,), "bit"), np.full((2, 4), 2), r"elements of images must be 0\.\.1 for bit inputs, not 2"),
        (Input((4,), "uint8"), np.full((2, 4), -1), r"elements of images must be 0\.\.255 for uint8 inputs, not -1"),
        (Input((4,), "int8"), np.full((2, 4), 128), r"elements of images must be -128\.\.127 for int8 inputs, not 128; .* uint8"),
        (Input((4,), "uint8"), np.zeros((2, 4), bool), r"images must be uint8, not bool"),
        (Input((4,), "uint8"), np.array(["a", "b", "c", "d"]), r"images must be uint8, not <U1"),
    ],
)
def test_images_that_do_not_fit(input_: Input, images: np.ndarray, message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        as_batch(images, input_)


BARE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("PIL", "amaranth", "click", "cuda", "grpc", "pynq", "rich", "safetensors", "scipy", "torch"):
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np
import bnn_host, bnn_host.__main__, bnn_host.benchmark, bnn_host.dma, bnn_host.power, bnn_host.stream, bnn_host.weights
from bnn_host.benchmark import packing_images_per_s
from bnn_host.images import image_words, pack_images
from bnn_hw.network.images import as_batch
from bnn_hw.network.layers import Input
input_ = Input((28, 28, 1), "bit", 128)
words = np.zeros((3, image_words(input_)), np.uint64)
pack_images(as_batch(np.full((3, 28, 28), 128, np.uint8), input_)[0], input_, words)
assert words[:, :12].min() == 2**64 - 1 and words[:, 12].tolist() == [2**16 - 1] * 3
print(packing_images_per_s(input_))
"""


def test_numpy_alone() -> None:
    """All of the driver imports without pynq, click, safetensors and the rest, and packs."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "host")))
    finished = subprocess.run([sys.executable, "-c", BARE], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) > 2e5  # alone on a core it is over a million; here others are at work
