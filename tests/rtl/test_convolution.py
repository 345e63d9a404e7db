# SPDX-License-Identifier: Apache-2.0
"""Whole accelerators with convolutions and poolings in Verilator: every bit, the planned interval, and no deadlock."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import nn

from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.network import golden
from bnn_hw.network.compare import check_against_golden
from bnn_hw.network.network import Conv, Input, MaxPool, Network
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from bnn_rtl.simulation import Simulation, compile_simulation
from bnn_training.binary_layers import BinaryConv2d
from bnn_training.folding import export_network, float_scores
from bnn_training.model import BinaryNetwork
from bnn_training.topology import Style, build_network
from support.cocotb_run import fresh_seed
from support.stages import stages
from support.strategies import WindowShape, random_conv_network, random_inputs, random_plan

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
    shell = Shell(lower(network, plan))
    return compile_simulation(emit_verilog(shell, "dut", shell.parts), "dut", lower(network, plan), folder)


def _check(simulation: Simulation, inputs: np.ndarray, seed: int) -> list[int]:
    """Runs images and checks every bit of every layer; returns the cycles from each image to the next."""
    recording = simulation.run(inputs, seed=seed)
    expected = golden.trace(simulation.design.network, inputs)
    check_against_golden(simulation.design.network, expected, recording.activations, recording.scores, recording.classes)
    (finished,) = recording.finish_cycles
    return [int(cycles) for cycles in np.diff(finished.astype(np.int64))]


@pytest.mark.parametrize("name", _CASES)
def test_every_bit_at_the_planned_interval_and_with_stalls(name: str, tmp_path: Path) -> None:
    """Without stalls an image takes the planned cycles, whichever layer is the slowest; with stalls all arrives too."""
    seed = fresh_seed()
    network, plan = _case(name, seed)
    assert max(stages(lower(network, plan)), key=lambda stage: stage.cycles).step.layer.name == _CASES[name].slowest
    simulation = _simulation(network, plan, tmp_path)
    inputs = random_inputs(network, _IMAGES, seed)
    intervals = _check(simulation, inputs, seed=0)
    for stalls in (1 + seed % 1000, 1001 + seed % 1000):
        _check(simulation, inputs, seed=stalls)
    assert intervals == [lower(network, plan).cycles] * (_IMAGES - 1)


def _train_at_random(network: BinaryNetwork, seed: int, input_reach: float) -> None:
    """Gives each block a batch norm whose slopes are of either sign, some zero, and whose signs change within the sums."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for block in network.stages:
            norm, reach = block.normalize, input_reach if block is network.stages[0] else 1.0
            outputs = len(norm.weight)
            spread = reach * block.product.weight[0].numel() ** 0.5
            slopes = rng.choice([-2.0, -0.3, 0.0, 0.3, 2.0], outputs, p=[0.2, 0.25, 0.1, 0.25, 0.2])
            means = np.rint(rng.normal(size=outputs) * spread / 2)  # integers, so that sums meet them
            slopes[:2], means[:2] = (-2.0, 2.0), 0.0  # so that there are always some that depend on the input
            parts: list[tuple[Any, np.ndarray]] = [
                (norm.weight, slopes),
                (norm.bias, rng.normal(size=outputs) * 0.3),
                (norm.running_mean, means),
                (norm.running_var, spread**2 * rng.uniform(0.5, 2, outputs)),
                (block.product.bias, np.rint(rng.normal(size=outputs))),
            ]
            for parameter, values in parts:
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))


def _trained_bits(network: BinaryNetwork, inputs: np.ndarray, shape: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns what PyTorch gives in eval mode: each hidden block's bits, [images, outputs], and the scores."""
    outputs: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)) for block in network.stages]
    scores = float_scores(network, inputs, shape)
    for hook in hooks:
        hook.remove()
    hidden = [output.permute(0, 2, 3, 1) if output.dim() == 4 else output for output in outputs[:-1]]
    return [(output >= 0).numpy().reshape(len(inputs), -1) for output in hidden], scores


_TRAINED: Final = {  # input, topology, padding and its value
    "bit": (Input((7, 6, 3), "bit"), "6C3-7C2-MP2-5C2-11", 1, 0),
    "uint8": (Input((7, 9, 2), "uint8"), "7C3-MP2-6C3-9", 1, 1),
    "int8": (Input((9, 8, 3), "int8"), "5C2-MP2-6C3-MP2-8", 1, -1),
}


@pytest.mark.parametrize("name", _TRAINED)
def test_pytorch_golden_and_rtl_agree_on_every_bit(name: str, tmp_path: Path) -> None:
    """What a PyTorch network computes, its folded network and that one's hardware compute too."""
    seed = fresh_seed()
    input_, topology, padding, padding_value = _TRAINED[name]
    torch.manual_seed(seed)
    trained = build_network(topology, input_.shape, 4, Style(padding=padding)).eval()
    for block in trained.stages:
        nn.init.normal_(block.product.weight)
        if isinstance(block.product, BinaryConv2d):
            block.product.padding_value = padding_value
    _train_at_random(trained, seed, {"bit": 1.0, "uint8": 128.0, "int8": 74.0}[input_.dtype])
    network = export_network("trained", trained, input_)
    inputs = random_inputs(network, _IMAGES, seed)
    expected = golden.trace(network, inputs)

    bits, scores = _trained_bits(trained, inputs, input_.shape)
    folded = [
        activations
        for layer, after, activations in zip(network.layers, network.layers[1:], expected.activations, strict=False)
        if not (isinstance(layer, Conv) and isinstance(after, MaxPool))  # a pooling comes before batch norm in PyTorch
    ]
    for index, (due, found) in enumerate(zip(bits, folded, strict=True)):
        assert np.array_equal(due, found), f"block {index}"
        assert (due != due[0]).any(), f"block {index} does not depend on its input"
    lost = scores.max(axis=1) - scores[np.arange(_IMAGES), expected.scores.argmax(axis=1)]
    assert lost.max() <= 1e-4 * np.abs(scores).max()

    simulation = _simulation(network, random_plan(network, seed, max_products=64), tmp_path)
    _check(simulation, inputs, seed=1 + seed % 1000)
