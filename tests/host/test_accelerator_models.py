# SPDX-License-Identifier: Apache-2.0
"""Packaged networks on served boards, through the stock pynq's Overlay, allocate and MMIO: every score is golden's."""

import os
from pathlib import Path

import numpy as np
import pytest

from bnn_host import Accelerator
from bnn_hw.datasets import load_dataset
from bnn_hw.design.plan_file import load_plan
from bnn_hw.fpga.boards import find_board
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden
from support.simulated_board import ROOT, built, free_address, needs_pynq, serving, shared_build

pytestmark = needs_pynq

_LEAST_IMAGES = 100


def _images(name: str) -> np.ndarray:
    """Returns the data set's images where they are, else the packaged ones, shifted and mirrored until they are enough."""
    if "BNN_HW_DATA" in os.environ:
        folder = Path(os.environ["BNN_HW_DATA"])
        return load_dataset(name, folder, folder).test.images[:_LEAST_IMAGES]
    test = packaged_test_images(packaged_network(name))
    assert test is not None
    copies = [np.roll(test.images, shift, axis=1 + shift % 2) for shift in range(-(-_LEAST_IMAGES // len(test.images)))]
    return np.concatenate([images[:, :, ::-1] if number % 3 == 2 else images for number, images in enumerate(copies)])


@pytest.mark.parametrize(("name", "plan_file"), [("mnist", "mnist-bnn-pynq.json"), ("cifar10", None)])
def test_scores(name: str, plan_file: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the plan that takes the least processor time: the default one, or BNN-PYNQ's."""
    network, images = packaged_network(name), _images(name)
    plan = load_plan(ROOT / "rtl" / "plans" / plan_file, network, find_board("pynq-z2")) if plan_file else None
    build = shared_build(tmp_path_factory, f"accelerator-{name}", lambda folder: built(network, folder, plan=plan))
    assert len(images) >= _LEAST_IMAGES
    address = free_address()
    with serving(build, address), Accelerator(build, address=address, timeout_s=120) as board:
        np.testing.assert_array_equal(board.scores(images), golden.scores(network, images))
