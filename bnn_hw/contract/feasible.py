# SPDX-License-Identifier: Apache-2.0
"""Whether a board can have an accelerator for a network: what is known before anything is made."""

from bnn_hw.contract.frames import Identity
from bnn_hw.fpga.boards import Board, needed_processor
from bnn_hw.fpga.serial_clock import check_serial_clock
from bnn_hw.network.network import Network

__all__ = ["check_feasible"]


def check_feasible(network: Network, board: Board, *, runtime_weights: bool) -> None:
    """Checks that the board can have the network behind its processor or on its serial line.

    Raises `ArtefactError` where run-time weights have no processor that writes them, where a frame on the serial line cannot hold
    an image or its scores, and where the board's clock cannot be made of its oscillator; `UsageError` where that clock does not
    give the line's baud rate.
    """
    if runtime_weights:
        needed_processor(board, " to write run-time weights; build without --runtime-weights, or for a board with one")
    if board.serial is not None:
        Identity.of(network)
        check_serial_clock(board, board.serial)
