# SPDX-License-Identifier: Apache-2.0
"""Plans: the cycles of a schedule, what is found for a target or a board, and plans from outside."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.boards import BOARDS, Board, find_board
from bnn_hw.errors import ArtefactError
from bnn_hw.estimate import Resources, stage_resources
from bnn_hw.family import SERIES_7
from bnn_hw.network import Conv, Dense, Input, MaxPool, Network, Scores, Step
from bnn_hw.plan import LayerPlan, Plan, find_plan, load_plan, plan_json
from bnn_hw.stage import STREAM_BITS, Stage, input_cycles
from strategies import WindowShape, conv_networks, networks, random_conv_network, random_network, random_plan

NETWORK = random_network(Input((28, 28, 1), "bit", 128), (64, 33, 10), 1)
PLAN = Plan((LayerPlan("fc1", 8, 64), LayerPlan("fc2", 5, 7), LayerPlan("scores", 1, 33)))
# 8x8x3 pixels; 8x8x6, 4x4x6, 3x3x10; 7 and 5
CONV_SHAPES = (WindowShape((3, 3), (1, 1), 6, (1, 1, 1, 1)), WindowShape((2, 2), (2, 2)), WindowShape((2, 2), (1, 1), 10))
CONV_NETWORK = random_conv_network(Input((8, 8, 3), "int8"), CONV_SHAPES, (7, 5), 1)
CONV_PLAN = Plan((LayerPlan("conv1", 3, 3), LayerPlan("conv3", 4, 12), LayerPlan("fc1", 2, 30), LayerPlan("scores", 5, 1)))
ENDLESS = Board("endless", "part", SERIES_7, 100, luts=10**9, block_rams=10**9, dsps=10**9)
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
    return [stage.cycles for stage in plan.stages(network)]


@given(network=networks(), data=st.data())
def test_cycles(network: Network, data: st.DataObject) -> None:
    layers, expected = [], []
    for layer in network.layers:
        assert isinstance(layer, Dense | Scores)
        outputs, inputs = layer.weights.shape
        layers.append(LayerPlan(layer.name, data.draw(st.integers(1, outputs)), data.draw(st.integers(1, inputs))))
        expected.append(naive_cycles(outputs, inputs, layers[-1].pe, layers[-1].simd))
    plan = Plan(tuple(layers))
    assert plan.check(network) is plan
    assert layer_cycles(network, plan) == expected
    assert plan.cycles(network) == interval(network, plan)


def test_cycles_by_hand() -> None:
    assert layer_cycles(NETWORK, PLAN) == [8 * 13, 7 * 10, 10]
    assert input_cycles(NETWORK) == 13
    assert PLAN.cycles(NETWORK) == 104
    widest = Plan((LayerPlan("fc1", 64, 784), LayerPlan("fc2", 33, 64), LayerPlan("scores", 10, 33)))
    assert widest.cycles(NETWORK) == 13
    assert Plan((LayerPlan("scores", 10, 3),)).cycles(random_network(Input((3,), "bit"), (10,), 1)) == 11


def test_cycles_of_convolutions_by_hand() -> None:
    # conv1: 64 places of 2 groups of neurons and 9 words; pool1: 64 pixels of 2 words; conv3: 9 places, 3 groups, 2 words.
    assert layer_cycles(CONV_NETWORK, CONV_PLAN.check(CONV_NETWORK)) == [64 * 2 * 9, 64 * 2, 9 * 3 * 2, 4 * 3, 7]
    assert CONV_PLAN.cycles(CONV_NETWORK) == 1152
    wider = Plan((LayerPlan("conv1", 6, 27), *CONV_PLAN.layers[1:]))
    assert layer_cycles(CONV_NETWORK, wider)[:2] == [64 * 9, 64]  # the window reads a pixel a cycle
    assert wider.cycles(CONV_NETWORK) == 576


@settings(deadline=None)
@given(network=conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_the_slowest_stage_or_stream_sets_the_interval(network: Network, seed: int) -> None:
    plan = random_plan(network, seed)
    assert plan.check(network) is plan
    assert plan.cycles(network) == max(*layer_cycles(network, plan), input_cycles(network), network.classes + 1)
    total = Resources(0, 0, 0)
    for stage in plan.stages(network):
        assert stage_resources(stage).luts > 0
        total += stage_resources(stage)
    assert plan.resources(network) == total


# What is found.


@pytest.mark.parametrize("board", BOARDS)
def test_found_plan_fits_its_board(board: str) -> None:
    for widths in ((10,), (64, 64, 64, 10), (256, 256, 256, 10)):
        network = random_network(Input((28, 28, 1), "bit", 128), widths, 2)
        plan = find_plan(network, BOARDS[board]).check(network)
        assert plan.resources(network).fits(BOARDS[board], 0.7)


def found_plan_is_about_the_fastest(network: Network, board: Board) -> None:
    try:
        plan = find_plan(network, board).check(network)
    except ArtefactError:
        return
    assert plan.resources(network).fits(board, 0.7)
    fewer = math.floor(plan.cycles(network) * 0.95)
    try:
        faster = find_plan(network, board, fps=1e8 / (fewer + 0.5))
    except ArtefactError:
        return
    assert faster.cycles(network) <= fewer
    assert not faster.resources(network).fits(board, 0.7)


@settings(deadline=None, max_examples=30)
@given(network=networks())
def test_found_plan_is_about_the_fastest(network: Network) -> None:
    """A plan for a twentieth fewer cycles, if there is one, has no room on the board."""
    found_plan_is_about_the_fastest(network, Board("small", "part", SERIES_7, 100, luts=20_000, block_rams=60, dsps=400))


@settings(deadline=None, max_examples=30)
@given(network=conv_networks())
def test_found_plan_of_convolutions_is_about_the_fastest(network: Network) -> None:
    found_plan_is_about_the_fastest(network, Board("small", "part", SERIES_7, 100, luts=3000, block_rams=60, dsps=400))


def naive_fastest(network: Network) -> int:
    """Returns the cycles that no plan gets below: a pixel a cycle into and out of each window, and the streams at both ends."""
    cycles = [input_cycles(network), network.classes + 1]
    for index, step in enumerate(network.steps()):
        layer, shape = step.layer, step.input.shape
        if isinstance(layer, Conv | MaxPool):
            size = layer.kernel if isinstance(layer, Conv) else layer.size
            words = 1
            if isinstance(layer, MaxPool) and first_pooling(network, index):  # its words are part of the input stream's
                words = shape[2] // max(part for part in range(1, 65) if shape[2] % part == 0)
            places = step.output.shape[0] * step.output.shape[1]
            cycles += [places * size[0] * size[1] * words, shape[0] * shape[1] * words]
    return max(cycles)


def first_pooling(network: Network, index: int) -> bool:
    return all(isinstance(layer, MaxPool) for layer in network.layers[: index + 1])


@settings(deadline=None, max_examples=100)
@given(network=conv_networks(), slower=st.floats(1, 50))
def test_targets_of_convolutions_are_reached_as_promised(network: Network, slower: float) -> None:
    fastest = naive_fastest(network)
    for cycles in (fastest, fastest + 1, math.floor(fastest * slower)):
        plan = find_plan(network, ENDLESS, 1e8 / (cycles + 0.5)).check(network)
        assert plan.cycles(network) <= cycles
    assert find_plan(network, ENDLESS).cycles(network) == fastest
    with pytest.raises(
        ArtefactError, match=rf"leaves {fastest - 1} cycles an image, but .* take {fastest}; at most [\d,]+ images/s"
    ):
        find_plan(network, ENDLESS, 1e8 / (fastest - 0.5))


def test_a_pooling_after_a_pooling_is_fast_enough() -> None:
    """The second one, which overlaps itself, takes longer for each word than the first, and both take the words of conv1."""
    poolings = (WindowShape((1, 1), (1, 1)), WindowShape((3, 3), (1, 1)))
    network = random_conv_network(Input((8, 8, 1), "bit"), (WindowShape((1, 1), (1, 1), 12), *poolings), (2,), 1)
    plan = find_plan(network, ENDLESS, 1e8 / 700.5)  # the second reads 6 * 6 * 9 = 324 pixels
    assert plan.cycles(network) <= 700
    assert [stage.cycles for stage in plan.stages(network)][1:3] == [64 * 2, 324 * 2]


@settings(deadline=None, max_examples=60)
@given(network=networks(max_width=100), slower=st.floats(1, 100))
def test_target_is_reached_at_about_the_least_cost(network: Network, slower: float) -> None:
    """Of all parallelisms of a layer that reach the target, none is much cheaper, counted without converters."""
    cycles = math.floor(max(input_cycles(network), network.classes + 1) * slower)
    plan = find_plan(network, ENDLESS, 1e8 / (cycles + 0.5)).check(network)
    assert plan.cycles(network) <= cycles

    def luts(step: Step, pe: int, simd: int) -> int:
        return stage_resources(Stage(step, simd, pe, ())).luts

    for step, planned in zip(network.steps(), plan.layers, strict=True):
        assert isinstance(step.layer, Dense | Scores)
        outputs, inputs = step.layer.weights.shape
        reaching = [
            (-(-outputs // (cycles // words)), simd) for simd in range(1, inputs + 1) if (words := -(-inputs // simd)) <= cycles
        ]
        least = min(luts(step, pe, simd) for pe, simd in reaching)
        most = max(luts(step, pe, simd) for pe, simd in reaching)
        found = luts(step, planned.pe, planned.simd)
        assert least <= found <= most
        # A converter before the widest word costs some LUTs for each pair of lanes; a layer may pay as much to save it.
        assert found <= 1.3 * least + 64 * (STREAM_BITS + inputs)


def test_slower_is_cheaper() -> None:
    luts = [find_plan(NETWORK, PYNQ, fps).resources(NETWORK).luts for fps in (1e6, 1e5, 1e4, 1e3)]
    assert luts == sorted(luts, reverse=True)
    assert luts[0] > 3 * luts[-1]
    assert all(layer.pe == 1 for layer in find_plan(NETWORK, PYNQ, 1e3).layers)


def test_the_fastest_rate_is_reached_and_one_more_is_not() -> None:
    zcu104 = BOARDS["zcu104"]
    assert find_plan(NETWORK, zcu104, 200e6 / 13).cycles(NETWORK) == 13
    message = (
        r"^17,391,304 images/s at 200 MHz leaves 11 cycles an image, but input and output streams take 13; "
        r"at most 15,384,615 images/s is possible$"
    )
    with pytest.raises(ArtefactError, match=message):
        find_plan(NETWORK, zcu104, 200e6 / 11.5)


def test_windows_that_bound_the_rate_are_named() -> None:
    message = (
        r"^200,000 images/s at 100 MHz leaves 500 cycles an image, but the pixels that the window of layer conv1 reads, one a "
        r"cycle, take 576; at most 173,611 images/s is possible$"
    )
    with pytest.raises(ArtefactError, match=message):
        find_plan(CONV_NETWORK, ENDLESS, 200_000)


@pytest.mark.parametrize("board", BOARDS)
def test_found_plan_of_a_cnv_fits_its_board(board: str) -> None:
    def conv(outputs: int) -> WindowShape:
        return WindowShape((3, 3), (1, 1), outputs)

    pool = WindowShape((2, 2), (2, 2))
    shapes = [conv(64), conv(64), pool, conv(128), conv(128), pool, conv(256), conv(256)]
    network = random_conv_network(Input((32, 32, 3), "int8"), shapes, (512, 512, 10), 2)
    plan = find_plan(network, BOARDS[board]).check(network)
    assert plan.resources(network).fits(BOARDS[board], 0.7)
    assert plan.cycles(network) < 40_000
    for fps in (100, 1000, BOARDS[board].clock_mhz * 1e6 / 20_000):
        found = find_plan(network, BOARDS[board], fps)
        assert found.cycles(network) <= BOARDS[board].clock_mhz * 1e6 / fps


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), float("-inf")])
def test_no_rate_at_all(fps: float) -> None:
    with pytest.raises(ArtefactError, match=r"images/s"):
        find_plan(NETWORK, PYNQ, fps)


def test_a_rate_that_a_board_has_no_room_for() -> None:
    network = random_network(Input((28, 28, 1), "bit", 128), (1024, 1024, 1024, 10), 3)
    find_plan(network, PYNQ, 1000)
    with pytest.raises(ArtefactError, match=r"^1,000,000 images/s .* pynq-z2"):
        find_plan(network, PYNQ, 1_000_000)


def test_a_network_that_a_board_has_no_room_for() -> None:
    network = random_network(Input((28, 28, 1), "bit", 128), (4096, 2048, 10), 3)
    message = (
        r"^random does not fit pynq-z2 even at one weight a cycle: it takes about [\d,]+ LUT of 53,200, about [\d,.]+ BRAM36 of "
        r"140, about [\d,]+ DSP of 220 on pynq-z2, layer fc2 the most; a plan may fill 70% of a board: take a larger board or a "
        r"smaller network$"
    )
    with pytest.raises(ArtefactError, match=message):
        find_plan(network, PYNQ)


def test_resources_add_up_and_fit() -> None:
    total = Resources(1, 0.5, 3) + Resources(10, 20, 30)
    assert total == Resources(11, 20.5, 33)
    assert total.fits(Board("b", "p", SERIES_7, 1, luts=22, block_rams=41, dsps=66), 0.5)
    for luts, block_rams, dsps in ((21, 41, 66), (22, 40, 66), (22, 41, 65)):
        assert not total.fits(Board("b", "p", SERIES_7, 1, luts, block_rams, dsps), 0.5)


def test_boards() -> None:
    assert all(find_board(name).name == name for name in BOARDS)
    with pytest.raises(ArtefactError, match=r"^board must be one of pynq-z1, pynq-z2, .*, not 'pynqz2'$"):
        find_board("pynqz2")


# Plans from outside.


def edited(**fields: Any) -> dict[str, Any]:
    return {**json.loads(plan_json(PLAN, NETWORK)), **fields}


def layer_edited(index: int, **fields: Any) -> dict[str, Any]:
    layers = json.loads(plan_json(PLAN, NETWORK))["layers"]
    layers[index].update(fields)
    return edited(layers=layers)


def write(folder: Path, content: object) -> Path:
    (folder / "plan.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "plan.json"


def test_json_round_trip(tmp_path: Path) -> None:
    text = plan_json(PLAN, NETWORK)
    assert load_plan(write(tmp_path, text), NETWORK) == PLAN
    description = json.loads(text)
    assert (description["format"], description["version"], description["cycles_per_image"]) == ("bnn_hw.plan", 1, 104)
    first = description["layers"][0]
    assert {key: first[key] for key in ("name", "pe", "simd", "outputs", "inputs", "cycles", "weight_bits")} == {
        "name": "fc1",
        "pe": 8,
        "simd": 64,
        "outputs": 64,
        "inputs": 784,
        "cycles": 104,
        "weight_bits": 64 * 784,
    }
    assert text == plan_json(PLAN, NETWORK)
    assert text.endswith("}\n")


def test_json_of_convolutions(tmp_path: Path) -> None:
    """A pooling has nothing to plan; its cycles count all the same."""
    text = plan_json(CONV_PLAN, CONV_NETWORK)
    assert load_plan(write(tmp_path, text), CONV_NETWORK) == CONV_PLAN
    description = json.loads(text)
    assert description["cycles_per_image"] == 1152
    assert [layer["name"] for layer in description["layers"]] == ["conv1", "conv3", "fc1", "scores"]
    first, second, *_ = description["layers"]
    stages = CONV_PLAN.stages(CONV_NETWORK)
    assert first == {
        "name": "conv1",
        "pe": 3,
        "simd": 3,
        "outputs": 6,
        "inputs": 27,
        "cycles": 1152,
        "weight_bits": 162,
        "estimate": vars(stage_resources(stages[0])),
    }
    assert (second["inputs"], second["cycles"], second["estimate"]) == (24, 54, vars(stage_resources(stages[2])))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network=networks() | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_random_json_round_trip(network: Network, seed: int, tmp_path: Path) -> None:
    plan = random_plan(network, seed)
    assert load_plan(write(tmp_path, plan_json(plan, network)), network) == plan


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
        Plan(tuple(planned.values())).check(CONV_NETWORK)


def test_parallelism_of_a_convolution_that_is_allowed() -> None:
    for simd in (1, 3, 6, 9, 12, 15, 18, 21, 24, 27):
        Plan((LayerPlan("conv1", 5, simd), *CONV_PLAN.layers[1:])).check(CONV_NETWORK)
    for simd in (1, 2, 3, 6, 12, 18, 24):
        Plan((CONV_PLAN.layers[0], LayerPlan("conv3", 7, simd), *CONV_PLAN.layers[2:])).check(CONV_NETWORK)


def test_edited_plan(tmp_path: Path) -> None:
    """Name, pe and simd count; what else a plan says of a layer is for its reader."""
    plan = load_plan(write(tmp_path, layer_edited(1, pe=33, simd=64, cycles=-1, estimate="none")), NETWORK)
    assert plan == Plan((PLAN.layers[0], LayerPlan("fc2", 33, 64), PLAN.layers[2]))
    least = edited(layers=[{"name": layer.name, "pe": 1, "simd": 1} for layer in NETWORK.layers], cycles_per_image=...)
    del least["cycles_per_image"]
    assert load_plan(write(tmp_path, least), NETWORK).cycles(NETWORK) == 64 * 784


NO_PLAN = r"FILE is no plan: .*; start from the plan\.json of a build"
VERSION = r"FILE: format and version must be bnn_hw\.plan 1"
LAYERS = r"plan must have the layers fc1, fc2, scores, not "
LIMITS = r"plan, layer fc2: pe must be in 1\.\.33 and simd in 1\.\.64, not "
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
    (layer_edited(1, name=9), r"FILE, layer 9: pe and simd must be integers"),
    (layer_edited(1, pe=1.0), r"FILE, layer 'fc2': pe and simd must be integers"),
    (layer_edited(1, pe="1"), r"FILE, layer 'fc2': pe and simd must be integers"),
    (layer_edited(1, simd=True), r"FILE, layer 'fc2': pe and simd must be integers"),
    (layer_edited(1, simd=None), r"FILE, layer 'fc2': pe and simd must be integers"),
    (layer_edited(1, pe=0), LIMITS + "0 and 7"),
    (layer_edited(1, pe=34), LIMITS + "34 and 7"),
    (layer_edited(1, pe=-1), LIMITS + "-1 and 7"),
    (layer_edited(1, simd=0), LIMITS + "5 and 0"),
    (layer_edited(1, simd=65), LIMITS + "5 and 65"),
    (layer_edited(1, pe=10**30), LIMITS + f"{10**30} and 7"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_PLANS, ids=range(len(WRONG_PLANS)))
def test_wrong_plan(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ArtefactError, match=f"^{message.replace('FILE', re.escape(str(path)))}$"):
        load_plan(path, NETWORK)


def test_unreadable_plan(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ArtefactError, match=f"^plan {re.escape(str(path))} cannot be read: "):
            load_plan(path, NETWORK)
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ArtefactError, match=r"plan\.json is no plan: "):
        load_plan(tmp_path / "plan.json", NETWORK)
