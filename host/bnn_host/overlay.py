# SPDX-License-Identifier: Apache-2.0
"""The overlay and the accelerator as pynq knows them. To be imported late, for it needs pynq.

Once this module is imported, `pynq.Overlay` too gives the accelerator this driver.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynq import MMIO, Clocks, DefaultIP, Device, Overlay

from bnn_host.board import board_name, in_turn
from bnn_host.dma import Dma
from bnn_host.registers import Registers
from bnn_hw.errors import BoardError
from bnn_hw.system import ACCELERATOR, ACCELERATOR_VLNV, DMA

__all__ = ["AcceleratorIP", "AcceleratorOverlay", "load_overlay"]


class AcceleratorIP(DefaultIP):
    """The accelerator in a block design, with its `registers`."""

    bindto = [ACCELERATOR_VLNV]  # noqa: RUF012 - pynq's metaclass reads it

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(description)
        self.registers = Registers(self.mmio)


class AcceleratorOverlay(Overlay):
    """An overlay that loads whatever board the process had before, and whatever that board was loaded with before.

    `clock_mhz`: of the programmable logic, at which the timing was checked.
    """

    def __init__(self, bit: Path, device: Any, clock_mhz: float) -> None:
        self._clock_mhz = clock_mhz
        super().__init__(str(bit.resolve()), device=device)

    def download(self, dtbo: str | None = None) -> None:
        """Configures the device. pynq's constructor calls it."""
        if hasattr(Clocks, "_real_instance"):
            del Clocks._real_instance  # where pynq keeps the clocks of the first device of a process
        if self.device.has_capability("REMOTE"):
            # pynq leaves a /lib/firmware/<binfile_name> that the board has already as it is, so the name must say the content.
            path = Path(self.bitfile_name)
            self.binfile_name = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.bin"
        for clock in self.clock_dict.values():
            if clock.get("enable"):
                clock["frequency"] = self._clock_mhz  # pynq 4.0 finds none in the handoff of a Zynq-7000, and fails
        super().download(dtbo)
        Clocks.fclk0_mhz = self._clock_mhz  # pynq 3 takes the handoff's divisors, which are for the PLL that Vivado supposes


def load_overlay(bit: Path, device: Any, clock_mhz: float, timeout_s: float) -> tuple[Registers, Dma]:
    """Configures the device, sets its clock and returns accelerator and DMA.

    One process at a time does, for pynq keeps what it knows of the overlay in files of its own folder. Raises `BoardError`
    where pynq or the board does not take the overlay.
    """
    with in_turn("pynq", timeout_s), _active(device):
        try:
            overlay = AcceleratorOverlay(bit, device, clock_mhz)
            dma = overlay.ip_dict[DMA]
            return getattr(overlay, ACCELERATOR).registers, Dma(MMIO(dma["phys_addr"], dma["addr_range"], device=device))
        except BoardError:
            raise
        except Exception as error:  # pynq raises whatever comes, a KeyError for a field that the .hwh lacks
            raise BoardError(
                f"{bit} cannot be loaded on the board {board_name(device)}: {type(error).__name__}: {error}; see that it is this "
                "board's overlay, and that you may configure the board (root, XRT's environment)"
            ) from error


@contextmanager
def _active(device: Any) -> Iterator[None]:
    """Makes `device` the one that pynq takes where it asks for none, as for the registers of UltraScale+ ports."""
    before = vars(Device).get("_active_device")  # Device.active_device would look for boards, where none was taken yet
    Device.active_device = device
    try:
        yield
    finally:
        if before is None:
            del Device._active_device
        else:
            Device.active_device = before
