# SPDX-License-Identifier: Apache-2.0
"""What a training will take: parameters, products and memory counted by hand, a time that is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.errors import ArtefactError
from bnn_training.forecast import Forecast, forecast
from bnn_training.recipes import Recipe

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
DENSE = Recipe("dense", "noise", "12-7", epochs=3, batch=20, validation=30)
CONV = Recipe("conv", "noise", "6C3-MP2-9C2-5", epochs=3, batch=25, padding=1, input_dtype="int8")


def noise(shape: tuple[int, int, int], images: int = 130) -> Dataset:
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 256, (images, *shape), np.uint8), rng.integers(0, 4, images, np.uint8))
    return Dataset("noise", tuple("0123"), split, Split(split.images[:3], split.labels[:3]))


def made(recipe: Recipe, shape: tuple[int, int, int]) -> Forecast:
    return forecast(recipe, noise(shape), torch.device("cpu"))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_dense_network_by_hand(bfloat16: bool) -> None:
    """Each weight is one product; a neuron has a bias, and a factor and an offset of batch norm, beside its weights."""
    found = made(replace(DENSE, bfloat16=bfloat16), (3, 5, 1))
    weights = 15 * 12 + 12 * 7 + 7 * 4
    assert (found.binary_weights, found.multiply_accumulates) == (weights, weights)
    assert found.parameters == weights + 3 * (12 + 7 + 4)
    assert found.steps_per_epoch == (130 - 30) // 20
    assert found.epoch_s > 0


@pytest.mark.parametrize(("stochastic", "shift"), [(False, False), (True, True)])
def test_a_network_of_convolutions_by_hand(stochastic: bool, shift: bool) -> None:
    """8x6 stays so with 1 around it, is pooled to 4x3, and under a kernel of 2 with 1 around becomes 5x4."""
    activation = "stochastic_sign" if stochastic else "sign"
    changes = {"stochastic_weights": stochastic, "shift_batch_norm": shift, "activation": activation}
    found = made(replace(CONV, **changes), (8, 6, 2))  # type: ignore[arg-type]
    kernels = [6 * 2 * 9, 9 * 6 * 4]
    dense = [5 * 4 * 9 * 5, 5 * 4]
    assert found.multiply_accumulates == 8 * 6 * kernels[0] + 5 * 4 * kernels[1] + sum(dense)
    assert found.binary_weights == sum(kernels) + sum(dense)
    assert found.parameters == found.binary_weights + 3 * (6 + 9 + 5 + 4)
    assert found.steps_per_epoch == 5


def test_memory_by_hand() -> None:
    """Two moments, the value and the gradient of a parameter are 16 bytes; what a larger batch adds is its own."""
    recipe = replace(DENSE, topology="", validation=0, bfloat16=False)
    parameters, images = 15 * 4 + 3 * 4, 130 * 15
    sizes = [made(replace(recipe, batch=batch), (3, 5, 1)).memory_bytes for batch in (10, 20, 30)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] >= 10 * 4 * (15 + 4)  # inputs of the product and of batch norm
    fixed = 2 * sizes[0] - sizes[1]
    assert 0 <= fixed - 16 * parameters - images <= 8 * 15 * 4  # the rest is what is kept of weights and batch norm


def test_a_forecast_leaves_nothing_behind() -> None:
    """A network made after it has the weights that it would have without."""
    draws = []
    for with_forecast in (False, True):
        dataset = noise((3, 5, 1))
        before = dataset.train.images.copy()
        if with_forecast:
            forecast(DENSE, dataset, torch.device("cpu"))
        assert np.array_equal(dataset.train.images, before)
        torch.manual_seed(1)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]


def test_a_batch_of_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(ArtefactError, match=r"^batch must be at most the 100 images that train, not 500; 30 are held out$"):
        made(replace(DENSE, batch=500), (3, 5, 1))
