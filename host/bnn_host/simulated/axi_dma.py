# SPDX-License-Identifier: Apache-2.0
"""The AXI DMA in simple mode, as seen through its registers (AMD PG021, "Direct Register Mode").

Where PG021 leaves behaviour undefined, this model chooses: a transfer requested during another one, or while the channel
is halted, does not start.
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Final, Protocol

import numpy as np

from bnn_host.simulated.faults import Fault, Faults
from bnn_host.simulated.memory import Memory
from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.contract.system import DMA_LENGTH_BITS

__all__ = ["S2MM", "AxiDma", "DmaControl", "DmaRegister", "DmaStatus", "Streams"]

S2MM: Final = 0x30  # where the second channel's registers begin
_ALWAYS: Final = 0x0001_0002  # bits of a control register that always read as set: one interrupt a transfer, and a reserved one
_STREAM_BYTES: Final = STREAM_BITS // 8
_LENGTH_MASK: Final = (1 << DMA_LENGTH_BITS) - 1


class DmaRegister(IntEnum):
    """Byte offsets in a channel: mm2s at 0, s2mm at 0x30."""

    CONTROL = 0x00
    STATUS = 0x04
    ADDRESS = 0x18
    ADDRESS_MSB = 0x1C
    LENGTH = 0x28  # write: starts a transfer; read: bytes transferred


class DmaControl(IntFlag):
    """Bits of a control register that the model heeds, and those that it keeps."""

    RUN = 1
    RESET = 4  # of both channels
    INTERRUPTS = 0x7000  # which of the interrupts reach the pin; in a status register the same bits are the interrupts


class DmaStatus(IntFlag):
    """Bits of a status register; an error halts the channel until a reset."""

    HALTED = 1
    IDLE = 2  # the last transfer has ended; not set before the first
    INTERNAL_ERROR = 0x10  # a length of 0, or more on the stream than the length
    SLAVE_ERROR = 0x20
    DECODE_ERROR = 0x40  # nothing at the address
    IOC_INTERRUPT = 0x1000  # write 1 to clear, as the next
    ERROR_INTERRUPT = 0x4000


_ERRORS: Final = DmaStatus.INTERNAL_ERROR | DmaStatus.SLAVE_ERROR | DmaStatus.DECODE_ERROR


class Streams(Protocol):
    """What the DMA needs of an accelerator: `bnn_rtl.live.LiveAccelerator` has it."""

    @property
    def sent_bytes(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def received_last(self) -> bool: ...
    @property
    def overflowed(self) -> bool: ...
    def send(self, content: np.ndarray, *, last: bool) -> None: ...
    def receive(self, into: np.ndarray, *, heed_last: bool = True) -> None: ...
    def stop(self) -> None: ...


class _Channel:
    """The registers of one channel."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.control, self.status = 0, DmaStatus.HALTED
        self.address = self.length = 0
        self.active = False

    def run(self, control: int) -> None:
        """Handles a write to CONTROL; a channel told to stop completes its transfer first."""
        self.control = control & (DmaControl.RUN | DmaControl.INTERRUPTS)
        if control & DmaControl.RUN and not self.status & _ERRORS:
            self.status &= ~DmaStatus.HALTED
        elif not control & DmaControl.RUN and not self.active:
            self._halt()

    def complete(self, length: int) -> None:
        self.active, self.length = False, length
        self.status |= DmaStatus.IDLE | DmaStatus.IOC_INTERRUPT
        if not self.control & DmaControl.RUN:
            self._halt()

    def fail(self, error: DmaStatus) -> None:
        self.active = False
        self.control &= ~DmaControl.RUN
        self.status |= error | DmaStatus.ERROR_INTERRUPT
        self._halt()

    def _halt(self) -> None:
        self.status = self.status & ~DmaStatus.IDLE | DmaStatus.HALTED


class AxiDma:
    """Both channels, between memory and an accelerator's streams, after their reset.

    `on_server_fault` is called with a fault that befalls the server, in the middle of the transfer that it strikes.
    """

    def __init__(self, memory: Memory, streams: Streams, faults: Faults, on_server_fault: Callable[[Fault], None]) -> None:
        self._memory, self._streams = memory, streams
        self._faults, self._on_server_fault = faults, on_server_fault
        self._mm2s, self._s2mm = _Channel(), _Channel()
        self._fault: Fault | None = None  # a fault that strikes when half of mm2s's transfer has been taken
        self._stalled = False  # whether s2mm takes nothing

    def _reset(self) -> None:
        """Resets both channels, as either one's reset bit does."""
        self._streams.stop()
        self._mm2s.reset()
        self._s2mm.reset()
        self._fault, self._stalled = None, False

    @property
    def active(self) -> bool:
        """Whether a transfer is under way."""
        return self._mm2s.active or self._s2mm.active

    def read(self, offset: int) -> int:
        """Returns a register."""
        channel, register = self._select(offset)
        match register:
            case DmaRegister.CONTROL:
                return channel.control | _ALWAYS
            case DmaRegister.STATUS:
                return int(channel.status)
            case DmaRegister.ADDRESS:
                return channel.address & 0xFFFF_FFFF
            case DmaRegister.ADDRESS_MSB:
                return channel.address >> 32
            case DmaRegister.LENGTH:
                return channel.length
        return 0

    def write(self, offset: int, value: int) -> None:
        """Writes a register."""
        channel, register = self._select(offset)
        match register:
            case DmaRegister.CONTROL if value & DmaControl.RESET:
                self._reset()
            case DmaRegister.CONTROL:
                channel.run(value)
            case DmaRegister.STATUS:
                channel.status &= ~(value & DmaControl.INTERRUPTS)
            case DmaRegister.ADDRESS:
                channel.address = channel.address & ~0xFFFF_FFFF | value
            case DmaRegister.ADDRESS_MSB:
                channel.address = channel.address & 0xFFFF_FFFF | value << 32
            case DmaRegister.LENGTH if not channel.active and not channel.status & DmaStatus.HALTED:
                self._start(channel, value & _LENGTH_MASK)

    def _select(self, offset: int) -> tuple[_Channel, int]:
        return (self._s2mm, offset - S2MM) if offset >= S2MM else (self._mm2s, offset)

    def _start(self, channel: _Channel, length: int) -> None:
        channel.status &= ~DmaStatus.IDLE
        channel.length = length
        content = self._memory.view(channel.address, length)
        if length == 0:
            channel.fail(DmaStatus.INTERNAL_ERROR)
        elif content is None:
            channel.fail(DmaStatus.DECODE_ERROR)
        elif channel is self._mm2s:
            channel.active = True
            self._fault = self._faults.strike(Fault.DMA_ERROR, Fault.SERVER_DIES, Fault.SERVER_HANGS)
            self._streams.send(content[: _half(length)] if self._fault else content, last=not self._fault)
        else:
            channel.active = True
            channel.length = 0
            fault = self._faults.strike(Fault.NO_TLAST, Fault.STALLED_OUTPUT)
            self._stalled = fault is Fault.STALLED_OUTPUT
            if not self._stalled:
                self._streams.receive(content, heed_last=fault is None)

    def update(self) -> None:
        """Records the streams' progress; must be called whenever they have run."""
        streams = self._streams
        if self._mm2s.active and self._fault is not None and streams.sent_bytes >= _half(self._mm2s.length):
            self._fail_half_way(self._fault)
        elif self._mm2s.active and streams.sent_bytes >= self._mm2s.length:
            self._mm2s.complete(self._mm2s.length)
        if self._s2mm.active and not self._stalled:
            self._s2mm.length = streams.received_bytes
            if streams.overflowed:
                self._s2mm.fail(DmaStatus.INTERNAL_ERROR)
            elif streams.received_last:
                self._s2mm.complete(streams.received_bytes)

    def _fail_half_way(self, fault: Fault) -> None:
        self._fault = None
        if fault is Fault.DMA_ERROR:
            self._mm2s.fail(DmaStatus.SLAVE_ERROR)
        else:
            self._on_server_fault(fault)


def _half(length: int) -> int:
    """Returns about half of a number of bytes, in whole words of the stream."""
    return length // 2 // _STREAM_BYTES * _STREAM_BYTES
