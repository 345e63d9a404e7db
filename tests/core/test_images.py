# SPDX-License-Identifier: Apache-2.0
"""Which shapes and types of images a network takes, and what they become."""

import numpy as np
import pytest

from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.images import as_batch, image_count, prepare_images
from bnn_hw.network.layers import Input
from bnn_hw.network.network import Network, Scores

ROW, COLUMN, SIGNAL, DIGIT, FLAT = (1, 96, 1), (96, 1, 1), (1, 96, 2), (28, 28, 1), (12,)


@pytest.mark.parametrize(
    ("input_shape", "shape", "count", "one"),
    [
        (SIGNAL, (1, 96, 2), 1, True),
        (SIGNAL, (1, 1, 96, 2), 1, False),
        (SIGNAL, (5, 1, 96, 2), 5, False),
        (SIGNAL, (192,), 1, True),
        (SIGNAL, (1, 192), 1, False),
        (ROW, (1, 96, 1), 1, True),
        (ROW, (1, 96), 1, True),  # [rows, columns], not one image flattened
        (ROW, (2, 96), 2, False),  # two flattened
        (ROW, (1, 1, 96), 1, False),
        (ROW, (96,), 1, True),
        (COLUMN, (96, 1, 1), 1, True),
        (COLUMN, (96, 1), 1, True),
        (COLUMN, (1, 96), 1, False),
        (COLUMN, (3, 96, 1), 3, False),
        (DIGIT, (28, 28, 1), 1, True),
        (DIGIT, (28, 28), 1, True),
        (DIGIT, (784,), 1, True),
        (DIGIT, (28, 784), 28, False),
        (DIGIT, (28, 28, 28), 28, False),
        (DIGIT, (1, 28, 28, 1), 1, False),
        (DIGIT, (0, 28, 28), 0, False),
        (FLAT, (12,), 1, True),
        (FLAT, (12, 12), 12, False),
        ((3, 3, 3), (3, 3, 3), 1, True),
        ((3, 3, 3), (3, 3, 3, 3), 3, False),
        ((1, 1, 1), (1, 1, 1), 1, True),
        ((1, 1, 1), (7, 1), 7, False),
    ],
)
def test_the_inputs_own_shape_comes_first(input_shape: tuple[int, ...], shape: tuple[int, ...], count: int, one: bool) -> None:
    assert image_count(Input(input_shape, "int8"), shape) == (count, one)
    images = np.zeros(shape, np.int8)
    batch, alone = as_batch(images, Input(input_shape, "int8"))
    assert (batch.shape, alone) == ((count, int(np.prod(input_shape))), one)


@pytest.mark.parametrize("shape", [(), (0,), (28,), (14, 56), (28, 28, 1, 1), (2, 2, 28, 28), (785,), (2, 783), (28, 28, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """Those also that have as many elements as an image, in other rows."""
    with pytest.raises(ArtefactError, match=r"^images must be \[images, 28, 28, 1\] or one \[28, 28, 1\], not \["):
        image_count(Input(DIGIT, "uint8"), shape)


@pytest.mark.parametrize(
    ("input_", "values", "dtypes", "prepared"),
    [
        (Input((3,), "bit"), [0, 1, 1], "bool uint8 int8 uint16 int32 int64", [False, True, True]),
        (Input((3,), "bit", 128), [0, 127, 128], "uint8", [False, False, True]),
        (Input((3,), "bit", 128), [0, 1, 1], "bool int8 int64", [False, True, True]),
        (Input((3,), "uint8"), [0, 7, 255], "uint8 int16 uint16 int64 uint64", [0, 7, 255]),
        (Input((3,), "int8"), [-128, 0, 127], "int8 int16 int64", [-128, 0, 127]),
        (Input((3,), "int8"), [0, 128, 255], "uint8", [-128, 0, 127]),
    ],
    ids=str,
)
def test_types_and_values(input_: Input, values: list[int], dtypes: str, prepared: list[int]) -> None:
    for dtype in dtypes.split():
        found = prepare_images(input_, np.array([values, values], dtype))
        assert found.dtype == (bool if input_.dtype == "bit" else input_.dtype)
        assert found.tolist() == [prepared, prepared]


def test_one_image_has_scores_without_an_axis_of_images() -> None:
    rng = np.random.default_rng(1)
    scores = Scores("scores", rng.random((3, 96)) < 0.5, np.ones(3, np.int32), np.zeros(3, np.int32))
    network = Network("row", Input(ROW, "int8"), (scores,))
    images = rng.integers(-128, 128, (4, 1, 96, 1), np.int8)
    for index, image in enumerate(images):
        for one in (image, image[..., 0], image.reshape(96)):
            assert golden.scores(network, one).tolist() == golden.scores(network, images)[index].tolist()
            assert golden.classify(network, one).shape == ()
        assert golden.scores(network, image[None]).shape == (1, 3)
        assert golden.trace(network, image).scores.shape == (1, 3)
