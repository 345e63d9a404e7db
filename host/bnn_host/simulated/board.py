# SPDX-License-Identifier: Apache-2.0
"""The whole of a simulated board: address map, DMA, memory, processor, and the accelerator."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol

from bnn_host.simulated.axi_dma import AxiDma, Streams
from bnn_host.simulated.faults import Fault, Faults, PlannedFault
from bnn_host.simulated.files import BoardFiles
from bnn_host.simulated.memory import Memory
from bnn_host.simulated.registers import PlainRegisters, processor_registers
from bnn_hw.artefacts.manifest import Manifest
from bnn_hw.contract.registers import Register, Status
from bnn_hw.contract.system import Segment, block_design
from bnn_hw.errors import ArtefactError, BoardError
from bnn_hw.fpga.boards import find_board

__all__ = ["Board", "SimulatedAccelerator"]

_RUN_S: Final = 5e-3  # the clock runs this long at a time, holding the board
_REST_S: Final = 1e-4  # then others may hold it for this long
_PATIENCE_IMAGES: Final = 32  # more than a network has layers
_PATIENCE_CYCLES: Final = 4096  # and these, for short ones
_WORD_BYTES: Final = 4


class _Slave(Protocol):
    """Registers, by their offset."""

    def read(self, offset: int, /) -> int: ...
    def write(self, offset: int, value: int, /) -> None: ...


class SimulatedAccelerator(Streams, _Slave, Protocol):
    """What the board needs of an accelerator: `bnn_rtl.live.LiveAccelerator` has it."""

    @property
    def cycles(self) -> int: ...
    def run(self, cycles: int, most_s: float) -> bool: ...


class Board:
    """A simulated board, safe for threads; close it, or use it in a ``with`` statement.

    `manifest`: of the build that it carries. `bitstream`: the only one that it accepts, as a .bin. `new_accelerator` gives the
    accelerator as it is after the FPGA's configuration. `memory_bytes` of memory can be allocated. `on_server_fault` is
    called with a fault that strikes the server of this board.

    The clock runs while words move, and then for the time of some images; so an idle board takes no processor time,
    whatever it waits for.
    """

    def __init__(
        self,
        manifest: Manifest,
        bitstream: bytes,
        new_accelerator: Callable[[], SimulatedAccelerator],
        *,
        memory_bytes: int = 128 << 20,
        faults: Sequence[PlannedFault] = (),
        on_server_fault: Callable[[Fault], None] = lambda fault: None,
    ) -> None:
        board = find_board(manifest.board)
        self._system = system = block_design(board, manifest.ports["s_axi"]["address_bits"])
        assert board.processor is not None
        if not 0 < memory_bytes <= system.memory.size:
            raise ArtefactError(f"memory of {board.name} must be 1..{system.memory.size:,} bytes, not {memory_bytes:,}")
        self.manifest, self._bitstream, self._new_accelerator = manifest, bitstream, new_accelerator
        self._faults, self._on_server_fault = Faults(faults), on_server_fault
        self.memory = Memory(system.memory.base + system.memory.size - memory_bytes, memory_bytes)
        self.files = BoardFiles(board.processor, self.configure)
        self._processor: list[tuple[Segment, _Slave]] = [*processor_registers(board, board.processor)]
        self._logic: list[tuple[Segment, _Slave]] = []  # of the FPGA, which has no configuration yet
        self.lock = threading.RLock()
        self._patience_cycles = _PATIENCE_IMAGES * manifest.cycles_per_image + _PATIENCE_CYCLES
        self._quiet_cycles = self._patience_cycles
        self._closed = False
        self._failure: Exception | None = None  # the error that has ended the clock
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
        self._clock.join()

    def configure(self, content: bytes) -> None:
        """Configures the FPGA: accelerator and DMA are as after their start. Raises `BoardError` for another bitstream."""
        if content != self._bitstream:
            raise BoardError(
                f"the simulated {self.manifest.board} takes the bitstream of its build alone, that of {self.manifest.name} with "
                f"network {self.manifest.network_sha256[:12]}, not another; start `bnn_hw board-sim` with the build of yours"
            )
        with self.lock:
            self._accelerator = self._new_accelerator()
            self._dma = AxiDma(self.memory, self._accelerator, self._faults, self._on_server_fault)
            weights = self.manifest.ports["s_axi"].get("weights")
            self._logic = [
                (self._system.accelerator, _Registers(self._accelerator, self._faults, weights and weights["offset"])),
                (self._system.dma, self._dma),
                (self._system.interrupts, PlainRegisters()),
            ]

    def check_range(self, base: int, size: int) -> None:
        """Raises `BoardError` where not all of these addresses are registers of one thing."""
        if not any(base in segment and base + size - 1 in segment for segment, _ in self._map):
            hint = "" if self._logic else "; the FPGA has no configuration, so download the bitstream first"
            raise BoardError(f"{base:#x}..{base + size - 1:#x} must be registers of {self.manifest.board}{hint}")

    def read(self, address: int) -> int:
        """Returns the register at an address."""
        with self.lock:
            slave, offset = self._slave(address)
            value = slave.read(offset)
            if isinstance(slave, _Registers):
                self._wake()
            return value

    def write(self, address: int, value: int) -> None:
        """Writes the register at an address."""
        with self.lock:
            slave, offset = self._slave(address)
            slave.write(offset, value)
            if not isinstance(slave, PlainRegisters):
                self._wake()

    @property
    def _map(self) -> list[tuple[Segment, _Slave]]:
        return [*self._logic, *self._processor]

    def _slave(self, address: int) -> tuple[_Slave, int]:
        if self._failure:
            raise BoardError(f"the simulated {self.manifest.board} has stopped: {self._failure}; start it anew") from self._failure
        self.check_range(address, _WORD_BYTES)
        return next((slave, address - segment.base) for segment, slave in self._map if address in segment)

    def _wake(self) -> None:
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
                try:
                    self._advance()
                except Exception as error:  # of any kind, for the threads that would otherwise wait for ever
                    self._failure = error
                    return
            time.sleep(_REST_S)

    def _advance(self) -> None:
        """Lets the clock run a little."""
        before = self._accelerator.cycles
        moved = self._accelerator.run(self._patience_cycles, _RUN_S)
        self._dma.update()
        status = self._accelerator.read(Register.STATUS)
        if moved or status & Status.SWAPPING:  # swapping ends by itself, however long it takes
            self._quiet_cycles = 0
        elif self._dma.active or status & Status.BUSY:
            self._quiet_cycles += self._accelerator.cycles - before
        else:
            self._quiet_cycles = self._patience_cycles


class _Registers:
    """The accelerator's registers, and the faults that strike them. `weights`: the offset of the weights' window, if any."""

    def __init__(self, accelerator: SimulatedAccelerator, faults: Faults, weights: int | None) -> None:
        self._accelerator, self._faults, self._weights = accelerator, faults, weights

    def read(self, offset: int) -> int:
        value = self._accelerator.read(offset)
        wrong = offset == Register.DIGEST and self._faults.strike(Fault.WRONG_DIGEST)
        return value ^ 1 if wrong else value

    def write(self, offset: int, value: int) -> None:
        wrong = offset == self._weights and self._faults.strike(Fault.CORRUPTED_WEIGHTS)
        self._accelerator.write(offset, value ^ 1 if wrong else value)
