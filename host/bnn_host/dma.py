# SPDX-License-Identifier: Apache-2.0
"""The AXI DMA in simple mode (AMD PG021), with a deadline for every wait.

pynq's own driver polls without a deadline when it starts, stops and waits for a channel, reads the state before each transfer, and
needs an event loop for the interrupts. This one writes only a transfer's registers and polls until a deadline.
"""

import time
from collections.abc import Callable
from enum import IntFlag
from typing import Final

from bnn_host.register_access import Mmio
from bnn_hw.errors import BoardError

__all__ = ["Dma", "DmaStatus", "poll"]

_CONTROL: Final = 0x00
_STATUS: Final = 0x04
_ADDRESS: Final = 0x18  # of 32 bits: the block design's memory lies below
_LENGTH: Final = 0x28
_CHANNELS: Final = {"MM2S": 0x00, "S2MM": 0x30}  # memory to stream, stream to memory
_RUN: Final = 1
_RESET: Final = 4
_EAGER_S: Final = 0.001  # a poll does not sleep this long at first: longer than a small batch takes
_PAUSE_S: Final = 0.0001


class DmaStatus(IntFlag):
    """Bits of a channel's status."""

    HALTED = 1 << 0
    IDLE = 1 << 1
    INTERNAL_ERROR = 1 << 4  # a length of 0, or a packet longer than the length
    SLAVE_ERROR = 1 << 5  # memory answered with an error
    DECODE_ERROR = 1 << 6  # no memory at the address
    IOC_INTERRUPT = 1 << 12
    ERROR_INTERRUPT = 1 << 14


_ERRORS: Final = DmaStatus.INTERNAL_ERROR | DmaStatus.SLAVE_ERROR | DmaStatus.DECODE_ERROR


def poll(ready: Callable[[], bool], deadline: float) -> bool:
    """Returns whether `ready` came true before `deadline`, which is one of `time.monotonic`."""
    eager_until = time.monotonic() + _EAGER_S
    while not ready():
        now = time.monotonic()
        if now > deadline:
            return False
        if now > eager_until:
            time.sleep(_PAUSE_S)
    return True


class Dma:
    """The DMA's two channels behind `mmio`. The memory of a transfer must stay until it has ended, or `halt` has."""

    def __init__(self, mmio: Mmio) -> None:
        self._mmio = mmio

    def halt(self, deadline: float) -> None:
        """Ends all transfers, and takes no more words. Raises `BoardError` if the DMA does not halt in time."""
        for channel in _CHANNELS.values():
            self._mmio.write(channel + _CONTROL, _RESET)  # either one resets both
        if not poll(lambda: not any(self._mmio.read(at + _CONTROL) & _RESET for at in _CHANNELS.values()), deadline):
            raise BoardError("the DMA does not end its reset")

    def start(self, deadline: float) -> None:
        """Makes both channels ready for transfers. Raises `BoardError` if they are not ready in time."""
        for channel in _CHANNELS.values():
            self._mmio.write(channel + _CONTROL, _RUN)
        if not poll(lambda: not any(self._status(name) & DmaStatus.HALTED for name in _CHANNELS), deadline):
            raise BoardError("the DMA does not start")

    def receive(self, address: int, length: int) -> None:
        """Begins to write a packet of at most `length` bytes from the stream to memory."""
        self._begin("S2MM", address, length)

    def send(self, address: int, length: int) -> None:
        """Begins to write `length` bytes from memory to the stream, as a packet."""
        self._begin("MM2S", address, length)

    def done(self) -> bool:
        """Returns whether both channels have ended their transfers. Raises `BoardError` where one has met an error."""
        statuses = {name: self._status(name) for name in _CHANNELS}
        for name, status in statuses.items():
            if status & (_ERRORS | DmaStatus.HALTED):
                raise BoardError(f"the DMA's channel {name} stopped: {_names(status)}")
        return all(status & DmaStatus.IDLE for status in statuses.values())

    def received(self) -> int:
        """Returns the bytes that the last transfer from the stream has written."""
        return self._mmio.read(_CHANNELS["S2MM"] + _LENGTH)

    def describe(self) -> str:
        """Returns the registers of both channels as text."""
        return "; ".join(
            f"DMA {name}: control {self._mmio.read(channel + _CONTROL):#x}, status {_names(self._status(name))}, "
            f"length {self._mmio.read(channel + _LENGTH):,}"
            for name, channel in _CHANNELS.items()
        )

    def _begin(self, name: str, address: int, length: int) -> None:
        channel = _CHANNELS[name]
        self._mmio.write(channel + _ADDRESS, address)
        self._mmio.write(channel + _LENGTH, length)  # this begins the transfer

    def _status(self, name: str) -> DmaStatus:
        return DmaStatus(self._mmio.read(_CHANNELS[name] + _STATUS))


def _names(status: DmaStatus) -> str:
    names = [flag.name or "" for flag in DmaStatus if status & flag]
    return f"{int(status):#x} ({', '.join(names) or 'running'})"
