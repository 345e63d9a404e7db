# SPDX-License-Identifier: Apache-2.0
"""Whole accelerators in their AXI shell: small random networks of each input type, their protocols and their faults."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.plan_file import plan_digest
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Dense, Input, Layer, MaxPool, Network, Scores
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from bnn_rtl.simulation import compile_simulation
from support.cocotb_run import SIMULATORS, fresh_seed, run_bench
from support.stages import stages
from support.strategies import WindowShape, random_conv_network, random_inputs


@dataclass(frozen=True)
class _Case:
    """A network's shapes and its plan."""

    input: Input
    outputs: tuple[int, ...]
    plan: tuple[tuple[int, int], ...]  # PE and SIMD of each layer with weights
    windows: tuple[WindowShape, ...] = ()  # of the layers in front


_CASES = {
    # 150 bits are 3 words with a rest; lanes that divide nothing
    "bit": _Case(Input((150,), "bit"), (19, 13, 5), ((4, 10), (13, 19), (2, 3))),
    # 27 bytes are 4 words with a rest
    "uint8": _Case(Input((3, 3, 3), "uint8"), (11, 4), ((3, 5), (4, 11))),
    # 16 bytes are 2 words; fully unrolled, so that results take the most time
    "int8": _Case(Input((16,), "int8"), (9, 7, 2), ((9, 16), (7, 9), (2, 7))),
    # scores of the pixels themselves
    "scores_only": _Case(Input((11,), "uint8"), (3,), ((2, 4),)),
    # 36 bytes are 5 words with a rest; the line buffers hold rows of several images, and words past an image that nobody wrote
    "windows": _Case(
        Input((4, 3, 3), "uint8"),
        (4,),
        ((3, 6), (2, 5), (2, 4)),
        (
            WindowShape((2, 2), (1, 1), 5, (0, 1, 1, 0), 1),
            WindowShape((2, 2), (2, 1)),
            WindowShape((2, 2), (1, 1), 3, (1, 0, 0, 1), 0),
        ),
    ),
}


_NAMES = ("argmax", "scores_input")  # of layers, such as an accelerator could want for parts of its own


def _network(case: _Case, draw: random.Random) -> Network:
    if case.windows:
        return random_conv_network(case.input, case.windows, case.outputs, draw.getrandbits(32), "mixed")
    layers: list[Layer] = []
    inputs, dtype = case.input.signal.size, case.input.dtype
    for index, outputs in enumerate(case.outputs):
        weights = np.array([[draw.getrandbits(1) for _ in range(inputs)] for _ in range(outputs)], bool)
        if index < len(case.outputs) - 1:
            layers.append(Dense(_NAMES[index], weights, np.array(_thresholds(outputs, inputs, dtype, draw), np.int32)))
        else:
            weights[-1] = weights[-2]  # the last two classes always tie
            scale = [draw.choice((-1, 1)) * draw.randint(1, 9) for _ in range(outputs)]
            offset = [draw.randint(-20, 20) for _ in range(outputs)]
            scale[-1], offset[-1] = scale[-2], offset[-2]
            layers.append(Scores("scores", weights, np.array(scale, np.int32), np.array(offset, np.int32)))
        inputs, dtype = outputs, "bit"
    return Network("random", case.input, tuple(layers))


def _thresholds(outputs: int, inputs: int, dtype: str, draw: random.Random) -> list[int]:
    """Returns thresholds that fire about as often as not; the first always does, the last never."""
    middle, spread = (inputs / 2, inputs**0.5 / 2) if dtype == "bit" else (0, 147 * inputs**0.5 / 2)
    thresholds = [round(draw.gauss(middle, spread)) for _ in range(outputs)]
    reach = {"uint8": 255, "int8": 128}.get(dtype, 0) * inputs
    thresholds[0], thresholds[-1] = (0, inputs + 1) if dtype == "bit" else (-reach, reach + 1)
    return [min(max(threshold, thresholds[0]), thresholds[-1]) for threshold in thresholds]


def _plan(network: Network, lanes: Iterable[tuple[int, int]]) -> Plan:
    names = [layer.name for layer in network.layers if not isinstance(layer, MaxPool)]
    return Plan(tuple(LayerPlan(name, *each) for name, each in zip(names, lanes, strict=True)))


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", _CASES)
def test_shell(name: str, simulator: str, tmp_path: Path) -> None:
    """All benches of the shell: streams, registers, faults."""
    seed, case = fresh_seed(), _CASES[name]
    network = _network(case, random.Random(seed))
    plan = _plan(network, case.plan)
    save_network(network, tmp_path / "network.safetensors")
    shell = Shell(lower(network, plan))
    pe = [stage.pe for stage in stages(lower(network, plan))]
    stimulus = {"seed": seed, "pe": pe, "cycles": lower(network, plan).cycles, "plan_sha256": plan_digest(plan)}
    benches = ["shell_streams", "shell_registers", "shell_faults"]
    run_bench(shell, benches, simulator, tmp_path, stimulus, parts=shell.parts)


def test_many_small_images_in_flight_never_stop_the_input(tmp_path: Path) -> None:
    """Images of a few pixels, of which the layers hold dozens at a time, still come at the planned interval."""
    seed = fresh_seed()
    pixel = WindowShape((1, 1), (1, 1), 3)
    windows = (WindowShape((2, 1), (1, 1), 4, (1, 0, 0, 0)), WindowShape((2, 1), (1, 1)), *[pixel] * 6)
    network = random_conv_network(Input((2, 1, 2), "bit"), windows, (2,), seed, "mixed")
    plan = _plan(network, ((4, 4), (3, 4), *[(3, 3)] * 5, (2, 3)))
    assert lower(network, plan).cycles == 4
    shell = Shell(lower(network, plan))
    simulation = compile_simulation(emit_verilog(shell, "dut", shell.parts), "dut", lower(network, plan), tmp_path)
    (finished,) = simulation.run(random_inputs(network, 400, seed)).finish_cycles
    assert set(np.diff(finished)) == {4}
