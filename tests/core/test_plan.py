# SPDX-License-Identifier: Apache-2.0
"""Plans: the cycles of a schedule, what a plan says of its layers, and plans from outside."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.design.estimate import (
    RESULT,
    SHELL,
    SHELL_RESOURCES,
    design_resources,
    estimates,
    unit_resources,
)
from bnn_hw.design.lower import input_cycles, lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.plan_file import load_plan, plan_json
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.fpga.family import ICE40, SERIES_7, ULTRASCALE_PLUS
from bnn_hw.fpga.memory_layout import block_rams, lut_rom_luts
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import Dense, DenseRelu, Input, Network, Scores
from support.stages import stage_resources, stages
from support.strategies import WindowShape, conv_networks, networks, random_conv_network, random_network, random_plan

NETWORK = random_network(Input((28, 28, 1), "bit", 128), (64, 33, 10), 1)
PLAN = Plan((LayerPlan("fc1", 8, 64, lut_bits=512), LayerPlan("fc2", 5, 7, lut_bits=11), LayerPlan("scores", 1, 33)), levels=3)
# 8x8x3 pixels; 8x8x6, 4x4x6, 3x3x10; 7 and 5
CONV_SHAPES = (WindowShape((3, 3), (1, 1), 6, (1, 1, 1, 1)), WindowShape((2, 2), (2, 2)), WindowShape((2, 2), (1, 1), 10))
CONV_NETWORK = random_conv_network(Input((8, 8, 3), "int8"), CONV_SHAPES, (7, 5), 1)
CONV_PLAN = Plan((LayerPlan("conv1", 3, 3), LayerPlan("conv3", 4, 12), LayerPlan("fc1", 2, 30), LayerPlan("scores", 5, 1)))
PYNQ = BOARDS["pynq-z2"]


def naive_cycles(outputs: int, inputs: int, pe: int, simd: int) -> int:
    """Returns the cycles of a layer by going through its schedule."""
    cycles = 0
    for _ in range(0, outputs, pe):
        for _ in range(0, inputs, simd):
            cycles += 1
    return cycles


def interval(network: Network, plan: Plan) -> int:
    """Returns the cycles between two images, from the layers' own and those of the streams at both ends."""
    bits = 1 if network.input.dtype == "bit" else 8
    layers = [
        naive_cycles(*layer.weights.shape, planned.pe, planned.simd)  # type: ignore[union-attr]
        for layer, planned in zip(network.layers, plan.layers, strict=True)
    ]
    return max(*layers, len(range(0, network.input.signal.size, STREAM_BITS // bits)), network.classes + 1)


def layer_cycles(network: Network, plan: Plan) -> list[int]:
    return [stage.cycles for stage in stages(lower(network, plan))]


@given(network=networks(), data=st.data())
def test_cycles(network: Network, data: st.DataObject) -> None:
    layers, expected = [], []
    for layer in network.layers:
        assert isinstance(layer, Dense | DenseRelu | Scores)
        outputs, inputs = layer.weights.shape
        layers.append(LayerPlan(layer.name, data.draw(st.integers(1, outputs)), data.draw(st.integers(1, inputs))))
        expected.append(naive_cycles(outputs, inputs, layers[-1].pe, layers[-1].simd))
    plan = Plan(tuple(layers))
    assert layer_cycles(network, plan) == expected
    assert lower(network, plan).cycles == interval(network, plan)


def test_cycles_by_hand() -> None:
    assert layer_cycles(NETWORK, PLAN) == [8 * 13, 7 * 10, 10]
    assert input_cycles(NETWORK) == 13
    assert lower(NETWORK, PLAN).cycles == 104
    widest = Plan((LayerPlan("fc1", 64, 784), LayerPlan("fc2", 33, 64), LayerPlan("scores", 10, 33)))
    assert lower(NETWORK, widest).cycles == 13
    assert lower(random_network(Input((3,), "bit"), (10,), 1), Plan((LayerPlan("scores", 10, 3),))).cycles == 11


def test_cycles_of_convolutions_by_hand() -> None:
    # conv1: 64 places of 2 groups of neurons and 9 words; pool1: 64 pixels of 2 words; conv3: 9 places, 3 groups, 2 words.
    assert layer_cycles(CONV_NETWORK, CONV_PLAN) == [64 * 2 * 9, 64 * 2, 9 * 3 * 2, 4 * 3, 7]
    assert lower(CONV_NETWORK, CONV_PLAN).cycles == 1152
    wider = Plan((LayerPlan("conv1", 6, 27), *CONV_PLAN.layers[1:]))
    assert layer_cycles(CONV_NETWORK, wider)[:2] == [64 * 9, 64]  # the window reads a pixel a cycle
    assert lower(CONV_NETWORK, wider).cycles == 576


@settings(deadline=None)
@given(network=conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_the_slowest_stage_or_stream_sets_the_interval(network: Network, seed: int) -> None:
    plan = random_plan(network, seed)
    assert lower(network, plan).cycles == max(*layer_cycles(network, plan), input_cycles(network), network.classes + 1)
    total, *_, convert, argmax = Resources(), *lower(network, plan).units
    result = unit_resources(convert, plan.family, plan.levels) + unit_resources(argmax, plan.family, plan.levels)
    for stage in stages(lower(network, plan)):
        estimate = stage_resources(stage, plan.family, plan.levels)
        assert estimate.luts > 0
        assert estimates(lower(network, plan))[stage.step.layer.name] == estimate
        total += estimate
    assert design_resources(lower(network, plan)) == total + result + SHELL_RESOURCES
    assert list(estimates(lower(network, plan))) == [*(layer.name for layer in network.layers), RESULT, SHELL]


def test_a_plan_takes_more_where_it_does_more() -> None:
    """And where its weights lie, and how many levels of logic it has."""
    base = design_resources(lower(NETWORK, PLAN))
    in_block_ram = design_resources(lower(NETWORK, Plan((replace(PLAN.layers[0], lut_bits=0), *PLAN.layers[1:]), levels=3)))
    weights = lut_rom_luts(SERIES_7, 104, 512)
    assert (in_block_ram.luts, in_block_ram.block_rams) == (base.luts - weights, base.block_rams + block_rams(SERIES_7, 104, 512))
    deeper = design_resources(lower(NETWORK, replace(PLAN, levels=8)))
    assert deeper.flip_flops < base.flip_flops
    assert deeper.block_rams == base.block_rams
    wider = design_resources(lower(NETWORK, Plan((replace(PLAN.layers[0], pe=16, lut_bits=1024), *PLAN.layers[1:]), levels=3)))
    assert wider.luts > base.luts
    assert design_resources(lower(NETWORK, replace(PLAN, family=ICE40))).luts > base.luts


# Plans from outside.


def edited(**fields: Any) -> dict[str, Any]:
    return {**json.loads(plan_json(lower(NETWORK, PLAN))), **fields}


def layer_edited(index: int, **fields: Any) -> dict[str, Any]:
    layers = json.loads(plan_json(lower(NETWORK, PLAN)))["layers"]
    layers[index].update(fields)
    return edited(layers=layers)


def write(folder: Path, content: object) -> Path:
    (folder / "plan.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "plan.json"


def test_json_round_trip(tmp_path: Path) -> None:
    text = plan_json(lower(NETWORK, PLAN))
    assert load_plan(write(tmp_path, text), NETWORK, PYNQ) == PLAN
    description = json.loads(text)
    layers, estimates = description.pop("layers"), description.pop("estimates")
    fixed = {"format": "bnn_hw.plan", "version": 1, "family": "xc7", "levels": 3}
    assert description == {**fixed, "runtime_weights": False, "cycles_per_image": 104}
    assert [layer["lut_bits"] for layer in layers] == [512, 11, 0]
    assert layers[0] == {
        "name": "fc1",
        "pe": 8,
        "simd": 64,
        "lut_bits": 512,
        "outputs": 64,
        "inputs": 784,
        "cycles": 104,
        "weight_bits": 64 * 784,
        "planned": {"pe": 8, "simd": 64, "lut_bits": 512},
    }
    assert list(estimates) == ["fc1", "fc2", "scores", "(result)", "(shell)"]
    total = design_resources(lower(NETWORK, PLAN))
    assert {kind: sum(estimate[kind] for estimate in estimates.values()) for kind in vars(total)} == vars(total)
    assert text == plan_json(lower(NETWORK, PLAN))
    assert text.endswith("}\n")


def test_json_of_convolutions(tmp_path: Path) -> None:
    """A pooling has nothing to plan; its cycles count all the same."""
    text = plan_json(lower(CONV_NETWORK, CONV_PLAN))
    assert load_plan(write(tmp_path, text), CONV_NETWORK, PYNQ) == CONV_PLAN
    description = json.loads(text)
    assert description["cycles_per_image"] == 1152
    assert [layer["name"] for layer in description["layers"]] == ["conv1", "conv3", "fc1", "scores"]
    first, second, *_ = description["layers"]
    made = stages(lower(CONV_NETWORK, CONV_PLAN))
    assert first == {
        "name": "conv1",
        "pe": 3,
        "simd": 3,
        "lut_bits": 0,
        "outputs": 6,
        "inputs": 27,
        "cycles": 1152,
        "weight_bits": 162,
        "planned": {"pe": 3, "simd": 3, "lut_bits": 0},
    }
    assert (second["inputs"], second["cycles"]) == (24, 54)
    assert list(description["estimates"]) == ["conv1", "pool2", "conv3", "fc1", "scores", "(result)", "(shell)"]
    for stage in made:
        assert description["estimates"][stage.step.layer.name] == vars(stage_resources(stage, SERIES_7, 8))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network=networks() | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_random_json_round_trip(network: Network, seed: int, tmp_path: Path) -> None:
    plan = random_plan(network, seed)
    assert load_plan(write(tmp_path, plan_json(lower(network, plan))), network, PYNQ) == plan


SIMD = r"^plan, layer {}: simd must divide the {} channels of a pixel or be a multiple of them, not {}$"


@pytest.mark.parametrize(
    ("layer", "pe", "simd", "message"),
    [
        ("conv1", 1, 2, SIMD.format("conv1", 3, 2)),
        ("conv1", 1, 4, SIMD.format("conv1", 3, 4)),
        ("conv1", 1, 26, SIMD.format("conv1", 3, 26)),
        ("conv3", 1, 4, SIMD.format("conv3", 6, 4)),
        ("conv3", 1, 9, SIMD.format("conv3", 6, 9)),
        ("conv1", 1, 30, r"^plan, layer conv1: pe must be in 1\.\.6 and simd in 1\.\.27, not 1 and 30$"),
        ("conv1", 7, 3, r"^plan, layer conv1: pe must be in 1\.\.6 and simd in 1\.\.27, not 7 and 3$"),
        ("conv3", 1, 0, r"^plan, layer conv3: pe must be in 1\.\.10 and simd in 1\.\.24, not 1 and 0$"),
        ("pool2", 6, 6, r"^plan must have the layers conv1, conv3, fc1, scores, not conv1, conv3, fc1, scores, pool2$"),
    ],
)
def test_wrong_plan_of_convolutions(layer: str, pe: int, simd: int, message: str) -> None:
    planned = {plan.name: plan for plan in CONV_PLAN.layers} | {layer: LayerPlan(layer, pe, simd)}
    with pytest.raises(ArtefactError, match=message):
        lower(CONV_NETWORK, Plan(tuple(planned.values())))


def test_parallelism_of_a_convolution_that_is_allowed() -> None:
    for simd in (1, 3, 6, 9, 12, 15, 18, 21, 24, 27):
        lower(CONV_NETWORK, Plan((LayerPlan("conv1", 5, simd), *CONV_PLAN.layers[1:])))
    for simd in (1, 2, 3, 6, 12, 18, 24):
        lower(CONV_NETWORK, Plan((CONV_PLAN.layers[0], LayerPlan("conv3", 7, simd), *CONV_PLAN.layers[2:])))


@pytest.mark.parametrize("lut_bits", [-1, 36, 10**30])
def test_wrong_lut_bits(lut_bits: int) -> None:
    message = rf"^plan, layer fc2: lut_bits must be in 0\.\.35, the weights of a cycle, not {lut_bits}$"
    with pytest.raises(ArtefactError, match=message):
        lower(NETWORK, Plan((PLAN.layers[0], LayerPlan("fc2", 5, 7, lut_bits), PLAN.layers[2])))


@pytest.mark.parametrize("levels", [1, 0, -8])
def test_too_few_levels(levels: int) -> None:
    with pytest.raises(ArtefactError, match=rf"^plan: levels must be 2 or more, not {levels}$"):
        lower(NETWORK, replace(PLAN, levels=levels))


def test_edited_plan(tmp_path: Path) -> None:
    """Name, pe, simd and lut_bits count; what else a plan says of a layer follows from them, and is for its reader."""
    content = layer_edited(1, pe=33, simd=64, lut_bits=2112, cycles=-1, outputs="none", inputs=None, weight_bits=[])
    content |= {"cycles_per_image": -1, "estimates": {}}
    plan = load_plan(write(tmp_path, content), NETWORK, PYNQ)
    assert plan == Plan((PLAN.layers[0], LayerPlan("fc2", 33, 64, 2112), PLAN.layers[2]), levels=3)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pe": 4}, LayerPlan("fc2", 4, 7, 28)),  # 90 words of 28 bits are in look-up tables, where they cost less
        ({"pe": 1, "simd": 1}, LayerPlan("fc2", 1, 1, 1)),  # of which 11 are too many
        ({"simd": 64}, LayerPlan("fc2", 5, 64, 320)),
        ({"pe": 7, "simd": 5}, LayerPlan("fc2", 7, 5, 35)),  # of as many products
        ({"pe": 4, "lut_bits": 12}, LayerPlan("fc2", 4, 7, 12)),
        ({"pe": 4, "lut_bits": 0}, LayerPlan("fc2", 4, 7, 0)),
        ({"lut_bits": 12}, LayerPlan("fc2", 5, 7, 12)),
    ],
)
def test_where_weights_lie_is_chosen_anew_with_a_new_shape(fields: dict[str, int], expected: LayerPlan, tmp_path: Path) -> None:
    """Unless the plan says it, by another number than what was planned for the old shape. Other layers stay as they are."""
    plan = load_plan(write(tmp_path, layer_edited(1, **fields)), NETWORK, PYNQ)
    assert plan == Plan((PLAN.layers[0], expected, PLAN.layers[2]), levels=3)
    assert load_plan(write(tmp_path, plan_json(lower(NETWORK, plan))), NETWORK, PYNQ) == plan


def test_a_number_of_weights_in_look_up_tables_is_kept_where_nothing_was_planned(tmp_path: Path) -> None:
    layers = [{"name": layer.name, "pe": 8, "simd": 32, "lut_bits": 11} for layer in NETWORK.layers]
    plan = load_plan(write(tmp_path, least_plan(*layers)), NETWORK, PYNQ)
    assert [layer.lut_bits for layer in plan.layers] == [11, 11, 11]


def least_plan(*layers: dict[str, object]) -> dict[str, object]:
    return {"format": "bnn_hw.plan", "version": 1, "layers": list(layers)}


def test_what_a_plan_does_not_say_is_chosen_for_the_board(tmp_path: Path) -> None:
    """Of fc1 104 words of 512 bits are 1,024 look-up tables or 15 of 18 kbit; of one bit, 50,176 words are 4 of these."""
    path = write(
        tmp_path,
        least_plan(
            {"name": "fc1", "pe": 8, "simd": 64}, {"name": "fc2", "pe": 1, "simd": 1}, {"name": "scores", "pe": 2, "simd": 33}
        ),
    )
    expected = (LayerPlan("fc1", 8, 64, 512), LayerPlan("fc2", 1, 1, 1), LayerPlan("scores", 2, 33, 66))
    assert load_plan(path, NETWORK, PYNQ) == Plan(expected, SERIES_7, levels=5)
    assert load_plan(path, NETWORK, BOARDS["zcu104"]) == Plan(expected, ULTRASCALE_PLUS, levels=4)
    # 104 words of 512 bits: 32 of 4 kbit, which count for 6,080 look-up tables, or 5,120 of 4 inputs.
    small = load_plan(path, NETWORK, BOARDS["icebreaker"])
    assert small.levels == 8
    assert small.family == ICE40
    for layer, planned in zip(NETWORK.layers, small.layers, strict=True):
        assert isinstance(layer, Dense | Scores)
        outputs, inputs = layer.weights.shape
        words, bits = naive_cycles(outputs, inputs, planned.pe, planned.simd), planned.pe * planned.simd
        assert planned.lut_bits == (bits if lut_rom_luts(ICE40, words, bits) <= 190 * block_rams(ICE40, words, bits) else 0)
    serial = [{"name": layer.name, "pe": 1, "simd": 1} for layer in NETWORK.layers]
    plan = load_plan(write(tmp_path, least_plan(*serial)), NETWORK, PYNQ)
    assert lower(NETWORK, plan).cycles == 64 * 784
    assert [layer.lut_bits for layer in plan.layers] == [0, 1, 1]


def test_what_a_plan_says_is_kept(tmp_path: Path) -> None:
    lut_bits = {"fc1": 0, "fc2": 256, "scores": 77}
    layers: list[dict[str, Any]] = [{"name": name, "pe": 8, "simd": 32, "lut_bits": bits} for name, bits in lut_bits.items()]
    content = {**least_plan(*layers), "levels": 2, "family": "xc7"}
    expected = Plan(tuple(LayerPlan(name, 8, 32, bits) for name, bits in lut_bits.items()), levels=2)
    assert load_plan(write(tmp_path, content), NETWORK, PYNQ) == expected
    del layers[1]["lut_bits"]  # chosen for this layer alone
    assert load_plan(write(tmp_path, content), NETWORK, PYNQ) == expected


@pytest.mark.parametrize(
    ("family", "board"), [("xc7", "zcu104"), ("xcup", "pynq-z2"), ("ice40", "tangnano9k"), ("xc7", "icebreaker")]
)
def test_a_plan_for_another_family_is_refused(family: str, board: str, tmp_path: Path) -> None:
    path = write(tmp_path, edited(family=family))
    found = BOARDS[board].family.name
    message = rf"^{re.escape(str(path))} is a plan for the family {family}, but {board} is of {found}; find a new one$"
    with pytest.raises(ArtefactError, match=message):
        load_plan(path, NETWORK, BOARDS[board])


NO_PLAN = r"FILE is not a plan: .*; start from the plan\.json of a build"
VERSION = r"FILE: format and version must be bnn_hw\.plan 1"
LAYERS = r"plan must have the layers fc1, fc2, scores, not "
LIMITS = r"plan, layer fc2: pe must be in 1\.\.33 and simd in 1\.\.64, not "
INTEGERS = r"FILE, layer 'fc2': pe, simd and lut_bits must be integers"
LEVELS = r"FILE: levels must be an integer"
FIELDS = r"FILE: fields must be among format, version, family, levels, runtime_weights, layers, cycles_per_image, estimates, not "
LAYER_FIELDS = (
    r"FILE, layer 'fc2': fields must be among name, pe, simd, lut_bits, outputs, inputs, cycles, weight_bits, planned, not "
)
WRONG_PLANS = [
    ("", NO_PLAN),
    ("{", NO_PLAN),
    ("5", NO_PLAN),
    ("null", NO_PLAN),
    ("[]", NO_PLAN),
    ("[" * 100_000, NO_PLAN),
    ({}, NO_PLAN),
    (edited(format="bnn_hw.network"), VERSION),
    (edited(version=2), VERSION),
    (edited(layers=5), NO_PLAN),
    (edited(layers=[5, 6, 7]), NO_PLAN),
    (edited(layers=[{"name": "fc1"}]), NO_PLAN),
    (edited(layers=[]), LAYERS + ""),
    (edited(layers=list(reversed(edited()["layers"]))), LAYERS + "scores, fc2, fc1"),
    (edited(layers=edited()["layers"][:2]), LAYERS + "fc1, fc2"),
    (layer_edited(1, name="fc9"), LAYERS + "fc1, fc9, scores"),
    (layer_edited(1, name=9), r"FILE, layer 9: pe, simd and lut_bits must be integers"),
    (layer_edited(1, pe=1.0), INTEGERS),
    (layer_edited(1, pe="1"), INTEGERS),
    (layer_edited(1, simd=True), INTEGERS),
    (layer_edited(1, simd=None), INTEGERS),
    (layer_edited(1, pe=0), LIMITS + "0 and 7"),
    (layer_edited(1, pe=34), LIMITS + "34 and 7"),
    (layer_edited(1, pe=-1), LIMITS + "-1 and 7"),
    (layer_edited(1, simd=0), LIMITS + "5 and 0"),
    (layer_edited(1, simd=65), LIMITS + "5 and 65"),
    (layer_edited(1, pe=10**30), LIMITS + f"{10**30} and 7"),
    (layer_edited(1, lut_bits=1.0), INTEGERS),
    (layer_edited(1, lut_bits="1"), INTEGERS),
    (layer_edited(1, lut_bits=True), INTEGERS),
    (layer_edited(1, lut_bits=36), r"plan, layer fc2: lut_bits must be in 0\.\.35, the weights of a cycle, not 36"),
    (layer_edited(1, lut_bits=-1), r"plan, layer fc2: lut_bits must be in 0\.\.35, the weights of a cycle, not -1"),
    (layer_edited(1, planned=None), NO_PLAN),
    (layer_edited(1, planned={"pe": 5}), NO_PLAN),
    (layer_edited(1, sims=7), LAYER_FIELDS + "sims"),
    (layer_edited(1, Pe=7, PE=7), LAYER_FIELDS + "PE"),
    (edited(level=7), FIELDS + "level"),
    (edited(runtime=True), FIELDS + "runtime"),
    (edited(levels=2.0), LEVELS),
    (edited(levels="2"), LEVELS),
    (edited(levels=True), LEVELS),
    (edited(levels=None), LEVELS),
    (edited(levels=1), r"plan: levels must be 2 or more, not 1"),
    (edited(family=7), r"FILE is a plan for the family 7, but pynq-z2 is of xc7; find a new one"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_PLANS, ids=range(len(WRONG_PLANS)))
def test_wrong_plan(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ArtefactError, match=f"^{message.replace('FILE', re.escape(str(path)))}$"):
        load_plan(path, NETWORK, PYNQ)


def test_unreadable_plan(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ArtefactError, match=f"^plan {re.escape(str(path))} cannot be read: "):
            load_plan(path, NETWORK, PYNQ)
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ArtefactError, match=r"plan\.json is not a plan: "):
        load_plan(tmp_path / "plan.json", NETWORK, PYNQ)
