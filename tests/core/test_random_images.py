# SPDX-License-Identifier: Apache-2.0
"""Random images: of which type and range, and the same ones as in builds that were made before."""

from typing import Any

import numpy as np
import pytest

from bnn_hw.network.network import Input
from bnn_hw.network.random_images import random_images


@pytest.mark.parametrize(("dtype", "low", "high"), [("bit", 0, 2), ("uint8", 0, 256), ("int8", -128, 128)])
@pytest.mark.parametrize("count", [0, 64, 2500])
def test_as_one_draw_gives_them(dtype: Any, low: int, high: int, count: int) -> None:
    own = bool if dtype == "bit" else dtype
    images = random_images(Input((7,), dtype), count)
    assert images.dtype == own
    assert np.array_equal(images, np.random.default_rng(0).integers(low, high, (count, 7)).astype(own))
    assert count == 0 or not np.array_equal(images, random_images(Input((7,), dtype), count, seed=1))


def test_pixels_where_the_input_takes_them() -> None:
    for input_, dtype in ((Input((7,), "bit", 100), np.uint8), (Input((7,), "int8"), np.uint8), (Input((7,), "bit"), np.bool_)):
        assert random_images(input_, 3, pixels=True).dtype == dtype
