# SPDX-License-Identifier: Apache-2.0
"""The stock pynq package against a served board: Overlay, register_map, MMIO, allocate and DMA, bit-exact."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulated_board import built, free_address, needs_pynq, run_client, serving

pytestmark = needs_pynq

CLASSIFY = """
import sys
from pathlib import Path
import numpy as np
from pynq import Overlay, allocate
from bnn_hw.network_file import load_network
from bnn_hw.vectors import load_vectors
from bnn_rtl.simulation import stream_words
build = Path(sys.argv[1])
network = load_network(build / "network.safetensors")
vectors = load_vectors(network, build / "vectors.npz")
words = stream_words(vectors.inputs)
overlay = Overlay(str(next((build / "bitstream").glob("*.bit"))))
sent, received = allocate(words.shape, "u8"), allocate((len(words), network.classes + 1), "i4")
sent[:] = words
for _ in range(3):
    overlay.dma.recvchannel.transfer(received)
    overlay.dma.sendchannel.transfer(sent)
    overlay.dma.sendchannel.wait()
    overlay.dma.recvchannel.wait()
    assert np.array_equal(received[:, :-1], vectors.expected.scores)
    received[:] = 0
registers = overlay.accelerator.register_map
print(overlay.device.name, hex(int(registers.MAGIC)), int(registers.IMAGES_OUT), overlay.dma.recvchannel.transferred)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("mnist-tiny", tmp_path_factory.mktemp("simulated") / "tiny")


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    address = free_address()
    with serving(tiny, address):
        yield address


def test_stock_pynq_is_bit_exact(tiny: Path, address: str) -> None:
    assert run_client(CLASSIFY, address, tiny) == "Pynq-Z2 0x424e4e31 768 11264\n"
