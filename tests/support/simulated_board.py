# SPDX-License-Identifier: Apache-2.0
"""Simulated boards for the tests of all parts: builds without verification, boards that are served, clients of them."""

import fcntl
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bnn_host.board import in_turn
from bnn_host.simulated.board import Board
from bnn_host.simulated.faults import parse_fault
from bnn_host.simulated.overlay import simulated_bitstream
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.design.plan import Plan
from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import find_board
from bnn_hw.models.packaged import load
from bnn_hw.network.layers import Input
from bnn_hw.network.network import Network
from bnn_rtl.live import LiveAccelerator, compiled
from support.strategies import random_network

__all__ = [
    "ROOT",
    "board_of",
    "built",
    "client",
    "environment",
    "free_address",
    "needs_pynq",
    "pynq_lock",
    "run_client",
    "serving",
    "shared_build",
    "small_build",
]

ROOT = Path(__file__).parents[2]
_START_S = 300  # with other tests at work
_numbers = itertools.count(1)

needs_pynq = pytest.mark.skipif(importlib.util.find_spec("pynq") is None, reason="pynq is not installed")


def built(
    model_or_network: str | Network, folder: Path, *, board: str = "pynq-z2", plan: Plan | None = None, **options: Any
) -> Path:
    """Returns `folder`, with a build in it that is not verified."""
    network = model_or_network if isinstance(model_or_network, Network) else load(model_or_network)
    target = find_board(board)
    build(network, target, plan or find_plan(network, target), folder, verify=False, **options)
    return folder


def shared_build(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Returns the build that `make` makes, compiled; the first of pytest's processes to ask for it does."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.ready").exists():
            folder = make(root / name)
            simulated_bitstream(folder, read_manifest(folder))
            _library(folder)
            (root / f"{name}.ready").touch()
    return root / name


def small_build(factory: pytest.TempPathFactory) -> Path:
    """Returns the build of a network that is soon compiled: images of 12x10 bits, 5 classes."""
    network = random_network(Input((12, 10, 1), "bit"), (24, 5), seed=1)
    return shared_build(factory, "simulated-small", lambda folder: built(network, folder))


@contextmanager
def board_of(build_folder: Path, *faults: str, memory_bytes: int = 1 << 20) -> Iterator[Board]:
    """Gives the simulated board of a build, in this process, that has no configuration yet."""
    manifest, library = read_manifest(build_folder), _library(build_folder)
    bitstream = simulated_bitstream(build_folder, manifest)
    planned = [parse_fault(fault) for fault in faults]
    address_bits = manifest.ports["s_axi"]["address_bits"]

    def new_accelerator() -> LiveAccelerator:
        return LiveAccelerator(library, address_bits)

    with Board(manifest, bitstream, new_accelerator, memory_bytes=memory_bytes, faults=planned) as board:
        yield board


def _library(build_folder: Path) -> Path:
    top = read_manifest(build_folder).top
    return compiled((build_folder / "rtl" / f"{top}.v").read_text(), top, build_folder / "simulated")


def free_address() -> str:
    """Returns an address of the loopback that no other test has."""
    return f"127.{os.getpid() >> 8 & 127 | 1}.{os.getpid() & 255}.{next(_numbers)}"


def environment(address: str | None = None) -> dict[str, str]:
    """Returns the environment of a process that imports this checkout, and has the board at `address`."""
    paths = [str(ROOT / part) for part in (".", "rtl", "host", "gpu", "training", "tests")]
    devices = {} if address is None else {"PYNQ_REMOTE_DEVICES": address}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **devices}


@contextmanager
def serving(build_folder: Path, address: str, *faults: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Gives the process of `bnn_hw board-sim` on a build, which is ready; it is ended afterwards."""
    arguments = ["board-sim", str(build_folder), "--address", address, *options]
    arguments += [part for fault in faults for part in ("--fault", fault)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bnn_hw", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(_START_S)
    try:
        assert process.stdout is not None
        printed = process.stdout.readline()
        while printed and "PYNQ_REMOTE_DEVICES" not in printed:
            printed += process.stdout.readline()
        signal.alarm(0)
        assert "PYNQ_REMOTE_DEVICES" in printed, f"the board did not start: {printed}"
        yield process
    finally:
        signal.alarm(0)
        process.terminate()
        process.wait(60)
        process.stdout.close()


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError(f"the simulated board did not start within {_START_S} s")


@contextmanager
def pynq_lock() -> Iterator[None]:
    """Lets one client of pynq's be at a time: it keeps state and parsed metadata in its own folder, for all processes."""
    with (Path(tempfile.gettempdir()) / "bnn_hw-tests-pynq.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def client(code: str, address: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts a Python program that has the board at `address`; with `pynq_lock` held."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment(address), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_client(code: str, address: str, *arguments: object, timeout_s: float = 120) -> str:
    """Runs a Python program that has the board at `address`, and that must succeed; returns what it printed.

    It may not use `bnn_host.Accelerator`, which waits for its turn where this has it.
    """
    with pynq_lock(), in_turn("pynq", _START_S), client(code, address, *arguments) as process:
        try:
            printed, errors = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    return printed
