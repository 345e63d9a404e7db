# SPDX-License-Identifier: Apache-2.0
"""The overlay and the accelerator as pynq knows them. Import it late, because it needs pynq."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pynq import MMIO, Clocks, DefaultIP, Device, Overlay

from bnn_host.board import board_name, in_turn
from bnn_host.dma import Dma
from bnn_host.register_access import CheckedMmio, Registers
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.contract.system import ACCELERATOR, DMA, accelerator_vlnv
from bnn_hw.errors import BoardError

__all__ = ["AcceleratorIP", "AcceleratorOverlay", "bind_driver", "load_overlay"]

_TURN_S: Final = 60.0  # a board's processor may take this long to read a handoff
_CLOCK_ERROR: Final = 1e-3  # relative error of the PLL frequency that pynq computes


class AcceleratorIP(DefaultIP):
    """The accelerator in a block design, with its `registers`."""

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(description)
        self.registers = Registers(CheckedMmio(self.mmio))


def bind_driver(build: str | Path) -> None:
    """Makes pynq give the accelerator of a build this driver in every overlay from now on, `pynq.Overlay` too.

    `Accelerator` does not need it. Raises `ArtefactError` if there is no such build.
    """
    # pynq looks drivers up by the IP's name, which differs between builds, and learns them from classes.
    type(AcceleratorIP.__name__, (AcceleratorIP,), {"bindto": [accelerator_vlnv(read_manifest(Path(build)).top)]})


class AcceleratorOverlay(Overlay):
    """An overlay that loads regardless of the process's earlier boards and of what the board was loaded with.

    `most_mhz`: the clock at which the timing was checked; `clock_mhz`: the clock that the board's PLL reaches, never more.
    """

    def __init__(self, bit: Path, device: Any, most_mhz: float) -> None:
        self.clock_mhz = self._most_mhz = most_mhz
        super().__init__(str(bit.resolve()), device=device)

    def download(self, dtbo: str | None = None) -> None:
        """Configures the device. pynq's constructor calls it."""
        if hasattr(Clocks, "_real_instance"):
            del Clocks._real_instance  # here pynq keeps the clocks of a process's first device
        if self.device.has_capability("REMOTE"):
            # pynq does not replace an existing /lib/firmware/<binfile_name> on the board, so the name must identify the content.
            path = Path(self.bitfile_name)
            self.binfile_name = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.bin"
        for clock in self.clock_dict.values():
            if clock.get("enable"):
                clock["frequency"] = self._set_clock()  # pynq 4.0 finds none in the handoff of a Zynq-7000, and fails
        super().download(dtbo)
        self.clock_mhz = self._set_clock()  # pynq 3 took the handoff's divisors, which are for the PLL that Vivado supposes

    def _set_clock(self) -> float:
        """Sets the clock and returns it. pynq takes the nearest divisors with a warning, also those of a faster clock."""
        wanted = self._most_mhz
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Clocks.fclk0_mhz = wanted
            while Clocks.fclk0_mhz > (1 + _CLOCK_ERROR) * self._most_mhz:
                wanted *= 0.99
                Clocks.fclk0_mhz = wanted
        return float(Clocks.fclk0_mhz)


def load_overlay(bit: Path, device: Any, clock_mhz: float, timeout_s: float) -> tuple[Registers, Dma, float]:
    """Configures the device, sets its clock and returns accelerator, DMA and the clock in MHz, at most `clock_mhz`.

    One process at a time does so, because pynq caches the overlay's data in files in its own folder. Raises `BoardError`
    if pynq or the board rejects the overlay.
    """
    with in_turn("pynq", max(timeout_s, _TURN_S)), _active(device):
        try:
            overlay = AcceleratorOverlay(bit, device, clock_mhz)
            accelerator, dma = (
                CheckedMmio(MMIO(ip["phys_addr"], ip["addr_range"], device=device))
                for ip in (overlay.ip_dict[ACCELERATOR], overlay.ip_dict[DMA])
            )
            return Registers(accelerator), Dma(dma), overlay.clock_mhz
        except BoardError:
            raise
        except Exception as error:  # pynq raises any kind of error, such as a KeyError for a field that the .hwh lacks
            raise BoardError(
                f"{bit} cannot be loaded on the board {board_name(device)}: {type(error).__name__}: {error}; see that it is this "
                "board's overlay, and that you may configure the board (root, XRT's environment)"
            ) from error


@contextmanager
def _active(device: Any) -> Iterator[None]:
    """Makes `device` pynq's default device, which pynq uses for the registers of UltraScale+ ports."""
    before = vars(Device).get("_active_device")  # Device.active_device would search for boards if none is active yet
    Device.active_device = device
    try:
        yield
    finally:
        if before is None:
            del Device._active_device
        else:
            Device.active_device = before
