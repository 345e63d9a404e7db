# SPDX-License-Identifier: Apache-2.0
"""Simulated boards with an `Accelerator` on them, from builds that all of pytest's processes share."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bnn_host.simulated.board import Board
from bnn_host.simulated.faults import parse_fault
from bnn_host.simulated.overlay import simulated_bitstream
from bnn_hw.boards import find_board
from bnn_hw.manifest import read_manifest
from bnn_hw.network import Input, Network
from bnn_hw.planner import find_plan
from bnn_rtl.live import LiveAccelerator, compiled
from simulated_board import built
from strategies import random_network

__all__ = ["in_process", "shared_build", "small_build", "small_network", "tiny_build"]


def shared_build(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Returns the build that `make` makes, ready for boards; the first of pytest's processes to ask for it does."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.ready").exists():
            build = make(root / name)
            simulated_bitstream(build, read_manifest(build))
            _library(build)
            (root / f"{name}.ready").touch()
    return root / name


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
def in_process(build: Path, *faults: str, memory_bytes: int = 1 << 20) -> Iterator[Any]:
    """Gives a board in this process, as a device of pynq's."""
    from bnn_host.simulated.device import SimulatedDevice

    manifest, library = read_manifest(build), _library(build)
    bitstream = simulated_bitstream(build, manifest)
    planned = [parse_fault(fault) for fault in faults]
    address_bits = manifest.ports["s_axi"]["address_bits"]

    def configure() -> LiveAccelerator:
        return LiveAccelerator(library, address_bits)

    with Board(manifest, bitstream, configure, memory_bytes=memory_bytes, faults=planned) as board:
        yield SimulatedDevice(board)


def _library(build: Path) -> Path:
    top = read_manifest(build).top
    return compiled((build / "rtl" / f"{top}.v").read_text(), top, build / "simulated")
