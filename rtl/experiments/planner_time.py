# SPDX-License-Identifier: Apache-2.0
"""Processor time of the search for the plan of a network of one wide layer, on every board.

``python rtl/experiments/planner_time.py`` prints seconds, each measured in a process of its own, and an asterisk where the board
has no room; names of boards after it leave out the others.
"""

import subprocess
import sys
import time

import numpy as np

from bnn_hw.design.planner import find_plan
from bnn_hw.errors import BnnHwError
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.network.network import Dense, Input, Network, Scores

LAYERS = (*((inputs, outputs) for inputs in (1024, 4096, 16_384) for outputs in (8, 64, 256, 1024)), (262_144, 8))


def network_of(inputs: int, outputs: int) -> Network:
    """Returns a network of a layer of so many inputs and outputs and one that gives two scores."""
    rng = np.random.default_rng(0)
    hidden = Dense("fc1", rng.random((outputs, inputs)) < 0.5, np.full(outputs, inputs // 2, np.int32))
    scores = Scores("scores", rng.random((2, outputs)) < 0.5, np.ones(2, np.int32), np.zeros(2, np.int32))
    return Network("wide", Input((inputs,), "bit"), (hidden, scores))


def measured(inputs: int, outputs: int, board: str) -> str:
    """Returns the seconds of a search."""
    network, room = network_of(inputs, outputs), " "
    begun = time.process_time()
    try:
        find_plan(network, BOARDS[board])
    except BnnHwError:
        room = "*"
    return f"{time.process_time() - begun:.1f}{room}"


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1].isdigit():
        print(measured(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
        return
    boards = sys.argv[1:] or list(BOARDS)
    print("|".join(("layer".rjust(14), *(board.rjust(11) for board in boards))))
    for inputs, outputs in LAYERS:
        print(f"{f'{inputs:,} x {outputs:,}':>14}", end="", flush=True)
        for board in boards:
            command = [sys.executable, __file__, str(inputs), str(outputs), board]
            seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip("\n")
            print(f"|{seconds:>11}", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
