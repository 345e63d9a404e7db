# SPDX-License-Identifier: Apache-2.0
"""Faults that a simulated board can be told to have, each once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bnn_hw.errors import UsageError

__all__ = ["Fault", "Faults", "PlannedFault", "parse_fault"]


class Fault(Enum):
    """The kinds of faults, each with the event that is counted until it strikes."""

    DMA_ERROR = "dma-error"  # memory gives an error in the middle of a transfer to the accelerator
    NO_TLAST = "no-tlast"  # TLAST is missing in a transfer from the accelerator
    STALLED_OUTPUT = "stalled-output"  # nothing is taken in a transfer from the accelerator
    WRONG_DIGEST = "wrong-digest"  # the first word of DIGEST is wrong when it is read
    CORRUPTED_WEIGHTS = "corrupted-weights"  # a bit of the first word of the weights' window is inverted when it is written
    SERVER_DIES = "server-dies"  # the server ends in the middle of a transfer to the accelerator
    SERVER_HANGS = "server-hangs"  # the server answers no more from there on


@dataclass(frozen=True)
class PlannedFault:
    """A fault, and the number of the occasion on which it strikes, from 1 on."""

    fault: Fault
    occasion: int = 1


def parse_fault(text: str) -> PlannedFault:
    """Returns the fault that KIND or KIND:N names. Raises `UsageError` with the known ones."""
    match = re.fullmatch(r"([a-z-]+)(?::([1-9]\d{0,8}))?", text)
    if match is None or match[1] not in {fault.value for fault in Fault}:
        raise UsageError(f"fault must be KIND or KIND:N with KIND of {', '.join(fault.value for fault in Fault)}, not {text!r}")
    return PlannedFault(Fault(match[1]), int(match[2] or 1))


class Faults:
    """The faults that are still to strike."""

    def __init__(self, planned: Sequence[PlannedFault] = ()) -> None:
        self._planned = list(planned)
        self._occasions = dict.fromkeys(Fault, 0)

    def strike(self, *faults: Fault) -> Fault | None:
        """Returns the one of these faults that strikes on this occasion, if one does."""
        for fault in faults:
            self._occasions[fault] += 1
        for planned in self._planned:
            if planned.fault in faults and planned.occasion == self._occasions[planned.fault]:
                self._planned.remove(planned)
                return planned.fault
        return None
