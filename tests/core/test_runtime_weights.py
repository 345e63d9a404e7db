# SPDX-License-Identifier: Apache-2.0
"""Run-time weights: what the window holds against a naive layout, which networks fit, and plans with two banks."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.cli import app
from bnn_hw.design.estimate import SWAP_RESOURCES, design_resources, estimates
from bnn_hw.design.lower import lower
from bnn_hw.design.memories import engine_memories
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.plan_file import load_plan, plan_digest, plan_json
from bnn_hw.design.planner import BUDGET, find_plan
from bnn_hw.design.runtime_weights import check_same_shape, memory_words, weights_window
from bnn_hw.errors import ArtefactError
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.fpga.memory_layout import block_rams
from bnn_hw.models.packaged import packaged_network
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, MaxPool, Network, Scores, Step
from support.cocotb_run import fresh_seed
from support.stages import stages
from support.strategies import WindowShape, of_one_shape, random_conv_network, random_network, random_plan

PYNQ = BOARDS["pynq-z2"]
WINDOWS = (
    WindowShape((2, 2), (1, 1), 5, (0, 1, 1, 0), 1),
    WindowShape((2, 2), (2, 1)),
    WindowShape((2, 1), (1, 1), 6, (1, 0, 0, 0)),
)


def conv_network(seed: int, kind: str = "mixed") -> Network:
    """Returns a network with every kind of layer, of integers and then of bits."""
    return random_conv_network(Input((4, 3, 3), "uint8"), WINDOWS, (7, 4), seed, kind, [0])


def runtime_plan(network: Network, seed: int) -> Plan:
    return replace(random_plan(network, seed), runtime_weights=True)


# A naive layout: bit by bit, from what the components' datasheets say.


def naive_rows(network: Network, plan: Plan) -> Iterator[tuple[str, list[list[int]], int]]:
    """Yields layer and what it is of each memory, and its rows as bits."""
    for stage in stages(lower(network, plan)):
        layer, pe, simd, dtype = stage.step.layer, stage.pe, stage.simd, stage.step.input.dtype
        if isinstance(layer, MaxPool):
            bits = [int(bit) for bit in layer.and_channels] + [0] * (-len(layer.and_channels) % pe)
            yield f"{layer.name}.and_channels", [bits[start : start + pe] for start in range(0, len(bits), pe)]
            continue
        weights = layer.weights.reshape(len(layer.weights), -1).tolist()
        outputs, inputs = len(weights), len(weights[0])
        rows = []
        for first in range(0, outputs, pe):
            for start in range(0, inputs, simd):
                row = [1] * (pe * simd)
                for p in range(pe):
                    for s in range(simd):
                        if first + p < outputs and start + s < inputs:
                            row[p * simd + s] = int(weights[first + p][start + s])
                rows.append(row)
        yield f"{layer.name}.weights", [row[: pe * simd - stage.lut_bits] for row in rows]
        yield f"{layer.name}.lut_weights", [row[pe * simd - stage.lut_bits :] for row in rows]
        constants, groups = [], range(0, outputs, pe)
        for neuron in range(-(-outputs // pe) * pe):
            minuses = 0 if dtype == "bit" or neuron >= outputs else weights[neuron].count(False)
            if isinstance(layer, Dense | Conv):
                threshold = int(layer.thresholds[neuron]) if neuron < outputs else naive_never(stage.step)
                constants.append([(minuses - threshold, naive_sum_bits(stage.step))])
                continue
            scale, offset = (int(values[neuron]) if neuron < outputs else 0 for values in (layer.scale, layer.offset))
            factor, constant = (2 * scale, offset - scale * inputs) if dtype == "bit" else (scale, offset + scale * minuses)
            constants.append(list(zip((factor, constant), naive_scale_bits(stage.step), strict=True)))
        name = "starts" if isinstance(layer, Dense | Conv) else "scales"
        rows = [[bit for neuron in constants[first : first + pe] for bit in naive_bits(neuron)] for first in groups]
        yield f"{layer.name}.{name}", rows


def naive_bits(numbers: list[tuple[int, int]]) -> list[int]:
    return [number % 2**width >> bit & 1 for number, width in numbers for bit in range(width)]


def naive_reach(step: Step) -> tuple[int, int, int]:
    """Returns the inputs, the threshold that always fires and the one that never does."""
    layer, dtype = step.layer, step.input.dtype
    inputs = layer.weights[0].size
    if dtype != "bit":
        most = {"uint8": 255, "int8": 128}[dtype] * inputs
        return inputs, -most, most + 1
    zeros = isinstance(layer, Conv) and any(layer.padding) and layer.padding_value == 0
    return inputs, 0, (2 if zeros else 1) * inputs + 1


def naive_never(step: Step) -> int:
    return naive_reach(step)[2]


def naive_sum_bits(step: Step) -> int:
    """Returns the bits of any sum less any threshold."""
    _, always, never = naive_reach(step)
    return next(bits for bits in range(1, 99) if -(2 ** (bits - 1)) <= always - never and never - 1 - always < 2 ** (bits - 1))


def naive_scale_bits(step: Step) -> tuple[int, int]:
    """Returns the bits of any scale, twice that on bits, and of any offset with a multiple of the scale."""
    inputs, always, _ = naive_reach(step)
    reach = inputs if step.input.dtype == "bit" else -always
    most = 2**31 - 1 if isinstance(step.layer, Scores) else 2**47 - 1
    scale = min(2**31, most // reach)
    constant = min(most, scale * reach + 2**31)
    return ((2 if step.input.dtype == "bit" else 1) * scale).bit_length() + 1, constant.bit_length() + 1


@pytest.mark.parametrize("which", ["bit", "uint8", "int8", "windows"])
def test_window_against_a_naive_layout(which: str) -> None:
    """Each lane's rows at a multiple of their number rounded up, the deepest memories first, and zeros between."""
    seed = fresh_seed()
    if which == "windows":
        network = conv_network(seed)
    else:
        network = random_network(Input((random.Random(seed).randint(1, 90),), which), (40, 9, 5), seed, "mixed", [1])
    plan = runtime_plan(network, seed)
    window, words = weights_window(lower(network, plan)), memory_words(network, plan)
    rows = {name: rows for name, rows in naive_rows(network, plan) if rows[0]}
    found = {f"{memory.layer}.{memory.what}": address for memory, address in zip(window.memories, window.addresses, strict=False)}
    assert found.keys() == rows.keys()
    expected, strides = [0] * window.words, []
    for name, address in found.items():
        depth = len(rows[name])
        stride = next(2**power for power in range(20) if 2**power >= depth)
        strides.append(stride)
        assert address % stride == 0
        for index, row in enumerate(rows[name]):
            for bit, value in enumerate(row):
                expected[address + bit // 32 * stride + index] |= value << bit % 32
    assert strides == sorted(strides, reverse=True)
    assert words.dtype == np.dtype("<u4")
    assert words.tolist() == expected
    assert window.offset >= 4 * window.words
    assert window.offset.bit_count() == 1
    assert window.address_bits == len(f"{2 * window.offset - 1:b}")


@pytest.mark.parametrize("kinds", [("zero", "widest"), ("widest", "plain")])
def test_networks_of_one_shape_have_one_window(kinds: tuple[str, str]) -> None:
    seed = fresh_seed()
    one, other = of_one_shape(*(conv_network(seed + at, kind) for at, kind in enumerate(kinds)))
    plan = runtime_plan(one, seed)
    check_same_shape(one, other)
    renamed = replace(other, layers=tuple(replace(layer, name=f"l{index}") for index, layer in enumerate(other.layers)))
    assert weights_window(lower(one, plan)) == weights_window(lower(other, plan))
    assert estimates(lower(one, plan)) == estimates(lower(other, plan))
    assert np.array_equal(memory_words(other, plan), memory_words(renamed, plan))


# Which networks fit.

BUILT = Network(
    "built",
    Input((4, 4, 2), "bit", 128),
    (
        Conv("conv", np.ones((3, 2, 2, 2), bool), np.zeros(3, np.int32), (1, 1), (1, 1, 0, 0), -1),
        MaxPool("pool", (2, 2), (1, 1), np.zeros(3, bool)),
        DenseRelu("relu", np.ones((5, 24), bool), np.ones(5, np.int32), np.zeros(5, np.int32), 3),
        Scores("scores", np.ones((2, 5), bool), np.ones(2, np.int32), np.zeros(2, np.int32)),
    ),
)
CONV, POOL, RELU, SCORES = BUILT.layers


def test_what_is_trained_may_differ() -> None:
    conv = replace(CONV, name="other", weights=~CONV.weights, thresholds=CONV.thresholds + 4)
    pool = replace(POOL, and_channels=~POOL.and_channels)
    input_ = replace(BUILT.input, pixel_threshold=None)
    check_same_shape(BUILT, replace(BUILT, name="b", input=input_, layers=(conv, pool, RELU, SCORES)))


DENSE = Dense("d", np.ones((5, 24), bool), np.zeros(5, np.int32))
NARROW = replace(DENSE, weights=np.ones((5, 5), bool))
LINE = Network("n", Input((32,), "bit"), (Scores("s", np.ones((2, 32), bool), np.ones(2, np.int32), np.ones(2, np.int32)),))
THREE = Scores("s", np.ones((3, 5), bool), np.ones(3, np.int32), np.ones(3, np.int32))
BELOW, ZEROS = replace(CONV, padding=(0, 2, 0, 0)), replace(CONV, padding_value=0)
OTHERS = [
    (LINE, r"input.shape must be \(4, 4, 2\), as the hardware has it, not \(32,\)"),
    (replace(BUILT, input=Input((4, 4, 2), "int8")), "input.dtype must be bit, as the hardware has it, not int8"),
    (replace(BUILT, layers=(CONV, POOL, RELU, NARROW, SCORES)), "the number of layers must be 4, as the hardware has it, not 5"),
    (replace(BUILT, layers=(CONV, POOL, DENSE, SCORES)), "layer relu: type must be DenseRelu, as the hardware has it, not Dense"),
    (replace(BUILT, layers=(BELOW, POOL, RELU, SCORES)), r"layer conv: padding must be \(1, 1, 0, 0\), .*, not \(0, 2, 0, 0\)"),
    (replace(BUILT, layers=(ZEROS, POOL, RELU, SCORES)), "layer conv: padding_value must be -1, as the hardware has it, not 0"),
    (replace(BUILT, layers=(CONV, POOL, replace(RELU, shift=4), SCORES)), "layer relu: shift must be 3, .*, not 4"),
    (replace(BUILT, layers=(CONV, POOL, RELU, THREE)), r"layer scores: weights' shape must be \(2, 5\), .*, not \(3, 5\)"),
]


@pytest.mark.parametrize(("other", "message"), OTHERS, ids=range(len(OTHERS)))
def test_another_shape_is_refused(other: Network, message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{message}; build this network with `bnn_hw build --runtime-weights`$"):
        check_same_shape(BUILT, other)


# Plans.


def test_planned_memories() -> None:
    """Block RAM is that of twice the words in lanes of 32 bits, and a plan keeps to the look-up tables that can be memories."""
    network = packaged_network("mnist-small")
    plan = find_plan(network, PYNQ, runtime_weights=True)
    assert plan.runtime_weights
    need = design_resources(lower(network, plan))
    assert need.luts <= BUDGET * PYNQ.luts
    assert need.block_rams <= BUDGET * PYNQ.block_rams
    assert need.lut_ram <= BUDGET * PYNQ.lut_ram
    in_block_ram = 0.0
    for stage in stages(lower(network, plan)):
        for memory in engine_memories(stage.engine, plan.family):
            if not memory.in_luts:
                lanes = [32] * (memory.width // 32) + [memory.width % 32]
                in_block_ram += sum(block_rams(plan.family, 2 * memory.depth, lane, written=True) for lane in lanes)
    assert in_block_ram == need.block_rams > 0
    few = replace(PYNQ, lut_ram=need.lut_ram // 2)
    fewer = find_plan(network, few, runtime_weights=True)
    assert design_resources(lower(network, fewer)).lut_ram <= BUDGET * few.lut_ram
    assert lower(network, fewer).cycles >= lower(network, plan).cycles


def test_weights_that_do_not_fit_twice() -> None:
    network = packaged_network("mnist")
    message = (
        r"^mnist does not fit pynq-z2 even at one weight a cycle: it takes about [\d,]+ LUT of 53,200, "
        r"about (\d+(?:\.5)?) BRAM36 of 140, about \d DSP of 220, about [\d,]+ LUT RAM of 17,400 on pynq-z2, layer \w+ the most; "
        r"a plan may fill 90% of a board: take a larger board or a smaller network, or no run-time weights, which are held twice$"
    )
    with pytest.raises(ArtefactError, match=message) as caught:
        find_plan(network, PYNQ, runtime_weights=True)
    found = re.match(message, str(caught.value))
    assert found is not None
    assert float(found[1]) > BUDGET * 140
    find_plan(network, PYNQ, 1000)


def test_plan_file(tmp_path: Path) -> None:
    """A plan says whether weights can be replaced; the flag makes any plan one of these, and it is another one."""
    network = conv_network(1)
    plan = runtime_plan(network, 1)
    path = tmp_path / "plan.json"
    path.write_text(plan_json(lower(network, plan)))
    assert load_plan(path, network, PYNQ, runtime_weights=False) == plan
    fixed = replace(plan, runtime_weights=False)
    path.write_text(plan_json(lower(network, fixed)))
    assert load_plan(path, network, PYNQ) == fixed
    assert load_plan(path, network, PYNQ, runtime_weights=True) == plan
    assert plan_digest(plan) != plan_digest(fixed)
    assert estimates(lower(network, plan))["(shell)"] == estimates(lower(network, fixed))["(shell)"] + SWAP_RESOURCES
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "runtime_weights": 1}))
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(path))}: runtime_weights must be true or false$"):
        load_plan(path, network, PYNQ)


@pytest.mark.parametrize(("words", "lut_bits"), [(16, 64), (2048, 0)])
def test_where_weights_lie_that_a_plan_does_not_place(words: int, lut_bits: int, tmp_path: Path) -> None:
    network = random_network(Input((64 * words,), "bit"), (1,), 1)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"format": "bnn_hw.plan", "version": 1, "layers": [{"name": "scores", "pe": 1, "simd": 64}]}))
    plan = load_plan(path, network, PYNQ, runtime_weights=True)
    assert plan.layers == (LayerPlan("scores", 1, 64, lut_bits),)


# Builds.


def test_build(tmp_path: Path) -> None:
    """The manifest says where the window lies; the same command gives the same bytes."""
    network = random_network(Input((9,), "bit"), (3, 2), 1)
    plan = Plan((LayerPlan("fc1", 1, 9), LayerPlan("scores", 1, 3)), runtime_weights=True)
    folders = [build(network, PYNQ, plan, tmp_path / name, verify=False).folder for name in ("one", "two")]
    manifests = [read_manifest(folder) for folder in folders]
    window = weights_window(lower(network, plan))
    assert manifests[0] == manifests[1]
    weights = {"offset": window.offset, "words": window.words}
    assert manifests[0].ports["s_axi"] == {"tdata_bits": 32, "address_bits": window.address_bits, "weights": weights}
    fixed = build(network, PYNQ, replace(plan, runtime_weights=False), tmp_path / "fixed", verify=False).manifest
    assert fixed.ports["s_axi"] == {"tdata_bits": 32, "address_bits": 8, "weights": None}


def test_boards_without_a_processor_are_refused(tmp_path: Path) -> None:
    arguments = ["build", "--model", "mnist-tiny", "--board", "ulx3s-85f", "--runtime-weights", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    message = "ulx3s-85f has no processor to write run-time weights; build without --runtime-weights, or for a board with one"
    assert isinstance(result.exception, ArtefactError)
    assert str(result.exception) == message
    assert not (tmp_path / "out").exists()
