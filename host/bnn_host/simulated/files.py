# SPDX-License-Identifier: Apache-2.0
"""The files of a board's Linux that PYNQ reads and writes."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from bnn_hw.fpga.boards import Processor

__all__ = ["BoardFiles"]

_FIRMWARE: Final = "/lib/firmware"
_MANAGER: Final = "/sys/class/fpga_manager/fpga0"


class BoardFiles:
    """The files, by path. Writing a bitstream's name to the FPGA manager configures the FPGA with it.

    `configure` takes the content of a .bin.
    """

    def __init__(self, processor: Processor, configure: Callable[[bytes], None]) -> None:
        self.machine = processor.family.machine
        self._configure = configure
        self._content = {
            "/proc/version": f"Linux version 6.6.0-simulated ({self.machine}) bnn_hw simulated board\n".encode(),
            f"{_MANAGER}/state": b"unknown\n",
            f"{_MANAGER}/flags": b"0\n",
            f"{_MANAGER}/firmware": b"\n",
        }
        if processor.pynq_name:
            self._content["/proc/device-tree/chosen/pynq_board"] = processor.pynq_name.encode() + b"\0"

    def read(self, path: str) -> bytes:
        """Returns a file. Raises `FileNotFoundError`."""
        if path not in self._content:
            raise FileNotFoundError(f"{path} is not on the simulated board")
        return self._content[path]

    def exists(self, path: str) -> bool:
        """Returns whether there is a file or a folder of that name."""
        return path in self._content or any(PurePosixPath(path) in PurePosixPath(file).parents for file in self._content)

    def write(self, path: str, content: bytes) -> None:
        """Writes a file. Raises `PermissionError` where nothing can be written, `FileNotFoundError` for unknown firmware."""
        if path == f"{_MANAGER}/firmware":
            # Firmware is taken once. PYNQ does not send a file whose name already exists, even if its content differs.
            firmware = self._content.pop(f"{_FIRMWARE}/{content.decode().strip()}", None)
            if firmware is None:
                raise FileNotFoundError(f"{_FIRMWARE} has no {content.decode().strip()}")
            self._content[f"{_MANAGER}/state"] = b"write error\n"
            self._configure(firmware)
            self._content[f"{_MANAGER}/state"] = b"operating\n"
        elif PurePosixPath(path).parent != PurePosixPath(_FIRMWARE) and path != f"{_MANAGER}/flags":
            raise PermissionError(f"{path} cannot be written on the simulated board")
        self._content[path] = content
