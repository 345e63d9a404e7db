# SPDX-License-Identifier: Apache-2.0
"""Builds and boards for the tests of the driver."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bnn_hw.design.planner import find_plan
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.network import Input, Network
from support.simulated_board import board_of, built, shared_build
from support.strategies import random_network

__all__ = ["in_process", "small_build", "small_network", "tiny_build"]


def small_network(seed: int, threshold: int = 100) -> Network:
    """Returns a small random network for images of 7x10 pixels; all of them have the same shape."""
    return random_network(Input((7, 10, 1), "bit", threshold), (6, 3), seed, "mixed")


def small_build(factory: pytest.TempPathFactory) -> Path:
    """Returns the build of `small_network(1)` whose weights can be replaced."""

    def make(folder: Path) -> Path:
        network, board = small_network(1), find_board("pynq-z2")
        return built(network, folder, plan=find_plan(network, board, runtime_weights=True))

    return shared_build(factory, "accelerator-small", make)


def tiny_build(factory: pytest.TempPathFactory) -> Path:
    """Returns the build of `mnist-tiny`, whose weights are in the bitstream."""
    return shared_build(factory, "accelerator-tiny", lambda folder: built("mnist-tiny", folder))


@contextmanager
def in_process(build: Path, *faults: str) -> Iterator[Any]:
    """Gives a board in this process, as a device of pynq's."""
    from bnn_host.simulated.device import SimulatedDevice

    with board_of(build, *faults) as board:
        yield SimulatedDevice(board)
