# SPDX-License-Identifier: Apache-2.0
"""The stock pynq package against a served board, each client in a process of its own."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnn_host.simulated.bitfile import bit_file
from bnn_hw.network.file import load_network
from support.simulated_board import (
    board_of,
    built,
    client,
    environment,
    free_address,
    needs_pynq,
    pynq_lock,
    run_client,
    serving,
    small_build,
)

pytestmark = needs_pynq

CLASSIFY = """
import sys
from pathlib import Path
import numpy as np
from pynq import MMIO, Overlay, allocate
from bnn_hw.network.file import load_network
from bnn_hw.network.vectors import load_vectors
from bnn_hw.contract.streams import stream_words
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
mmio = MMIO(overlay.ip_dict["accelerator"]["phys_addr"], 256)
print(overlay.device.name, hex(int(registers.MAGIC)), mmio.read(0x18), overlay.dma.recvchannel.transferred)
"""

# What is left behind: most of the memory, and a transfer that receives into it.
LEAVE_BEHIND = """
import sys, time
from pathlib import Path
from pynq import Overlay, allocate
overlay = Overlay(str(next((Path(sys.argv[1]) / "bitstream").glob("*.bit"))))
buffers = [allocate(25 << 20, "u1") for _ in range(4)]
overlay.dma.recvchannel.transfer(buffers[0])
print(hex(buffers[0].physical_address), flush=True)
time.sleep(100)
"""

MEMORY = """
import sys
from pathlib import Path
from pynq import Overlay, allocate
import grpc
overlay = Overlay(str(next((Path(sys.argv[1]) / "bitstream").glob("*.bit"))))
most = allocate(128 << 20, "u1")
print(hex(most.physical_address))
try:
    allocate(1, "u1").physical_address
except grpc.RpcError as error:
    print(error.code(), error.details())
most.freebuffer()
print(hex(allocate(1, "u1").physical_address))
"""

REFUSED = """
import sys, warnings
from pynq import MMIO, Overlay
import grpc
for attempt in (lambda: MMIO(0x1000, 4), lambda: MMIO(0x4000_0000, 4), lambda: Overlay(sys.argv[1])):
    try:
        attempt()
    except RuntimeError as error:
        print(error)
    except grpc.RpcError as error:
        print(error.code(), error.details())
"""

WRITES = """
import sys
from pathlib import Path
from pynq import Overlay
overlay = Overlay(str(next((Path(sys.argv[1]) / "bitstream").glob("*.bit"))))
mmio = overlay.accelerator.mmio
mmio.write(0x10, 0xFFFF_FFFF)
print(hex(mmio.read(0x10)))
for attempt in (lambda: mmio.write(0x10, bytes(8)), lambda: mmio.read(1 << 16)):
    try:
        attempt()
    except RuntimeError as error:
        print(error)
"""

# Whether the server answers a second after a transfer that is to strike it.
STRUCK = """
import sys, threading, time
from pathlib import Path
from pynq import Overlay, allocate
overlay = Overlay(str(next((Path(sys.argv[1]) / "bitstream").glob("*.bit"))))
sent, received = allocate(16 * 100, "u1"), allocate((100, 6), "i4")
overlay.dma.recvchannel.transfer(received)
overlay.dma.sendchannel.transfer(sent)
time.sleep(1)
answer = []
def ask():
    try:
        answer.append(overlay.dma.mmio.read(4))
    except Exception as error:
        answer.append(error.code())
thread = threading.Thread(target=ask, daemon=True)
thread.start()
thread.join(2)
print(answer, flush=True)
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


@pytest.fixture(scope="module")
def address(small: Path) -> Iterator[str]:
    address = free_address()
    with serving(small, address):
        yield address


def test_stock_pynq_is_bit_exact(small: Path, address: str) -> None:
    assert run_client(CLASSIFY, address, small) == "Pynq-Z2 0x424e4e31 192 1536\n"


def test_a_board_with_ultrascale(small: Path, tmp_path: Path) -> None:
    """Whose clocks and registers are others."""
    build, address = built(load_network(small / "network.safetensors"), tmp_path / "zcu104", board="zcu104"), free_address()
    with serving(build, address):
        assert run_client(CLASSIFY, address, build) == "ZCU104 0x424e4e31 192 1536\n"


def test_what_a_killed_client_leaves_is_gone(small: Path, address: str) -> None:
    with pynq_lock(), client(LEAVE_BEHIND, address, small) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "0x18000000\n"
        killed.kill()
    assert run_client(CLASSIFY, address, small) == "Pynq-Z2 0x424e4e31 192 1536\n"
    with pynq_lock(), client(LEAVE_BEHIND, address, small) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "0x18000000\n"
        killed.send_signal(signal.SIGKILL)
    assert run_client(MEMORY, address, small).splitlines()[0] == "0x18000000"


def test_a_buffer_is_of_address_and_port(small: Path) -> None:
    """Another client may have the same port at another address."""
    from bnn_host.simulated.server import PORT, _free_disconnected

    address, other = free_address(), free_address()
    with (
        board_of(small) as board,
        socket.create_server((address, PORT)) as server,
        socket.create_connection((address, PORT), source_address=(other, 0)) as client,
        server.accept()[0],
    ):
        port = client.getsockname()[1]
        there = [f"ipv4:{other}:{port}", f"ipv6:%5B::ffff:{other}%5D:{port}"]
        gone = [f"ipv4:{address}:{port}", f"ipv6:%5B::1%5D:{port}", f"ipv6:[fe80::1%25eth0]:{port}", f"ipv4:{other}:1"]
        for owner in there + gone:
            board.memory.allocate(1, owner)
        _free_disconnected(board)
        assert board.memory.owners == set(there)


def test_memory_has_an_end(small: Path, address: str) -> None:
    assert run_client(MEMORY, address, small).splitlines() == [
        "0x18000000",
        "StatusCode.NOT_FOUND Buffer not found.",
        "0x18000000",
    ]


def test_words_of_registers(small: Path, address: str) -> None:
    assert run_client(WRITES, address, small).splitlines() == [
        "0xffffffff",
        "MMIO over PYNQ.remote writes 4 bytes, not 8; write word by word",
        "offset must be 0..65532, not 65536",
    ]


def test_what_a_board_refuses(small: Path, tmp_path: Path) -> None:
    (tmp_path / "random.bit").write_bytes(bit_file("another", "xc7z020clg400-1", bytes(32)))
    shutil.copy(next(small.glob("bitstream/*.hwh")), tmp_path / "random.hwh")
    address = free_address()
    with serving(small, address):
        nothing, unconfigured, another = run_client(REFUSED, address, tmp_path / "random.bit").splitlines()
    assert nothing.startswith("0x1000..0x1003 must be registers of pynq-z2; the FPGA has no configuration")
    assert unconfigured.startswith("0x40000000..0x40000003 must be registers of pynq-z2; the FPGA has no configuration")
    assert re.fullmatch(
        r"StatusCode\.INTERNAL the simulated pynq-z2 takes the bitstream of its build alone, that of random with network "
        r"[0-9a-f]{12}, not another; start `bnn_hw board-sim` with the build of yours",
        another,
    )


def test_a_server_that_dies(small: Path) -> None:
    address = free_address()
    with serving(small, address, "server-dies") as server:
        assert run_client(STRUCK, address, small) == "[<StatusCode.UNAVAILABLE: (14, 'unavailable')>]\n"
        assert server.wait(10) == 70


def test_a_server_that_hangs(small: Path) -> None:
    address = free_address()
    with serving(small, address, "server-hangs") as server:
        assert run_client(STRUCK, address, small) == "[]\n"
        server.terminate()
        assert server.wait(10) == 130


def board_sim(*arguments: object) -> tuple[int, str]:
    """Returns the exit code of `bnn_hw board-sim` and what it printed as its error."""
    command = [sys.executable, "-m", "bnn_hw", "board-sim", *map(str, arguments)]
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    return finished.returncode, finished.stderr.strip()


def test_an_address_in_use(small: Path, address: str) -> None:
    code, error = board_sim(small, "--address", address)
    assert code == 2
    assert re.fullmatch(
        rf"error: {address}:7967 must be a free address of this machine \(.*Address already in use.*\); end the board that has it, "
        r"or give another --address, such as 127\.0\.0\.2",
        error,
    )


def test_builds_and_options_that_cannot_be(small: Path, tmp_path: Path) -> None:
    code, error = board_sim(small, "--fault", "smoke")
    assert (code, error.split(" with ")[0]) == (1, "error: fault must be KIND or KIND:N")
    assert board_sim(tmp_path) == (2, f"error: {tmp_path} is not a build; `bnn_hw build` makes one")
    for nowhere in ("no.such.address", "", "é" * 99):
        code, error = board_sim(small, "--address", nowhere)
        assert (code, error.split(" (")[0]) == (2, f"error: {nowhere}:7967 must be a free address of this machine")
    altered = shutil.copytree(small, tmp_path / "altered")
    next(Path(altered).glob("bitstream/*.bit")).write_bytes(b"")
    code, error = board_sim(altered)
    assert code == 2
    assert re.match(r"error: \S+random_[0-9a-f]{8}\.bit is not as overlay\.json has it", error)
