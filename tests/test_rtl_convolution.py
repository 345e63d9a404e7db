# SPDX-License-Identifier: Apache-2.0
"""Whole accelerators with convolutions and poolings in Verilator: every bit, the planned interval, and no deadlock."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import nn

from bnn_hw import golden
from bnn_hw.compare import check_against_golden
from bnn_hw.network import Conv, Input, MaxPool, Network
from bnn_hw.plan import LayerPlan, Plan
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from bnn_rtl.simulation import Simulation, compile_simulation
from bnn_training.export import export_network, float_scores
from bnn_training.network import BinaryNetwork
from bnn_training.topology import build_network
from cocotb_run import fresh_seed
from strategies import WindowShape, random_conv_network, random_inputs

_IMAGES: Final = 24


@dataclass(frozen=True)
class _Case:
    """A network without its content, its plan, and the layer that sets the interval."""

    input: Input
    windows: tuple[WindowShape, ...]
    widths: tuple[int, ...]
    plan: tuple[tuple[int, int], ...]  # PE and SIMD of each layer with weights
    slowest: str


_CASES: Final = {
    # Zeros around bits in two layers, with less than a pixel a cycle and with two; the first layer is the slowest.
    "zeros": _Case(
        Input((6, 5, 4), "bit"),
        (
            WindowShape((3, 3), (1, 1), 6, (1, 1, 1, 1)),
            WindowShape((2, 2), (2, 2)),
            WindowShape((2, 3), (1, 1), 5, (0, 1, 1, 0)),
        ),
        (7, 3),
        ((4, 2), (2, 12), (3, 4), (3, 7)),
        "conv1",
    ),
    # A pixel a cycle, a stride in rows only, a pooling that overlaps in rows; a dense layer is the slowest.
    "uint8": _Case(
        Input((7, 6, 3), "uint8"),
        (
            WindowShape((3, 2), (2, 1), 7, (1, 0, 0, 1)),
            WindowShape((2, 3), (1, 2)),
            WindowShape((1, 2), (1, 1), 6, (0, 0, 1, 1), -1),
        ),
        (9, 4),
        ((7, 3), (5, 7), (1, 2), (1, 2)),
        "fc1",
    ),
    # Three pixels a cycle; the scores are the slowest.
    "int8": _Case(
        Input((5, 5, 2), "int8"),
        (WindowShape((3, 3), (1, 1), 4, (1, 1, 1, 1), 1), WindowShape((2, 2), (2, 2), 5)),
        (30, 10),
        ((3, 6), (2, 4), (6, 5), (1, 1)),
        "scores",
    ),
    # A pooling of the image, which leaves a column out, and one with a stride past its window; a layer between is the slowest.
    "pool_first": _Case(
        Input((9, 5, 6), "bit"),
        (
            WindowShape((3, 2), (2, 2)),
            WindowShape((2, 2), (1, 2), 8, (1, 1, 1, 0), 1),
            WindowShape((2, 1), (3, 1)),
            WindowShape((2, 1), (1, 1), 5),
        ),
        (2,),
        ((3, 3), (2, 8), (2, 5)),
        "conv2",
    ),
    # Images of a pixel.
    "pixel": _Case(
        Input((1, 1, 5), "bit"),
        (
            WindowShape((3, 3), (1, 1), 4, (1, 1, 1, 1)),
            WindowShape((1, 1), (1, 1), 3),
            WindowShape((1, 1), (1, 1)),
            WindowShape((2, 2), (1, 1), 6, (0, 1, 1, 0), -1),
        ),
        (2,),
        ((2, 15), (3, 4), (3, 3), (2, 6)),
        "conv1",
    ),
    # Places on padding only, before and after the image, and pixels that no place needs.
    "far_padding": _Case(
        Input((3, 3, 2), "int8"),
        (
            WindowShape((1, 2), (1, 1), 4, (2, 3, 0, 0), -1),
            WindowShape((1, 1), (3, 1), 3, (1, 2, 0, 2)),
            WindowShape((2, 2), (1, 3), 4, (0, 0, 2, 1), 1),
        ),
        (3,),
        ((3, 1), (1, 4), (4, 3), (1, 5)),
        "conv1",
    ),
    # Each layer takes 512 cycles.
    "equal": _Case(
        Input((8, 8, 4), "bit"),
        (
            WindowShape((2, 4), (1, 1), 8, (1, 0, 1, 2), -1),
            WindowShape((2, 2), (2, 2)),
            WindowShape((2, 4), (1, 1), 8, (0, 1, 2, 1)),
            WindowShape((2, 2), (2, 2), 8),
        ),
        (16, 32),
        ((1, 32), (2, 8), (1, 2), (1, 1), (1, 1)),
        "conv1",
    ),
}


def _case(name: str, seed: int) -> tuple[Network, Plan]:
    case = _CASES[name]
    network = random_conv_network(case.input, case.windows, case.widths, seed, "mixed")
    names = [layer.name for layer in network.layers if not isinstance(layer, MaxPool)]
    return network, Plan(tuple(LayerPlan(name, *lanes) for name, lanes in zip(names, case.plan, strict=True)))


def _simulation(network: Network, plan: Plan, folder: Path) -> Simulation:
    shell = Shell(network, plan)
    return compile_simulation(emit_verilog(shell, "dut", shell.dots), "dut", network, plan, folder)


def _check(simulation: Simulation, inputs: np.ndarray, seed: int) -> list[int]:
    """Runs images and checks every bit of every layer; returns the cycles from each image to the next."""
    recording = simulation.run(inputs, seed=seed)
    expected = golden.trace(simulation.network, inputs)
    check_against_golden(simulation.network, expected, recording.activations, recording.scores, recording.classes)
    (finished,) = recording.finish_cycles
    return [int(cycles) for cycles in np.diff(finished.astype(np.int64))]


@pytest.mark.parametrize("name", _CASES)
def test_every_bit_at_the_planned_interval_and_with_stalls(name: str, tmp_path: Path) -> None:
    """Without stalls an image takes the planned cycles, whichever layer is the slowest; with stalls all arrives too."""
    seed = fresh_seed()
    network, plan = _case(name, seed)
    assert max(plan.stages(network), key=lambda stage: stage.cycles).step.layer.name == _CASES[name].slowest
    simulation = _simulation(network, plan, tmp_path)
    inputs = random_inputs(network, _IMAGES, seed)
    intervals = _check(simulation, inputs, seed=0)
    print(plan.cycles(network), intervals)
    for stalls in (1 + seed % 1000, 1001 + seed % 1000):
        _check(simulation, inputs, seed=stalls)
    assert intervals == [plan.cycles(network)] * (_IMAGES - 1)
