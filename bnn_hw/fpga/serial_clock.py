# SPDX-License-Identifier: Apache-2.0
"""The clock of a board with a serial line: whether it can be made of the oscillator, and gives the baud rate."""

from typing import Final

from bnn_hw.errors import ArtefactError, UsageError
from bnn_hw.fpga.boards import Board, Serial
from bnn_hw.fpga.family import ECP5

__all__ = ["baud_divisor", "baud_error", "board_pll", "check_serial_clock", "pll_dividers"]

_MIN_DIVISOR: Final = 8  # so that the sample is within an eighth of a bit
_MAX_ERROR: Final = 0.02  # of ours; as much again is left to the other side
_VCO_MHZ: Final = range(400, 801)  # of an ECP5's PLL (FPGA-DS-02012)
_MAX_DIVIDER: Final = 128


def check_serial_clock(board: Board, serial: Serial) -> None:
    """Raises `ArtefactError` where the board's clock cannot be made, `UsageError` where it does not give the baud rate."""
    baud_divisor(board.clock_mhz * 1_000_000, serial.baud)
    board_pll(board, serial)


def baud_divisor(clock_hz: int, baud: int) -> int:
    """Returns the clock cycles of a bit. Raises `UsageError` where they are too few or too far off."""
    for name, value in (("clock_hz", clock_hz), ("baud", baud)):
        if value <= 0:
            raise UsageError(f"{name} must be positive, not {value}")
    divisor = _nearest(clock_hz, baud)
    if divisor < _MIN_DIVISOR:
        raise UsageError(f"baud must be at most clock/{_MIN_DIVISOR}, {clock_hz // _MIN_DIVISOR:,}, not {baud:,}")
    error = baud_error(clock_hz, baud)
    if abs(error) > _MAX_ERROR:
        neighbours = sorted(clock_hz // other for other in (divisor, divisor + (1 if error > 0 else -1)) if other >= _MIN_DIVISOR)
        raise UsageError(
            f"baud must be within {_MAX_ERROR:.0%} of the clock over a whole number, but {clock_hz:,} Hz / {divisor} is "
            f"{error:+.1%} off {baud:,}; use about {' or '.join(f'{other:,}' for other in neighbours)}, or another clock"
        )
    return divisor


def baud_error(clock_hz: int, baud: int) -> float:
    """Returns by what part the baud rate that the clock gives is above the one that is asked for."""
    return clock_hz / (_nearest(clock_hz, baud) * baud) - 1


def _nearest(clock_hz: int, baud: int) -> int:
    return max(1, (2 * clock_hz + baud) // (2 * baud))


def board_pll(board: Board, serial: Serial) -> tuple[int, int, int] | None:
    """Returns the dividers of the PLL, as `pll_dividers` gives them; None where the oscillator itself is the board's clock.

    Raises `ArtefactError` where a PLL is needed and there is none that makes the clock.
    """
    if serial.oscillator_mhz == board.clock_mhz:
        return None
    if board.family is not ECP5:
        raise ArtefactError(
            f"board {board.name}: clock_mhz must be the oscillator's {serial.oscillator_mhz}, not {board.clock_mhz}, "
            f"because bnn_hw has a PLL only for {ECP5.name}"
        )
    return pll_dividers(serial.oscillator_mhz, board.clock_mhz)


def pll_dividers(oscillator_mhz: int, clock_mhz: int) -> tuple[int, int, int]:
    """Returns the dividers of an ECP5's PLL, of reference, feedback and output: oscillator * feedback / reference is the clock.

    Raises `ArtefactError` where there are none.
    """
    for reference in range(1, _MAX_DIVIDER + 1):
        feedback, rest = divmod(clock_mhz * reference, oscillator_mhz)
        outputs = [output for output in range(1, _MAX_DIVIDER + 1) if clock_mhz * output in _VCO_MHZ]
        if not rest and 1 <= feedback <= _MAX_DIVIDER and outputs:
            return reference, feedback, min(outputs, key=lambda output: abs(clock_mhz * output - 600))
    raise ArtefactError(f"an ECP5's PLL makes no {clock_mhz} MHz of {oscillator_mhz}; give the board another clock_mhz")
