# SPDX-License-Identifier: Apache-2.0
"""A simulated board as a device of PYNQ's in the same process, for pynq 3 and 4.

Import it inside functions only, because it needs pynq.
"""

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser

from bnn_host.simulated.bitfile import bin_content
from bnn_host.simulated.board import Board

__all__ = ["SimulatedDevice"]

_numbers = itertools.count()


class SimulatedDevice(Device):
    """A device for `Overlay(..., device=device)` and `allocate(..., target=device)`, or to be `Device.active_device`."""

    def __init__(self, board: Board) -> None:
        super().__init__(f"simulated-{os.getpid()}-{next(_numbers)}")  # a name that is unique across processes
        self.board = board
        self.name = board.manifest.board
        self.arch = board.files.machine
        self.capabilities = {"REGISTER_RW": True, "SIMULATED": True}

    def read_registers(self, address: int, length: int) -> bytes:
        """Returns the bytes of registers."""
        words = [self.board.read(at) for at in range(address, address + length, 4)]
        return np.array(words, "<u4").tobytes()[:length]

    def write_registers(self, address: int, data: bytes) -> None:
        """Writes bytes, of whole registers."""
        for offset, word in enumerate(np.frombuffer(bytes(data), "<u4").tolist()):
            self.board.write(address + 4 * offset, word)

    def allocate(self, shape: Any, dtype: Any, **kwargs: Any) -> PynqBuffer:
        """Returns a buffer in the board's memory, which shares it. Raises `MemoryError`, as pynq's own devices do."""
        dtype = np.dtype(dtype)
        size = math.prod((shape,) if isinstance(shape, int) else shape) * dtype.itemsize
        with self.board.lock:
            memory = self.board.memory
            allocated = memory.allocate(size, self)
            content = memory.content(allocated)
        buffer = PynqBuffer(shape, dtype, buffer=content, device=self, device_address=allocated.address, coherent=True)
        buffer.memory, buffer.pointer, buffer.return_to = memory, allocated.address, self
        buffer.freed = True  # otherwise PYNQ would unmap memory that it has already returned
        return buffer

    def return_pointer(self, pointer: int) -> None:
        """Frees a buffer; PYNQ calls it."""
        with self.board.lock:
            self.board.memory.free(pointer)

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> RuntimeMetadataParser:
        """Returns the .hwh beside a .bit, parsed, without interrupts: PYNQ takes them from Linux, for the active device only."""
        parser = RuntimeMetadataParser(Metadata(input=str(Path(bitfile_name).with_suffix(".hwh"))))
        parser.interrupt_controllers, parser.interrupt_pins = {}, {}
        for description in parser.ip_dict.values():
            description["interrupts"] = {}
        parser.refresh_hierarchy_dict()
        return parser

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Configures the FPGA."""
        self.board.configure(bin_content(Path(bitstream.bitfile_name)))
        super().post_download(bitstream, parser)
