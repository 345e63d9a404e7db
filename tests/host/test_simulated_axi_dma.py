# SPDX-License-Identifier: Apache-2.0
"""The simulated DMA, register by register, by what AMD PG021 says of direct register mode; behind it is a real accelerator."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bnn_host.simulated.bitfile import bin_content
from bnn_host.simulated.board import Board
from bnn_hw.contract.registers import Control, Register, Status
from bnn_hw.contract.system import block_design
from bnn_hw.errors import BoardError, ToolError
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.file import load_network
from bnn_hw.network.golden import scores
from bnn_hw.network.packing import pack_bits
from bnn_rtl.live import LiveAccelerator
from support.cocotb_run import fresh_seed
from support.simulated_board import board_of, small_build
from support.strategies import random_inputs

MM2S, S2MM = 0x00, 0x30
DMACR, DMASR, ADDRESS, MSB, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
HALTED, IDLE, INT_ERROR, SLAVE_ERROR, DECODE_ERROR = 1, 2, 0x10, 0x20, 0x40
COMPLETE, ERROR = 0x1000, 0x4000  # interrupts
IMAGE_BYTES, CLASSES = 16, 5
SYSTEM = block_design(find_board("pynq-z2"), 8)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


class Machine:
    """A board as a program on its processor sees it, configured, with its DMA running."""

    def __init__(self, board: Board, build: Path) -> None:
        self.board = board
        board.configure(bin_content(next(build.glob("bitstream/*.bit"))))
        self.network = load_network(build / "network.safetensors")
        for channel in (MM2S, S2MM):
            self.write(channel + DMACR, 1)

    def read(self, offset: int) -> int:
        return self.board.read(SYSTEM.dma.base + offset)

    def write(self, offset: int, value: int) -> None:
        self.board.write(SYSTEM.dma.base + offset, value)

    def register(self, register: Register) -> int:
        return self.board.read(SYSTEM.accelerator.base + register)

    def allocate(self, size: int) -> tuple[int, np.ndarray]:
        buffer = self.board.memory.allocate(size)
        return buffer.address, self.board.memory.content(buffer)

    def start(self, channel: int, address: int, length: int) -> None:
        self.write(channel + ADDRESS, address & 0xFFFF_FFFF)
        self.write(channel + MSB, address >> 32)
        self.write(channel + LENGTH, length)

    def wait(self, channel: int, status: int) -> None:
        deadline = time.monotonic() + 20
        while self.read(channel + DMASR) != status and time.monotonic() < deadline:
            time.sleep(1e-3)
        assert self.read(channel + DMASR) == status

    def images(self, count: int, seed: int) -> tuple[int, np.ndarray]:
        """Returns where so many images lie in memory, and the scores that they must have."""
        inputs = random_inputs(self.network, count, seed)
        address, content = self.allocate(count * IMAGE_BYTES)
        padded = np.zeros((count, IMAGE_BYTES), np.uint8)
        packed = pack_bits(inputs)
        padded[:, : packed.shape[1]] = packed
        content[:] = padded.reshape(-1)
        return address, scores(self.network, inputs)

    def reset(self) -> None:
        self.write(MM2S + DMACR, 4)
        self.board.write(SYSTEM.accelerator.base + Register.CONTROL, Control.RESET)
        for channel in (MM2S, S2MM):
            self.write(channel + DMACR, 1)

    def classifies(self) -> bool:
        """Returns whether some images get the right scores."""
        seed = fresh_seed()
        address, expected = self.images(20, seed)
        into, results = self.allocate(20 * (CLASSES + 1) * 4)
        self.start(S2MM, into, len(results))
        self.start(MM2S, address, 20 * IMAGE_BYTES)
        self.wait(MM2S, IDLE | COMPLETE)
        self.wait(S2MM, IDLE | COMPLETE)
        for channel in (MM2S, S2MM):
            self.write(channel + DMASR, COMPLETE)
        for freed in (address, into):
            self.board.memory.free(freed)
        return np.array_equal(results.view("<i4").reshape(20, -1)[:, :-1], expected)


@pytest.fixture
def machine(build: Path) -> Iterator[Machine]:
    with board_of(build) as board:
        yield Machine(board, build)


def test_after_configuration_and_reset(build: Path) -> None:
    with board_of(build) as board:
        board.configure(bin_content(next(build.glob("bitstream/*.bit"))))
        for channel in (MM2S, S2MM):
            found = [board.read(SYSTEM.dma.base + channel + offset) for offset in (DMACR, DMASR, ADDRESS, MSB, LENGTH)]
            assert found == [0x0001_0002, HALTED, 0, 0, 0]


def test_run_and_stop(machine: Machine) -> None:
    assert (machine.read(DMACR), machine.read(DMASR)) == (0x0001_0003, 0)  # idle only after a first transfer
    assert machine.classifies()
    assert machine.read(DMASR) == IDLE
    machine.write(DMACR, 0)
    assert (machine.read(DMASR), machine.read(S2MM + DMASR)) == (HALTED, IDLE)  # a halted channel is not idle
    machine.write(DMACR, 0x7001)
    assert (machine.read(DMACR), machine.read(DMASR)) == (0x0001_7003, 0)
    assert machine.classifies()


def test_interrupts_are_cleared_by_ones(machine: Machine) -> None:
    address, _ = machine.images(3, fresh_seed())
    into, _ = machine.allocate(4096)
    machine.start(S2MM, into, 4096)
    machine.start(MM2S, address, 3 * IMAGE_BYTES)
    machine.wait(S2MM, IDLE | COMPLETE)
    assert machine.read(S2MM + LENGTH) == 3 * (CLASSES + 1) * 4  # what came, not what there was room for
    assert machine.read(MM2S + LENGTH) == 3 * IMAGE_BYTES
    machine.write(S2MM + DMASR, 0)
    assert machine.read(S2MM + DMASR) == IDLE | COMPLETE
    machine.write(S2MM + DMASR, IDLE | COMPLETE)
    assert machine.read(S2MM + DMASR) == IDLE  # and only the interrupts
    assert machine.read(MM2S + DMASR) == IDLE | COMPLETE


def test_a_halted_channel_starts_nothing(machine: Machine) -> None:
    address, _ = machine.images(1, fresh_seed())
    machine.write(MM2S + DMACR, 0)
    machine.start(MM2S, address, IMAGE_BYTES)
    machine.write(MM2S + DMACR, 1)
    time.sleep(0.05)
    assert (machine.read(MM2S + DMASR), machine.register(Register.WORDS_IN)) == (0, 0)
    assert machine.classifies()


def test_a_channel_that_is_to_stop_completes_its_transfer(machine: Machine) -> None:
    address, _ = machine.images(2, fresh_seed())
    into, _ = machine.allocate(4096)
    machine.start(S2MM, into, 4096)
    machine.write(S2MM + DMACR, 0)
    assert machine.read(S2MM + DMASR) == 0
    machine.start(MM2S, address, 2 * IMAGE_BYTES)
    machine.wait(S2MM, HALTED | COMPLETE)
    assert machine.read(S2MM + LENGTH) == 2 * (CLASSES + 1) * 4


@pytest.mark.parametrize("channel", [MM2S, S2MM])
@pytest.mark.parametrize(
    ("place", "length", "error"),
    [
        (lambda base, end: base, 0, INT_ERROR),
        (lambda base, end: base - 8, 16, DECODE_ERROR),
        (lambda base, end: end - 8, 16, DECODE_ERROR),
        (lambda base, end: base + (1 << 32), 16, DECODE_ERROR),
        (lambda base, end: 0xF800_0000, 16, DECODE_ERROR),
    ],
)
def test_errors_halt_the_channel(machine: Machine, channel: int, place: Callable[[int, int], int], length: int, error: int) -> None:
    memory = machine.board.memory
    machine.start(channel, place(memory.base, memory.base + memory.size), length)
    assert machine.read(channel + DMASR) == HALTED | error | ERROR
    machine.write(channel + DMASR, 0x7FFF)
    machine.write(channel + DMACR, 1)
    assert machine.read(channel + DMASR) == HALTED | error  # until a reset
    machine.write((S2MM - channel) + DMACR, 4)  # the other channel's resets both
    assert (machine.read(MM2S + DMASR), machine.read(S2MM + DMASR)) == (HALTED, HALTED)
    machine.reset()
    assert machine.classifies()


def test_memory_up_to_its_ends_is_reached(machine: Machine) -> None:
    memory = machine.board.memory
    machine.start(S2MM, memory.base + memory.size - 4096, 4096)
    machine.start(MM2S, memory.base, IMAGE_BYTES)
    machine.wait(S2MM, IDLE | COMPLETE)


def test_more_on_the_stream_than_the_length_is_an_error(machine: Machine) -> None:
    address, _ = machine.images(2, fresh_seed())
    into, results = machine.allocate(64)
    results[:] = 0xAA
    machine.start(S2MM, into, 36)
    machine.start(MM2S, address, 2 * IMAGE_BYTES)
    machine.wait(S2MM, HALTED | INT_ERROR | ERROR)
    assert machine.read(S2MM + LENGTH) == 36
    assert np.all(results[36:] == 0xAA)
    machine.reset()
    assert machine.classifies()


def test_what_nobody_receives_waits(machine: Machine) -> None:
    address, expected = machine.images(1, fresh_seed())
    machine.start(MM2S, address, IMAGE_BYTES)
    machine.wait(MM2S, IDLE | COMPLETE)
    time.sleep(0.05)
    assert machine.register(Register.IMAGES_OUT) == 0
    into, results = machine.allocate((CLASSES + 1) * 4)
    machine.start(S2MM, into, len(results))
    machine.wait(S2MM, IDLE | COMPLETE)
    np.testing.assert_array_equal(results.view("<i4")[:-1], expected[0])


def test_part_of_a_word(machine: Machine) -> None:
    """The DMA marks the bytes of the last word that are none by TKEEP, and the accelerator says so."""
    address, _ = machine.images(1, fresh_seed())
    into, _ = machine.allocate(64)
    machine.start(S2MM, into, 64)
    machine.start(MM2S, address, IMAGE_BYTES - 3)
    machine.wait(S2MM, IDLE | COMPLETE)
    assert machine.register(Register.STATUS) & Status.NULL_BYTE


def test_reset_in_a_transfer(machine: Machine) -> None:
    address, _ = machine.images(100, fresh_seed())
    machine.start(MM2S, address, 100 * IMAGE_BYTES)  # which stalls, for nobody receives
    time.sleep(0.02)
    assert machine.read(MM2S + DMASR) == 0
    machine.reset()
    assert (machine.read(MM2S + DMASR), machine.read(S2MM + DMASR)) == (0, 0)
    assert machine.classifies()


@pytest.mark.parametrize("occasion", [1, 2])
@pytest.mark.parametrize(
    ("fault", "mm2s", "s2mm"),
    [
        ("dma-error", HALTED | SLAVE_ERROR | ERROR, 0),
        ("no-tlast", IDLE | COMPLETE, 0),
        ("stalled-output", 0, 0),
    ],
)
def test_faults_of_transfers(build: Path, fault: str, occasion: int, mm2s: int, s2mm: int) -> None:
    with board_of(build, f"{fault}:{occasion}") as board:
        machine = Machine(board, build)
        for _ in range(1, occasion):
            assert machine.classifies()
        address, _ = machine.images(50, fresh_seed())
        into, results = machine.allocate(50 * (CLASSES + 1) * 4)
        machine.start(S2MM, into, len(results))
        machine.start(MM2S, address, 50 * IMAGE_BYTES)
        machine.wait(MM2S, mm2s)
        time.sleep(0.1)
        assert (machine.read(MM2S + DMASR), machine.read(S2MM + DMASR)) == (mm2s, s2mm)
        assert (machine.read(S2MM + LENGTH) == len(results)) == (fault == "no-tlast")
        machine.reset()
        assert machine.classifies()


def test_a_wrong_digest(build: Path) -> None:
    with board_of(build, "wrong-digest:2") as board:
        machine = Machine(board, build)
        first, second, third = (machine.register(Register.DIGEST) for _ in range(3))
        assert first == third != second
        assert first.to_bytes(4, "little").hex() == board.manifest.network_sha256[:8]


def test_configuration(build: Path) -> None:
    with board_of(build) as board:
        with pytest.raises(
            BoardError,
            match=r"^0x40000000\.\.0x40000003 must be registers of pynq-z2; the FPGA has no configuration, so download the "
            r"bitstream first$",
        ):
            board.read(SYSTEM.accelerator.base)
        machine = Machine(board, build)
        assert machine.classifies()
        assert machine.register(Register.IMAGES_OUT) == 20
        content = bin_content(next(build.glob("bitstream/*.bit")))
        with pytest.raises(
            BoardError,
            match=r"^the simulated pynq-z2 takes the bitstream of its build alone, that of random with network [0-9a-f]{12}, not "
            r"another; start `bnn_hw board-sim` with the build of yours$",
        ):
            board.configure(content[:-1] + b"x")
        assert machine.register(Register.IMAGES_OUT) == 20
        board.configure(content)
        assert (machine.register(Register.IMAGES_OUT), machine.read(DMASR)) == (0, HALTED)


def test_addresses_of_nothing(machine: Machine) -> None:
    for address in (0, SYSTEM.dma.base - 4, SYSTEM.interrupts.base + SYSTEM.interrupts.size):
        with pytest.raises(BoardError, match=rf"^{address:#x}\.\.{address + 3:#x} must be registers of pynq-z2$"):
            machine.board.read(address)
    with pytest.raises(BoardError, match=r"^0x4000ffff\.\.0x40010002 must be registers of pynq-z2$"):
        machine.board.write(SYSTEM.accelerator.base + SYSTEM.accelerator.size - 1, 0)


def test_a_clock_that_fails_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LiveAccelerator, cycles: int, most_s: float) -> bool:
        raise ToolError("no more cycles")

    monkeypatch.setattr(LiveAccelerator, "run", fail)
    machine.register(Register.STATUS)  # which wakes the clock
    machine.board._clock.join(10)
    for access in (lambda: machine.register(Register.STATUS), lambda: machine.write(DMACR, 1)):
        with pytest.raises(BoardError, match=r"^the simulated pynq-z2 has stopped: no more cycles; start it anew$"):
            access()


def test_a_board_that_waits_takes_no_time(machine: Machine) -> None:
    assert machine.classifies()
    into, _ = machine.allocate(4096)
    for prepare in (lambda: None, lambda: machine.start(S2MM, into, 4096)):  # nothing to do, and nothing that comes
        prepare()
        time.sleep(0.3)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1
    address, _ = machine.images(1, fresh_seed())
    machine.start(MM2S, address, IMAGE_BYTES)
    machine.wait(S2MM, IDLE | COMPLETE)
