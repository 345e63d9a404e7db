# SPDX-License-Identifier: Apache-2.0
"""The power of a board that measures it."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["PowerMeter"]

_INTERVAL_S: Final = 0.05


class PowerMeter:
    """A board's sensor readings of each rail while it works; `missing` says why there are none, if so."""

    def __init__(self, device: Any) -> None:
        self._rails: Mapping[str, Any] = {}
        self._samples: dict[str, list[float]] = {}
        self.missing = ""
        if device.has_capability("REMOTE"):
            self.missing = "PYNQ.remote does not give the sensors of its board"
            return
        try:
            from pynq.pmbus import get_rails

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a missing libsensors, which is reported here
                self._rails = {name: rail for name, rail in get_rails().items() if rail.power is not None}
        except (ImportError, OSError) as error:
            self.missing = f"the sensors cannot be read: {error}"
        if not self._rails:
            self.missing = self.missing or "the board has no sensors of power"

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Reads the sensors at once, and then again and again, in a thread of its own."""
        end = threading.Event()

        def measure() -> None:
            try:
                self._sample()
                while not end.wait(_INTERVAL_S):
                    self._sample()
            except (OSError, ValueError) as error:  # as a sensor's file gives them
                self._samples.clear()
                self.missing = f"the sensors cannot be read: {error}"

        thread = threading.Thread(target=measure, daemon=True)
        if self._rails:
            thread.start()
        try:
            yield
        finally:
            end.set()
            if self._rails:
                thread.join()

    def _sample(self) -> None:
        for name, rail in self._rails.items():
            self._samples.setdefault(name, []).append(float(rail.power.value))

    @property
    def watts(self) -> dict[str, float]:
        """The mean power of each rail."""
        return {name: sum(values) / len(values) for name, values in self._samples.items()}
