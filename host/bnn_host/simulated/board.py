# SPDX-License-Identifier: Apache-2.0
"""The whole of a simulated board: address map, DMA, memory, processor, and the accelerator in their midst."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol

from bnn_host.simulated.axi_dma import AxiDma, Streams
from bnn_host.simulated.faults import Fault, Faults, PlannedFault
from bnn_host.simulated.files import BoardFiles
from bnn_host.simulated.memory import Memory
from bnn_host.simulated.registers import processor_registers
from bnn_hw.boards import find_board
from bnn_hw.errors import ArtefactError, BoardError
from bnn_hw.manifest import Manifest
from bnn_hw.registers import Register, Status
from bnn_hw.system import Segment, block_design

__all__ = ["Accelerator", "Board"]

_RUN_CYCLES: Final = 1000  # at once, during which nobody else has the board
_REST_S: Final = 1e-4  # in which others may have it
_WORD_BYTES: Final = 4


class Accelerator(Streams, Protocol):
    """What the board needs of an accelerator: `bnn_rtl.live.LiveAccelerator` has it."""

    def run(self, cycles: int) -> bool: ...
    def read(self, address: int) -> int: ...
    def write(self, address: int, value: int) -> None: ...


class _Slave(Protocol):
    def read(self, offset: int) -> int: ...
    def write(self, offset: int, value: int) -> None: ...


class Board:
    """A simulated board, safe for threads; to be closed, or used in a ``with`` statement.

    `manifest`: of the build that it carries. `bitstream`: the only one that it takes, as a .bin. `configure` gives the
    accelerator as it is after the FPGA's configuration. `memory_bytes` of memory can be allocated. `on_server_fault` is
    called with a fault that is to befall the server of this board.

    The clock runs while words move, after an access to the accelerator as long as it is busy, and then for a while more:
    for as many cycles as many images take. So a simulation that waits for nothing takes no processor time.
    """

    def __init__(
        self,
        manifest: Manifest,
        bitstream: bytes,
        configure: Callable[[], Accelerator],
        *,
        memory_bytes: int = 128 << 20,
        faults: Sequence[PlannedFault] = (),
        on_server_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        board = find_board(manifest.board)
        system = block_design(board, manifest.ports["s_axi"]["address_bits"])
        assert board.processor is not None
        if not 0 < memory_bytes <= board.processor.ddr_bytes:
            raise ArtefactError(f"memory of {board.name} must be 1..{board.processor.ddr_bytes:,} bytes, not {memory_bytes:,}")
        self.manifest = manifest
        self.memory = Memory(system.memory.base + system.memory.size - memory_bytes, memory_bytes)
        self.files = BoardFiles(board.processor, self.configure)
        self.lock = threading.RLock()
        self._bitstream, self._new_accelerator = bitstream, configure
        self._faults = Faults(faults)
        self._dma = AxiDma(self.memory, self._faults, on_server_fault or (lambda fault: None))
        self._accelerator: Accelerator | None = None
        self._weights = (manifest.ports["s_axi"].get("weights") or {}).get("offset")
        self._map: list[tuple[Segment, _Slave]] = [
            (system.accelerator, _AcceleratorPort(self)),
            (system.dma, _DmaPort(self)),
            *processor_registers(board, board.processor),
        ]
        self._patience_cycles = 32 * manifest.cycles_per_image + 4096
        self._quiet_cycles = self._patience_cycles
        self._closed = False
        self._woken = threading.Condition(self.lock)
        self._clock = threading.Thread(target=self._run, name="clock", daemon=True)
        self._clock.start()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops the clock."""
        with self._woken:
            self._closed = True
            self._woken.notify()
        if threading.current_thread() is not self._clock:
            self._clock.join()

    def configure(self, content: bytes) -> None:
        """Configures the FPGA: accelerator and DMA are as after their start. Raises `BoardError` for another bitstream."""
        if content != self._bitstream:
            raise BoardError(
                f"this board takes the bitstream of {self.manifest.name} for {self.manifest.board} alone, network "
                f"{self.manifest.network_sha256[:12]}, and was given another one; start `bnn_hw board-sim` with that build"
            )
        with self.lock:
            self._accelerator = self._new_accelerator()
            self._dma.connect(self._accelerator)

    def check_range(self, base: int, size: int) -> None:
        """Raises `BoardError` where addresses belong to nothing, or to more than one thing."""
        if not any(base in segment and base + max(size, 1) - 1 in segment for segment, _ in self._map):
            raise BoardError(f"nothing is at {base:#x}..{base + max(size, 1) - 1:#x} of the simulated {self.manifest.board}")

    def read(self, address: int) -> int:
        """Returns the register at an address."""
        with self.lock:
            slave, offset = self._slave(address)
            return slave.read(offset)

    def write(self, address: int, value: int) -> None:
        """Writes the register at an address."""
        with self.lock:
            slave, offset = self._slave(address)
            slave.write(offset, value)

    def _slave(self, address: int) -> tuple[_Slave, int]:
        self.check_range(address, _WORD_BYTES)
        return next((slave, address - segment.base) for segment, slave in self._map if address in segment)

    def wake(self) -> None:
        """Lets the clock run on."""
        self._quiet_cycles = 0
        self._woken.notify()

    def _run(self) -> None:
        while True:
            with self._woken:
                while self._quiet_cycles >= self._patience_cycles and not self._closed:
                    self._woken.wait()
                if self._closed:
                    return
                assert self._accelerator is not None
                moved = self._accelerator.run(_RUN_CYCLES)
                self._dma.update()
                self._quiet_cycles = 0 if moved else self._quiet_cycles + _RUN_CYCLES
                if not moved and not self._dma.active and not self._busy:
                    self._quiet_cycles = self._patience_cycles
            time.sleep(_REST_S)

    @property
    def _busy(self) -> bool:
        assert self._accelerator is not None
        return bool(self._accelerator.read(Register.STATUS) & (Status.BUSY | Status.SWAPPING))

    @property
    def configured(self) -> Accelerator:
        """The accelerator. Raises `BoardError` where the FPGA has no configuration yet."""
        if self._accelerator is None:
            raise BoardError("the FPGA is not configured; download the bitstream first")
        return self._accelerator


class _AcceleratorPort:
    """The accelerator's registers, and what befalls them."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def read(self, offset: int) -> int:
        value = self._board.configured.read(offset)
        self._board.wake()
        wrong = offset == Register.DIGEST and self._board._faults.strike(Fault.WRONG_DIGEST)
        return value ^ 1 if wrong else value

    def write(self, offset: int, value: int) -> None:
        wrong = offset == self._board._weights and self._board._faults.strike(Fault.CORRUPTED_WEIGHTS)
        self._board.configured.write(offset, value ^ 1 if wrong else value)
        self._board.wake()


class _DmaPort:
    """The DMA's registers, which are there once the FPGA is configured."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def read(self, offset: int) -> int:
        assert self._board.configured
        return self._board._dma.read(offset)

    def write(self, offset: int, value: int) -> None:
        assert self._board.configured
        self._board._dma.write(offset, value)
        self._board.wake()
