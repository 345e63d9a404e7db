# SPDX-License-Identifier: Apache-2.0
"""Estimates: sums of amounts, multiplexers and memories against naive counts. What yosys finds is for `bnn_hw synth`."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.design import estimate
from bnn_hw.design.estimate import (
    design_resources,
    dot_resources,
    least_dot_luts,
)
from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.units import Dot, MatVec
from bnn_hw.fpga.boards import Board
from bnn_hw.fpga.family import ECP5, ICE40, SERIES_7, Family
from bnn_hw.fpga.memory_layout import block_rams, lut_rom_luts, ram_in_luts, rom_in_luts
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import DenseRelu, Input, MaxPool, Network, Scores
from support.stages import conversion_resources, engine_resources, stage_resources, stages, with_lut_bits
from support.strategies import WindowShape, conv_networks, networks, random_conv_network, random_network, random_plan


def test_resources_add_up_and_fit() -> None:
    total = Resources(1, 7, 0.5, 3) + Resources(10, 20, 20, 30)
    assert total == Resources(luts=11, flip_flops=27, block_rams=20.5, dsps=33)
    assert Resources() + total == total
    assert total.fits(Board("b", "p", SERIES_7, 1, luts=22, block_rams=41, dsps=66), 0.5)
    for luts, rams, dsps in ((21, 41, 66), (22, 40, 66), (22, 41, 65)):
        assert not total.fits(Board("b", "p", SERIES_7, 1, luts, rams, dsps), 0.5)


def naive_multiplexers(lanes_in: int, lanes_out: int) -> list[int]:
    """Returns from how many places each place of a converter takes its element: the words that come and what is held."""
    held = lanes_in + lanes_out - 1
    sources: list[set[tuple[str, int]]] = [set() for _ in range(held)]
    for before in range(held - lanes_in + 1):  # what is held when a word comes
        for lane in range(lanes_in):
            sources[before + lane].add(("word", lane))
    for place in range(held):
        if place + lanes_out < held:
            sources[place].add(("held", place + lanes_out))
    return [len(places) for places in sources]


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("lanes", [(1, 8), (8, 1), (3, 7), (7, 3), (5, 4), (1, 2), (13, 64)])
def test_a_converter_is_multiplexers(lanes: tuple[int, int], bits: int) -> None:
    """Two look-up tables take three more places in, and one finds each place of a word that comes.

    What is the same for all is 25, and 20 flip-flops.
    """
    places = naive_multiplexers(*lanes)
    luts = sum({1: 0, 2: 1}.get(count, (2 * count + 2) // 3) for count in places)
    common = 25 + len(places) - lanes[0]
    assert conversion_resources((100, *lanes), bits) == Resources(luts * bits + common, len(places) * bits + 20)
    whole = conversion_resources((100, 3 * lanes[0], 3 * lanes[1]), bits)  # by whole groups of 3
    assert whole == Resources(3 * luts * bits + common, 3 * len(places) * bits + 20)


def naive_scale_bits(layer: DenseRelu, input_bits: int) -> int:
    """Returns the bits of the widest factor and the widest offset that a layer can need, each with its sign."""
    factor = max(abs(scale) for scale in layer.scale.tolist())
    offset = max(abs(offset) for offset in layer.offset.tolist()) + factor * layer.weights.shape[1]
    return sum(len(f"{value:b}") + 1 if value else 1 for value in (factor * 2 if input_bits == 1 else factor, offset))


@settings(deadline=None, max_examples=100)
@given(
    network=networks(max_width=60) | conv_networks(),
    seed=st.integers(0, 2**32 - 1),
    family=st.sampled_from([SERIES_7, ECP5, ICE40]),
)
def test_memories_of_stages(network: Network, seed: int, family: Family) -> None:
    """Block RAM is for the weights that are not in look-up tables, the input buffer, the line buffer, and many scales."""
    for stage in stages(lower(network, random_plan(network, seed))):
        layer, bits = stage.step.layer, 1 if stage.step.input.dtype == "bit" else 8
        written = []  # words and their bits
        if stage.window:
            written.append((stage.window.buffer_words, stage.window_lanes * bits))
        expected = 0.0
        if not isinstance(layer, MaxPool):
            outputs, inputs = len(layer.weights), layer.weights[0].size
            written.append((2 if outputs <= stage.pe else 2 * len(range(0, inputs, stage.simd)), stage.simd * bits))
            expected += block_rams(family, stage.words, stage.pe * stage.simd - stage.lut_bits)
        if isinstance(layer, DenseRelu):
            width, groups = stage.pe * naive_scale_bits(layer, bits), len(range(0, len(layer.weights), stage.pe))
            expected += 0 if rom_in_luts(family, groups, width) else block_rams(family, groups, width)
        for depth, width in written:
            expected += 0 if ram_in_luts(family, depth, width) else block_rams(family, depth, width, written=True)
        estimate = stage_resources(stage, family, 4)
        assert estimate.block_rams == expected
        converters = [conversion_resources(conversion, bits) for conversion in stage.conversions]
        assert estimate == sum(converters, start=engine_resources(stage, family, 4))


def test_an_input_buffer_holds_two_vectors_where_they_are_replayed() -> None:
    """2,048 words of 4 bits are 18 kbit at most; where each word is used once, there are 2 of them, in look-up tables."""
    network = random_network(Input((4096,), "bit"), (10,), 1)
    for pe, expected in ((5, 0.5), (10, 0)):
        (stage,) = stages(lower(network, Plan((LayerPlan("scores", pe, 4, lut_bits=4 * pe),))))
        assert engine_resources(stage, SERIES_7, 4).block_rams == expected


def test_look_up_tables_select_among_rows_of_block_ram() -> None:
    """5 rows of 512 words: two look-up tables of 6 inputs for each of 128 bits."""
    network = random_network(Input((576,), "bit"), (512, 10), 1)
    deep, _ = stages(lower(network, Plan((LayerPlan("fc1", 4, 32), LayerPlan("scores", 10, 1)))))
    assert deep.words == 2304
    found = engine_resources(deep, SERIES_7, 4)
    assert found.block_rams == 9
    in_luts = engine_resources(with_lut_bits(deep, 128), SERIES_7, 4)
    assert found.luts == in_luts.luts - lut_rom_luts(SERIES_7, 2304, 128) + 2 * 128


@pytest.mark.parametrize(("scale", "dsps"), [(1, 3), (-(2**23) + 1, 3), (2**23 - 1, 3), (2**23, 6), (-(2**23), 6)])
def test_multipliers_of_scores(scale: int, dsps: int) -> None:
    """A DSP multiplies by a factor of 25 bits; on bits it is twice the scale."""
    weights = np.ones((5, 7), bool)
    scores = Scores("scores", weights, np.array([1, 1, scale, 1, 1], np.int32), np.zeros(5, np.int32))
    plan = Plan((LayerPlan("scores", 3, 7),))
    assert design_resources(lower(Network("net", Input((7,), "bit"), (scores,)), plan)).dsps == dsps


@pytest.mark.parametrize(
    ("dtype", "inputs", "scale", "dsps"),
    [
        ("bit", 7, 2**23 - 1, 3),
        ("bit", 7, 2**23, 6),
        ("uint8", 7, 2**24 - 1, 3),
        ("uint8", 7, 2**24, 6),
        ("int8", 1100, -(2**17), 6),
    ],
)
def test_multipliers_of_rectified_integers(dtype: str, inputs: int, scale: int, dsps: int) -> None:
    """On 8-bit integers the factor is the scale itself, and sums may be wider than the second factor of a DSP."""
    relu = DenseRelu("relu1", np.ones((5, inputs), bool), np.full(5, scale, np.int32), np.zeros(5, np.int32), 9)
    last = Scores("scores", np.ones((1, 5), bool), np.ones(1, np.int32), np.zeros(1, np.int32))
    plan = Plan((LayerPlan("relu1", 3, inputs), LayerPlan("scores", 1, 1)))
    assert design_resources(lower(Network("net", Input((inputs,), dtype), (relu, last)), plan)).dsps == dsps + 1  # type: ignore[arg-type]


def test_rectified_integers_by_hand() -> None:
    """What scales and clamps the sums, beside the layer's bits: 2 groups of 3 scales of 9 bits and offsets of 12."""
    weights = np.ones((6, 7), bool)
    relu = DenseRelu("fc1", weights, np.full(6, 200, np.int32), np.full(6, 500, np.int32), 4)
    scores = Scores("scores", weights[:, :6], np.ones(6, np.int32), np.zeros(6, np.int32))
    plan = Plan((LayerPlan("fc1", 3, 7), LayerPlan("scores", 1, 1)))
    stage, _ = stages(lower(Network("net", Input((7,), "uint8"), (relu, scores)), plan))
    bits, _ = stages(lower(random_network(Input((7,), "uint8"), (6, 1), 1), plan))
    found, plain = engine_resources(stage, SERIES_7, 4), engine_resources(bits, SERIES_7, 4)
    constants = 3 * (9 + 12) / 2
    clamp = 3 * (8 + 2)  # 20 bits of which 16 are left: 8 that are given and 8 that must be equal
    assert found.dsps == 3
    assert abs(found.luts - plain.luts - constants - clamp) <= 30  # where sums start, and the output buffer


@pytest.mark.parametrize("lanes", [65, 98, 200, 392])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_wide_sums_of_integers_are_estimated_without_their_circuit(
    dtype: Literal["uint8", "int8"], lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage,) = stages(lower(random_network(Input((lanes,), dtype), (2,), 1), Plan((LayerPlan("scores", 1, lanes),))))
    found = engine_resources(stage, SERIES_7, 8)
    monkeypatch.setattr(estimate, "_EXACT_LANES", lanes)
    monkeypatch.setattr(estimate, "_signed_sum", estimate._signed_sum.__wrapped__)
    assert found.luts == pytest.approx(engine_resources(stage, SERIES_7, 8).luts, rel=0.02)


@settings(deadline=None, max_examples=100)
@given(
    network=networks(max_width=200) | conv_networks(),
    seed=st.integers(0, 2**32 - 1),
    family=st.sampled_from([SERIES_7, ECP5]),
    levels=st.integers(2, 8),
)
def test_dot_products_take_the_least_look_up_tables_or_more(network: Network, seed: int, family: Family, levels: int) -> None:
    for stage in stages(lower(network, random_plan(network, seed, max_products=2000))):
        if isinstance(stage.engine, MatVec):
            dot = stage.engine.dot, stage.pe, family, levels
            assert least_dot_luts(*dot) <= dot_resources(*dot).luts


@pytest.mark.parametrize("levels", [2, 3, 4, 8])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 17, 64])
def test_dot_products_with_zeros_take_the_least_look_up_tables_or_more(channels: int, levels: int) -> None:
    network = random_conv_network(Input((8, 8, channels), "bit"), [WindowShape((3, 3), (1, 1), 4, (1, 1, 1, 1))], (2,), 1)
    for pixels in (1, 2, 3, 9):
        stage, _ = stages(lower(network, Plan((LayerPlan("conv1", 2, pixels * channels), LayerPlan("scores", 1, 1)))))
        dot = stage.matvec.dot, 2, SERIES_7, levels
        least, found = least_dot_luts(*dot), dot_resources(*dot).luts
        assert found / 2 - 10 <= least <= found, pixels


@pytest.mark.parametrize("dtype", ["bit", "uint8", "int8"])
@pytest.mark.parametrize("levels", [3, 8])
def test_the_least_look_up_tables_of_wide_dot_products_are_near(dtype: Literal["bit", "uint8", "int8"], levels: int) -> None:
    for lanes in (256, 500, 2000):
        dot = Dot(dtype, lanes), 2, SERIES_7, levels
        assert least_dot_luts(*dot) >= 0.8 * dot_resources(*dot).luts
