# SPDX-License-Identifier: Apache-2.0
"""The simulated board as a device of pynq's in the same process."""

from pathlib import Path

import numpy as np
import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.contract.registers import MAGIC, Register
from bnn_hw.contract.streams import stream_words
from bnn_hw.network.file import load_network
from bnn_hw.network.golden import scores
from support.cocotb_run import fresh_seed
from support.simulated_board import board_of, needs_pynq, small_build
from support.strategies import random_inputs

pytestmark = [needs_pynq, pytest.mark.filterwarnings("ignore:pkg_resources is deprecated", "ignore:Pynq does not support")]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


def test_overlay_registers_and_dma(build: Path) -> None:
    from pynq import Overlay, allocate

    from bnn_host.simulated.device import SimulatedDevice

    network = load_network(build / "network.safetensors")
    with board_of(build) as board:
        device = SimulatedDevice(board)
        overlay = Overlay(str(next((build / "bitstream").glob("*.bit"))), device=device)
        assert overlay.is_loaded()
        assert int(overlay.accelerator.register_map.MAGIC) == MAGIC
        for count in (1, 100):
            inputs = random_inputs(network, count, fresh_seed())
            words = stream_words(inputs)
            with allocate(words.shape, "u8", target=device) as sent, allocate((count, 6), "i4", target=device) as received:
                sent[:] = words
                overlay.dma.recvchannel.transfer(received)
                overlay.dma.sendchannel.transfer(sent)
                overlay.dma.sendchannel.wait()
                overlay.dma.recvchannel.wait()
                np.testing.assert_array_equal(received[:, :-1], scores(network, inputs))
                assert overlay.dma.recvchannel.transferred == count * 24
        assert board.memory.used == 0
        overlay.accelerator.write(Register.PACKET_IMAGES, 7)
        assert overlay.accelerator.read(Register.PACKET_IMAGES) == 7
        overlay.download()
        assert overlay.accelerator.read(Register.PACKET_IMAGES) == 0
        assert overlay.accelerator.read(Register.IMAGES_OUT) == 0


def test_pynqs_own_overlay_has_the_driver_of_a_build_that_it_was_bound_to(build: Path) -> None:
    """And not that of another build, whose IP has another name."""
    from pynq import DefaultIP, Overlay

    from bnn_host.pynq_overlay import AcceleratorIP, bind_driver
    from bnn_host.simulated.device import SimulatedDevice

    manifest, bit = read_manifest(build), str(next((build / "bitstream").glob("*.bit")))
    with board_of(build) as board:
        plain = Overlay(bit, device=SimulatedDevice(board))
        assert type(plain.accelerator) is DefaultIP
        assert plain.ip_dict["accelerator"]["type"] == f"bnn_hw:ip:{manifest.top}:1.0"
        bind_driver(build)
        bound = Overlay(bit, device=SimulatedDevice(board))
        assert isinstance(bound.accelerator, AcceleratorIP)
        bound.accelerator.registers.check_identity(manifest.network_sha256, manifest.plan_sha256)


def test_buffers(build: Path) -> None:
    from bnn_host.simulated.device import SimulatedDevice

    with board_of(build) as board:
        device = SimulatedDevice(board)
        buffer = device.allocate(100, "u2")
        assert (buffer.shape, buffer.nbytes, buffer.physical_address) == ((100,), 200, board.memory.base)
        part = buffer[10:20]
        assert part.physical_address == board.memory.base + 20
        del part
        assert board.memory.used == 4096
        del buffer
        assert board.memory.used == 0
        with pytest.raises(MemoryError, match=r"^no room for 1,048,577 bytes: 0 of 1,048,576 are in use$"):
            device.allocate((1 << 20) + 1, "u1")


def test_registers_in_bulk(build: Path) -> None:
    from pynq import MMIO

    from bnn_host.simulated.device import SimulatedDevice

    with board_of(build) as board:
        mmio = MMIO(0xF800_0000, 0x1000, device=SimulatedDevice(board))
        mmio.write(0x200, np.arange(4, dtype="<u4").tobytes())
        assert [mmio.read(0x200 + 4 * word) for word in range(4)] == [0, 1, 2, 3]
        mmio.array[0x80] = 0xFFFF_FFFF
        assert mmio.read(0x200) == 0xFFFF_FFFF
