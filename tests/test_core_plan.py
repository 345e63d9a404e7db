# SPDX-License-Identifier: Apache-2.0
"""Plans: the cycles of a schedule, what is found for a target or a board, and plans from outside."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.boards import BOARDS, Board, find_board
from bnn_hw.errors import ArtefactError
from bnn_hw.estimate import Resources, layer_resources
from bnn_hw.network import Input, Network
from bnn_hw.plan import STREAM_BITS, LayerPlan, Plan, find_plan, input_cycles, layer_cycles, load_plan, plan_json
from strategies import networks, random_network

NETWORK = random_network(Input((28, 28, 1), "bit", 128), (64, 33, 10), 1)
PLAN = Plan((LayerPlan("fc1", 8, 64), LayerPlan("fc2", 5, 7), LayerPlan("scores", 1, 33)))
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
        naive_cycles(*layer.weights.shape, planned.pe, planned.simd)
        for layer, planned in zip(network.layers, plan.layers, strict=True)
    ]
    return max(*layers, len(range(0, network.input.signal.size, STREAM_BITS // bits)), network.classes + 1)


@given(network=networks(), data=st.data())
def test_cycles(network: Network, data: st.DataObject) -> None:
    layers = []
    for layer in network.layers:
        outputs, inputs = layer.weights.shape
        layers.append(LayerPlan(layer.name, data.draw(st.integers(1, outputs)), data.draw(st.integers(1, inputs))))
        assert layer_cycles(layer, layers[-1]) == naive_cycles(outputs, inputs, layers[-1].pe, layers[-1].simd)
    plan = Plan(tuple(layers))
    assert plan.check(network) is plan
    assert plan.cycles(network) == interval(network, plan)


def test_cycles_by_hand() -> None:
    assert [layer_cycles(layer, planned) for layer, planned in zip(NETWORK.layers, PLAN.layers, strict=True)] == [
        8 * 13,
        7 * 10,
        10,
    ]
    assert input_cycles(NETWORK) == 13
    assert PLAN.cycles(NETWORK) == 104
    assert input_cycles(random_network(Input((17,), "int8"), (10,), 1)) == 3
    widest = Plan(tuple(LayerPlan(layer.name, *layer.weights.shape) for layer in NETWORK.layers))
    assert widest.cycles(NETWORK) == 13
    assert Plan((LayerPlan("scores", 10, 3),)).cycles(random_network(Input((3,), "bit"), (10,), 1)) == 11


# What is found.


@pytest.mark.parametrize("board", BOARDS)
def test_found_plan_fits_its_board(board: str) -> None:
    for widths in ((10,), (64, 64, 64, 10), (256, 256, 256, 10)):
        network = random_network(Input((28, 28, 1), "bit", 128), widths, 2)
        plan = find_plan(network, BOARDS[board]).check(network)
        assert plan.resources(network).fits(BOARDS[board], 0.7)


@settings(deadline=None, max_examples=30)
@given(network=networks())
def test_found_plan_is_about_the_fastest(network: Network) -> None:
    """A plan for a twentieth fewer cycles, if there is one, has no room on the board."""
    board = Board("small", "part", 100, luts=20_000, bram36=60, dsps=400)
    try:
        plan = find_plan(network, board).check(network)
    except ArtefactError:
        return
    assert plan.resources(network).fits(board, 0.7)
    fewer = math.floor(plan.cycles(network) * 0.95)
    if fewer < max(input_cycles(network), network.classes + 1):
        return
    try:
        faster = find_plan(network, board, fps=1e8 / (fewer + 0.5))
    except ArtefactError:
        return
    assert faster.cycles(network) <= fewer
    assert not faster.resources(network).fits(board, 0.7)


@settings(deadline=None, max_examples=60)
@given(network=networks(max_width=100), slower=st.floats(1, 100))
def test_target_is_reached_at_about_the_least_cost(network: Network, slower: float) -> None:
    """Of all parallelisms of a layer that reach the target, none is much cheaper, counted without converters."""
    board = Board("endless", "part", 100, luts=10**9, bram36=10**9, dsps=10**9)
    cycles = math.floor(max(input_cycles(network), network.classes + 1) * slower)
    fps = board.clock_mhz * 1e6 / (cycles + 0.5)
    plan = find_plan(network, board, fps).check(network)
    assert plan.cycles(network) <= cycles
    for step, planned in zip(network.steps(), plan.layers, strict=True):
        outputs, inputs = step.layer.weights.shape
        reaching = [
            (-(-outputs // (cycles // words)), simd) for simd in range(1, inputs + 1) if (words := -(-inputs // simd)) <= cycles
        ]
        least = min(layer_resources(step, pe, simd).luts for pe, simd in reaching)
        most = max(layer_resources(step, pe, simd).luts for pe, simd in reaching)
        found = layer_resources(step, planned.pe, planned.simd).luts
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
        r"^random does not fit pynq-z2 even at one weight a cycle: about [\d,]+ LUT and [\d.]+ BRAM36 of 53,200 and 140; "
        r"take a larger board or a smaller network$"
    )
    with pytest.raises(ArtefactError, match=message):
        find_plan(network, PYNQ)


def test_resources_add_up_and_fit() -> None:
    total = Resources(1, 0.5, 3) + Resources(10, 20, 30)
    assert total == Resources(11, 20.5, 33)
    assert total.fits(Board("b", "p", 1, luts=22, bram36=41, dsps=66), 0.5)
    for luts, bram36, dsps in ((21, 41, 66), (22, 40, 66), (22, 41, 65)):
        assert not total.fits(Board("b", "p", 1, luts, bram36, dsps), 0.5)


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
