# SPDX-License-Identifier: Apache-2.0
"""Weights replaced through the driver: all of them or none, and what applies afterwards."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn_host import Accelerator
from bnn_hw.contract.registers import Register
from bnn_hw.errors import ArtefactError, BoardError
from bnn_hw.models.packaged import packaged_network
from bnn_hw.network import golden
from bnn_hw.network.file import network_digest, save_network
from bnn_hw.network.network import Input
from support.accelerator_boards import in_process, small_build, small_network, tiny_build
from support.simulated_board import environment, free_address, needs_pynq, serving
from support.strategies import random_network

pytestmark = needs_pynq

_PIXELS = np.random.default_rng(5).integers(0, 256, (40, 7, 10), np.uint8)
_BITS = _PIXELS >= 100


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


def _open(build: Path, device: Any) -> Accelerator:
    return Accelerator(build, device=device, timeout_s=30, chunk_images=16)


def test_swap(small: Path, tmp_path: Path) -> None:
    """Scores, digest, threshold and self test are the new network's, there and back again, from objects and files."""
    old, new = small_network(1), small_network(2, threshold=50)
    save_network(new, tmp_path / "new.safetensors")
    before, after = golden.scores(old, _PIXELS), golden.scores(new, _PIXELS)
    assert (before != after).any(axis=1).sum() > 20
    with in_process(small) as device:
        with _open(small, device) as board:
            for _ in range(2):
                np.testing.assert_array_equal(board.scores(_PIXELS), before)
                assert board.info()["network_sha256"] == network_digest(old)
                board.load_weights(tmp_path / "new.safetensors")
                np.testing.assert_array_equal(board.scores(_PIXELS), after)
                np.testing.assert_array_equal(board.scores(_BITS), golden.scores(new, _BITS))
                assert board.info()["network_sha256"] == network_digest(new)
                assert board.info()["input"]["pixel_threshold"] == 50
                assert board.self_test() == 64
                board.load_weights(str(small / "network.safetensors"))
            board.load_weights(new)
        with _open(small, device) as board:  # configured anew
            np.testing.assert_array_equal(board.scores(_PIXELS), before)
            assert board.self_test() == 64


def test_damaged_weights_are_not_taken(small: Path) -> None:
    """What is damaged on the way to the board is found there; the old weights stay, and the next swap is right."""
    old, new = small_network(1), small_network(2)
    with in_process(small, "corrupted-weights") as device, _open(small, device) as board:
        with pytest.raises(
            BoardError,
            match=r"^the weights on the board must have CRC-32 0x[0-9a-f]{8}, not 0x[0-9a-f]{8}: they were damaged on the way, .*; "
            r"DMA MM2S: .*; accelerator: STATUS 0x60 \(SWAP_FAILED, RUNTIME_WEIGHTS\); .*; the board has been reset and takes .*$",
        ):
            board.load_weights(new)
        assert board.info()["network_sha256"] == network_digest(old)
        assert board.self_test() == 64
        np.testing.assert_array_equal(board.scores(_BITS), golden.scores(old, _BITS))
        board.load_weights(new)
        np.testing.assert_array_equal(board.scores(_BITS), golden.scores(new, _BITS))


def test_an_interrupted_swap(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt among the words, and one while the hardware reads them back: the old weights, or all of the new ones."""
    old, new = small_network(1), small_network(2)
    with in_process(small) as device, _open(small, device) as board:
        real = board._registers.write_words

        def interrupt(offset: int, content: bytes) -> None:
            real(offset, content[: len(content) // 8 * 4])
            raise KeyboardInterrupt

        monkeypatch.setattr(board._registers, "write_words", interrupt)
        with pytest.raises(KeyboardInterrupt):
            board.load_weights(new)
        monkeypatch.undo()
        assert board.self_test() == 64
        np.testing.assert_array_equal(board.scores(_BITS), golden.scores(old, _BITS))
        board.load_weights(new)
        np.testing.assert_array_equal(board.scores(_BITS), golden.scores(new, _BITS))


def test_an_interrupt_when_the_hardware_has_swapped(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver goes by what the hardware has: the new network's threshold applies, and its scores are expected."""
    new = small_network(2, threshold=50)
    with in_process(small) as device, _open(small, device) as board:
        real = board._registers.digest
        monkeypatch.setattr(board._registers, "digest", _interrupted_once(real))
        with pytest.raises(KeyboardInterrupt):
            board.load_weights(new)
        assert board.info()["network_sha256"] == network_digest(new)
        assert board.self_test() == 64
        np.testing.assert_array_equal(board.scores(_PIXELS), golden.scores(new, _PIXELS))


def _interrupted_once(real: Callable[[Register], str]) -> Callable[[Register], str]:
    calls = iter([KeyboardInterrupt])

    def digest(register: Register) -> str:
        for interrupt in calls:
            raise interrupt
        return real(register)

    return digest


SWAP = """
import sys
from pathlib import Path
from bnn_host import Accelerator
with Accelerator(sys.argv[1], address=sys.argv[2], timeout_s=60) as board:
    print("holds", flush=True)
    while True:
        board.load_weights(Path(sys.argv[3]))
"""


def test_a_client_that_is_killed_while_it_swaps(small: Path, tmp_path: Path) -> None:
    save_network(small_network(2), tmp_path / "new.safetensors")
    address = free_address()
    with serving(small, address):
        command = [sys.executable, "-c", SWAP, small, address, tmp_path / "new.safetensors"]
        swapping = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        assert swapping.stdout is not None
        assert swapping.stdout.readline() == "holds\n"
        time.sleep(0.3)
        swapping.kill()
        swapping.wait()
        swapping.stdout.close()
        with Accelerator(small, address=address, timeout_s=60) as board:
            assert board.self_test() == 64
            board.load_weights(small_network(3))
            np.testing.assert_array_equal(board.scores(_BITS), golden.scores(small_network(3), _BITS))


def test_networks_that_do_not_fit(small: Path, tmp_path: Path) -> None:
    other = random_network(Input((7, 10, 1), "bit", 100), (5, 3), 1, "mixed")
    with in_process(small) as device, _open(small, device) as board:
        with pytest.raises(
            ArtefactError, match=r"^layer .*: weights' shape must be \(6, 70\), as the hardware has it, not \(5, 70\); .*$"
        ):
            board.load_weights(other)
        with pytest.raises(ArtefactError, match=rf"^{re.escape(str(tmp_path / 'none'))} is not a readable safetensors file: .*$"):
            board.load_weights(tmp_path / "none")
        assert board.self_test() == 64


def test_weights_from_a_file_without_the_safetensors_library(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which PYNQ's images lack."""
    new = small_network(2)
    save_network(new, tmp_path / "new.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with in_process(small) as device, _open(small, device) as board:
        board.load_weights(tmp_path / "new.safetensors")
        np.testing.assert_array_equal(board.scores(_BITS), golden.scores(new, _BITS))


def test_a_build_without_run_time_weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    tiny = tiny_build(tmp_path_factory)
    with in_process(tiny) as device, _open(tiny, device) as board:
        with pytest.raises(ArtefactError, match=r"^.* has its weights in the bitstream; `bnn_hw build --runtime-weights` .*$"):
            board.load_weights(packaged_network("mnist-tiny"))
        assert board.self_test() == 256
