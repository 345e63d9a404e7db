# SPDX-License-Identifier: Apache-2.0
"""Inputs: pixels on their way to the trained network are those that the integer network takes."""

import numpy as np
import pytest
import torch

from bnn_hw.network import golden
from bnn_hw.network.network import Input, Network, Scores
from bnn_training.inputs import pixel_inputs, to_tensor

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
SHAPE = (8, 16, 6)
INPUTS = [Input(SHAPE, "bit", threshold) for threshold in (0, 1, 100, 255, 256)] + [Input(SHAPE, "uint8"), Input(SHAPE, "int8")]


@pytest.mark.parametrize("input_", INPUTS, ids=lambda input_: f"{input_.dtype}-{input_.pixel_threshold}")
def test_pixels_for_training_are_those_of_the_golden_model(input_: Input) -> None:
    """All 256 pixels, in both ways from images to tensors."""
    pixels = np.random.default_rng(1).permutation(np.arange(3 * 768) % 256).astype(np.uint8).reshape(3, *SHAPE)
    scores = Scores("scores", np.ones((1, 768), bool), np.ones(1, np.int32), np.zeros(1, np.int32))
    prepared = to_tensor(golden.prepare(Network("pixels", input_, (scores,)), pixels), SHAPE)
    trained = pixel_inputs(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), input_)
    assert (prepared.dtype, trained.dtype) == (torch.float32, torch.float32)
    assert prepared.shape == (3, 6, 8, 16)
    assert torch.equal(prepared, trained)


def test_values_by_hand() -> None:
    pixels = torch.tensor([0.0, 99.5, 100.0, 128.0, 254.75, 255.0])
    assert pixel_inputs(pixels, Input((6,), "bit", 100)).tolist() == [-1, -1, 1, 1, 1, 1]
    assert pixel_inputs(pixels, Input((6,), "uint8")).tolist() == pixels.tolist()
    assert pixel_inputs(pixels, Input((6,), "int8")).tolist() == [-128, -28.5, -28, 0, 126.75, 127]


def test_elements_are_by_row_column_channel() -> None:
    elements = np.arange(24, dtype=np.int8).reshape(1, 24)
    images = to_tensor(elements, (2, 3, 4))
    assert images.shape == (1, 4, 2, 3)
    assert images[0, :, 1, 2].tolist() == [20, 21, 22, 23]
    assert to_tensor(elements, (24,)).tolist() == elements.tolist()
    assert to_tensor(elements > 20, (24,))[0].tolist() == [-1.0] * 21 + [1.0] * 3
    assert to_tensor(np.array([[200]], np.uint8), (1,)).tolist() == [[200.0]]
