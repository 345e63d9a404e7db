# SPDX-License-Identifier: Apache-2.0
"""The shapes of layers: all of them in place of the cheapest, what is left out because it cannot fit, and the circuits made."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.design.estimate import SHELL_RESOURCES, unit_resources
from bnn_hw.design.planner import find_plan
from bnn_hw.design.shapes import BUDGET, Shape, Shapes
from bnn_hw.design.units import MatVec
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga import bit_heap
from bnn_hw.fpga.boards import BOARDS, Board
from bnn_hw.fpga.family import ECP5, SERIES_7, ULTRASCALE_PLUS, Family
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import Input, MaxPool, Network
from support.strategies import conv_networks, networks, random_network

FAMILIES = (SERIES_7, ULTRASCALE_PLUS, ECP5)
ENDLESS = Board("endless", "part", SERIES_7, 100, luts=380 * 10**6, block_rams=10**6, dsps=2 * 10**6)


WIDE = random_network(Input((784,), "bit"), (256, 10), 1)
CELLS = ("luts", "block_rams", "dsps")


def first_layer(network: Network) -> int:
    """Returns the index of the first layer with weights."""
    return next(index for index, layer in enumerate(network.layers) if not isinstance(layer, MaxPool))


@pytest.mark.parametrize("inputs", [1, 2, 3, 12, 64, 97, 100, 784, 1023, 5000])
def test_a_layer_takes_the_least_inputs_for_each_number_of_words(inputs: int) -> None:
    network = random_network(Input((inputs,), "bit"), (1,), 1)
    found = {shape.lanes_in for shape in Shapes(network, ENDLESS, False).of(0, inputs)}
    powers = {1 << power for power in range(inputs.bit_length())}
    assert found == powers | {-(-inputs // words) for words in range(1, inputs + 1)}


@settings(deadline=None, max_examples=60)
@given(
    network=networks() | conv_networks(),
    family=st.sampled_from(FAMILIES),
    runtime_weights=st.booleans(),
    cycles=st.integers(1, 20_000),
    price=st.floats(0.1, 5000),
)
def test_the_cheapest_are_those_of_all(network: Network, family: Family, runtime_weights: bool, cycles: int, price: float) -> None:
    """In the order of their costs, of which each is known only when its circuit is made."""
    found = Shapes(network, replace(ENDLESS, family=family), runtime_weights)
    for index in [index for index, layer in enumerate(network.layers) if index and not isinstance(layer, MaxPool)]:
        cheapest = found.cheapest(index, cycles, price)
        assert cheapest == sorted(found.of(index, cycles), key=lambda shape: shape.cost(price))[:12]


def placements(shape: Shape, board: Board) -> list[Resources]:
    """Returns what a shape takes with none, some and all of the weights of a cycle in look-up tables."""
    *before, engine = shape.units
    assert isinstance(engine, MatVec)
    some = {*range(0, engine.lut_bits, 1 + engine.lut_bits // 100), engine.lut_bits}
    choices = [(*before, replace(engine, lut_bits=lut_bits)) for lut_bits in some]
    return [sum((unit_resources(unit, board.family, board.levels) for unit in units), start=Resources()) for units in choices]


@settings(deadline=None, max_examples=60)
@given(
    network=networks(max_width=60) | conv_networks() | st.just(WIDE),
    runtime_weights=st.booleans(),
    family=st.sampled_from(FAMILIES),
    cycles=st.integers(1, 3000),
)
def test_what_fits_is_not_left_out(network: Network, runtime_weights: bool, family: Family, cycles: int) -> None:
    """On boards that have just the room for a shape, wherever its weights lie.

    Where they can be replaced, and those of more memories take a little more to be read back, there is room for the shell too.
    """
    index = first_layer(network)
    large = replace(ENDLESS, family=family)
    for shape in Shapes(network, large, runtime_weights).of(index, cycles)[::5]:
        for need in placements(shape, large)[::10]:
            luts = need.luts + (SHELL_RESOURCES.luts if runtime_weights else 0)
            cells = [math.ceil(amount / BUDGET) for amount in (luts, max(need.block_rams, 1), max(need.dsps, 1))]
            assert replace(shape, board=replace(large, **dict(zip(CELLS, cells, strict=True)))).may_fit


# The circuits that are made.


@pytest.fixture
def lanes_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inputs of each circuit that is made in a test."""
    made: list[int] = []

    def counted(make: Callable[..., bit_heap.Circuit]) -> Callable[..., bit_heap.Circuit]:
        def counting(inputs: int, *others: object) -> bit_heap.Circuit:
            made.append(inputs)
            return make(inputs, *others)

        return counting

    monkeypatch.setattr(bit_heap, "sum_circuit", counted(bit_heap.sum_circuit))
    bit_heap.xnor_popcount_circuit.cache_clear()
    return made


@pytest.mark.parametrize(("inputs", "outputs", "least", "most"), [(16_384, 8, 10, 40), (262_144, 8, 10, 40), (4096, 256, 10, 120)])
@pytest.mark.parametrize("board", ["pynq-z2", "zcu104"])
def test_few_circuits_are_made_for_a_wide_layer(
    inputs: int, outputs: int, least: int, most: int, board: str, lanes_made: list[int]
) -> None:
    """Those alone that may be among the cheapest, of which none takes all inputs; there are hundreds of shapes."""
    network = random_network(Input((inputs,), "bit"), (outputs, 2), 1)
    find_plan(network, BOARDS[board])
    assert least < len(lanes_made) < most
    assert max(lanes_made) <= 8192


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[Shape]:
    """Returns what will be the shapes of which a search asks how large their dot products are."""
    shapes: list[Shape] = []
    dot_luts = Shape.dot_luts.func

    def asked(shape: Shape) -> int:
        shapes.append(shape)
        return dot_luts(shape)

    recorded = cached_property(asked)
    recorded.__set_name__(Shape, "dot_luts")
    monkeypatch.setattr(Shape, "dot_luts", recorded)
    return shapes


@pytest.mark.parametrize(("inputs", "outputs"), [(1024, 2048), (4096, 1024)])
def test_no_circuit_is_made_for_what_cannot_fit(inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what is known of circuits that are not made: each shape would fit a board that is a tenth larger, and alone there."""
    board = BOARDS["pynq-z2"]
    network, shapes = random_network(Input((inputs,), "bit"), (outputs, 2), 1), asked_for(monkeypatch)
    find_plan(network, board)
    assert len(shapes) > 50
    for shape in shapes:
        assert any(need.fits(board, 1.1 * BUDGET) for need in placements(shape, board)), shape.planned


@pytest.mark.parametrize("board", ["pynq-z2", "kv260", "ultra96-v2"])
@pytest.mark.parametrize("runtime_weights", [False, True])
def test_no_circuit_is_made_for_weights_that_cannot_fit(
    board: str, runtime_weights: bool, monkeypatch: pytest.MonkeyPatch, lanes_made: list[int]
) -> None:
    """16,384 times 1,024 weights; what the message says takes the two of one plan."""
    network, shapes = random_network(Input((16_384,), "bit"), (1024, 2), 1), asked_for(monkeypatch)
    with pytest.raises(ArtefactError, match=rf"^random does not fit {board} even at one weight a cycle: "):
        find_plan(network, BOARDS[board], runtime_weights=runtime_weights)
    assert not shapes
    assert len(lanes_made) <= 2
