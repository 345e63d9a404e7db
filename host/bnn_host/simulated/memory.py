# SPDX-License-Identifier: Apache-2.0
"""The memory that a DMA reaches, given out in contiguous buffers, as Linux's CMA does."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Buffer", "Memory", "OutOfMemoryError"]

_PAGE_BYTES: Final = 4096


class OutOfMemoryError(MemoryError):
    """There is no room for a buffer."""


@dataclass(frozen=True)
class Buffer:
    """A contiguous buffer, and who has it."""

    address: int
    size: int
    owner: Hashable

    @property
    def end(self) -> int:
        """The address after its last page."""
        return self.address + -(-max(self.size, 1) // _PAGE_BYTES) * _PAGE_BYTES


class Memory:
    """`size` bytes from address `base` on. Other addresses are unmapped, so that a stray DMA is detected."""

    def __init__(self, base: int, size: int) -> None:
        self.base, self.size = base, size
        self._content = np.zeros(size, np.uint8)  # the system allocates each page at its first write
        self._buffers: dict[int, Buffer] = {}

    def allocate(self, size: int, owner: Hashable = None) -> Buffer:
        """Returns a buffer of zeros, at the lowest address that has room. Raises `OutOfMemoryError`."""
        address = self.base
        for buffer in sorted(self._buffers.values(), key=lambda buffer: buffer.address):
            if Buffer(address, size, owner).end <= buffer.address:
                break
            address = buffer.end
        buffer = Buffer(address, size, owner)
        if buffer.end > self.base + self.size:
            raise OutOfMemoryError(f"no room for {size:,} bytes: {self.used:,} of {self.size:,} are in use")
        self._buffers[address] = buffer
        self.content(buffer)[:] = 0
        return buffer

    def free(self, address: int) -> None:
        """Frees the buffer at an address; freeing it again does nothing."""
        self._buffers.pop(address, None)

    def free_of(self, owner: Hashable) -> None:
        """Frees all buffers of an owner."""
        self._buffers = {address: buffer for address, buffer in self._buffers.items() if buffer.owner != owner}

    def find(self, address: int) -> Buffer | None:
        """Returns the buffer that begins at an address, if one does."""
        return self._buffers.get(address)

    def content(self, buffer: Buffer) -> np.ndarray:
        """Returns a buffer's bytes, which can be written: [bytes] uint8."""
        offset = buffer.address - self.base
        return self._content[offset : offset + buffer.size]

    def view(self, address: int, size: int) -> np.ndarray | None:
        """Returns the bytes from an address on, which can be written, or None where not all are in this memory."""
        offset = address - self.base
        return self._content[offset : offset + size] if offset >= 0 and offset + size <= self.size else None

    @property
    def owners(self) -> set[Hashable]:
        """Who has buffers."""
        return {buffer.owner for buffer in self._buffers.values()}

    @property
    def used(self) -> int:
        """The bytes in use, whole pages."""
        return sum(buffer.end - buffer.address for buffer in self._buffers.values())
