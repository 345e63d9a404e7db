# SPDX-License-Identifier: Apache-2.0
"""The generated Verilog in Verilator against the golden and the naive model, and mutants that must be found."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.errors import ArtefactError, MismatchError, ToolError
from bnn_hw.flow.verify import Verification, verify_verilog
from bnn_hw.network import golden
from bnn_hw.network.compare import check_against_golden
from bnn_hw.network.network import Conv, Dense, Input, MaxPool, Network
from bnn_hw.network.vectors import load_vectors, make_vectors, save_vectors
from bnn_rtl import simulation
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from support.naive import naive_trace
from support.strategies import WindowShape, conv_networks, networks, random_conv_network, random_inputs, random_network, random_plan


def _emit(network: Network, plan: Plan) -> str:
    shell = Shell(lower(network, plan))
    return emit_verilog(shell, "dut", shell.parts)


def _verify(network: Network, plan: Plan, inputs: np.ndarray, verilog: str | None = None, **options: Any) -> Verification:
    vectors = make_vectors(network, inputs, labels=None)
    return verify_verilog(verilog or _emit(network, plan), "dut", lower(network, plan), vectors, **options)


def _verify_random(network: Network, seed: int) -> None:
    plan = random_plan(network, seed)
    inputs = random_inputs(network, 12, seed)
    trace = golden.trace(network, inputs)
    for image in range(3):
        naive_activations, naive_scores = naive_trace(network, inputs[image].tolist())
        assert [activations[image].tolist() for activations in trace.activations] == naive_activations
        assert trace.scores[image].tolist() == naive_scores
    assert _verify(network, plan, inputs, seed=seed).images == 12


@given(networks(max_classes=12), st.integers(1, 2**31 - 2))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_rtl_equals_golden_and_naive_on_random_networks(network: Network, seed: int) -> None:
    _verify_random(network, seed)


@given(conv_networks(), st.integers(1, 2**31 - 2))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_rtl_equals_golden_and_naive_on_random_convolutions(network: Network, seed: int) -> None:
    _verify_random(network, seed)


# Vectors.


@pytest.mark.parametrize("dtype", ["bit", "uint8", "int8"])
@pytest.mark.parametrize("labelled", [False, True])
def test_vectors_round_trip(dtype: Any, labelled: bool, tmp_path: Path) -> None:
    """Layers of the names that the file has for other things too."""
    shapes = [WindowShape((2, 2), (1, 1), 3, (1, 0, 0, 0)), WindowShape((2, 2), (1, 1))]
    network = random_conv_network(Input((3, 4, 1), dtype), shapes, (5, 2), 1)
    names = ("inputs", "labels", "file", "allow_pickle")
    layers = tuple(replace(layer, name=name) for layer, name in zip(network.layers, names, strict=True))
    network = Network("net", network.input, layers)
    inputs, labels = random_inputs(network, 7, 2), np.arange(7, dtype=np.uint8)
    vectors = make_vectors(network, inputs, labels if labelled else None)
    save_vectors(vectors, network, tmp_path / "vectors.npz")
    loaded = load_vectors(network, tmp_path / "vectors.npz")
    assert loaded.inputs.dtype == inputs.dtype
    assert np.array_equal(loaded.inputs, inputs)
    assert np.array_equal(loaded.labels, labels) if labelled else loaded.labels is None
    assert np.array_equal(loaded.expected.scores, vectors.expected.scores)
    assert len(loaded.expected.activations) == 3
    for a, b in zip(loaded.expected.activations, vectors.expected.activations, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 no more"])
def test_damaged_vectors_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    network = random_conv_network(Input((3, 4, 1), "bit"), [WindowShape((2, 2), (1, 1), 3)], (2,), 1)
    (tmp_path / "vectors.npz").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"vectors\.npz does not hold the vectors of "):
        load_vectors(network, tmp_path / "vectors.npz")


def test_vectors_of_rectified_integers_round_trip(tmp_path: Path) -> None:
    network = random_network(Input((20,), "bit"), (9, 11, 3), 3, rectified=[1])
    vectors = make_vectors(network, random_inputs(network, 7, 2), None)
    save_vectors(vectors, network, tmp_path / "vectors.npz")
    loaded = load_vectors(network, tmp_path / "vectors.npz")
    assert [(a.dtype, a.shape) for a in loaded.expected.activations] == [(np.bool_, (7, 9)), (np.uint8, (7, 11))]
    for a, b in zip(loaded.expected.activations, vectors.expected.activations, strict=True):
        assert np.array_equal(a, b)


# What a comparison says.


@pytest.fixture(scope="module")
def compared() -> tuple[Network, golden.Trace]:
    """A network whose layers give 2x3 places of 4 channels, 1x3 of 4, 5 bits and 3 scores, and its trace for 6 images."""
    shapes = [WindowShape((1, 1), (1, 1), 4), WindowShape((2, 1), (2, 1))]
    network = random_conv_network(Input((2, 3, 1), "int8"), shapes, (5, 3), 1)
    return network, golden.trace(network, random_inputs(network, 6, 2))


def test_equal_results_compare(compared: tuple[Network, golden.Trace]) -> None:
    network, trace = compared
    check_against_golden(network, trace, trace.activations, trace.scores, trace.scores.argmax(axis=1))


@pytest.mark.parametrize(
    ("layer", "element", "where", "elements"),
    [
        (0, 0, "layer conv1, image 4, row 0, column 0, channel 0", 144),
        (0, 23, "layer conv1, image 4, row 1, column 2, channel 3", 144),
        (0, 17, "layer conv1, image 4, row 1, column 1, channel 1", 144),
        (1, 6, "layer pool2, image 4, row 0, column 1, channel 2", 72),
        (2, 3, "layer fc1, image 4, neuron 3", 30),
    ],
)
def test_a_wrong_bit_is_named(layer: int, element: int, where: str, elements: int, compared: tuple[Network, golden.Trace]) -> None:
    network, trace = compared
    found = [bits.copy() for bits in trace.activations]
    found[layer][4:, element] ^= True
    got = int(found[layer][4, element])
    message = rf"^{where}: expected {1 - got}, got {got} \(2 of {elements} differ\)$"
    with pytest.raises(MismatchError, match=message):
        check_against_golden(network, trace, found, trace.scores + 1, trace.scores.argmax(axis=1))


def test_a_wrong_score_and_a_wrong_class_are_named(compared: tuple[Network, golden.Trace]) -> None:
    network, trace = compared
    scores, classes = trace.scores.copy(), trace.scores.argmax(axis=1)
    scores[1, 2] += 1000
    score = int(trace.scores[1, 2])
    message = rf"^layer scores, image 1, neuron 2: expected {score}, got {score + 1000} \(1 of 18 differ\)$"
    with pytest.raises(MismatchError, match=message):
        check_against_golden(network, trace, trace.activations, scores, classes)
    other = classes.copy()
    other[3] += 1
    message = rf"^class, image 3: expected {classes[3]}, got {other[3]} \(1 of 6 differ\)$"
    with pytest.raises(MismatchError, match=message):
        check_against_golden(network, trace, trace.activations, trace.scores, other)


def test_a_wrong_integer_is_named() -> None:
    network = random_network(Input((20,), "bit"), (9, 3), 3, rectified=[0])
    trace = golden.trace(network, random_inputs(network, 6, 2))
    found = trace.activations[0].copy()
    found[2, 7] ^= 128
    message = rf"^layer fc1, image 2, neuron 7: expected {found[2, 7] ^ 128}, got {found[2, 7]} \(1 of 54 differ\)$"
    with pytest.raises(MismatchError, match=message):
        check_against_golden(network, trace, [found], trace.scores, trace.scores.argmax(axis=1))


def test_too_few_results_are_a_mismatch(compared: tuple[Network, golden.Trace]) -> None:
    network, trace = compared
    with pytest.raises(MismatchError, match=r"^layer conv1: expected 6 images of \(24,\), got \(5, 24\)$"):
        check_against_golden(network, trace, [bits[:5] for bits in trace.activations], trace.scores, trace.scores.argmax(axis=1))


# Mutants of a dense network.


@pytest.fixture(scope="module")
def small() -> tuple[Network, Plan, np.ndarray]:
    """A network whose every neuron decides both ways on the inputs, with a plan that divides nothing."""
    network = random_network(Input((97,), "bit"), (31, 13, 5), seed=5, kind="mixed")
    inputs = np.random.default_rng(6).random((64, 97)) < 0.5
    signal = inputs
    for index, layer in enumerate(network.layers[:-1]):
        assert isinstance(layer, Dense)
        matches = np.sort((signal[:, None] == layer.weights).sum(axis=2), axis=0)
        median = Dense(layer.name, layer.weights, matches[32].astype(np.int32))
        network = replace(network, layers=(*network.layers[:index], median, *network.layers[index + 1 :]))
        signal = golden.trace(network, inputs).activations[index]
    return network, Plan((LayerPlan("fc1", 7, 20), LayerPlan("fc2", 3, 8), LayerPlan("scores", 2, 5))), inputs


@pytest.mark.parametrize("seed", [0, 1])
def test_unmutated_network_verifies_at_the_planned_interval(small: tuple[Network, Plan, np.ndarray], seed: int) -> None:
    network, plan, inputs = small
    verification = _verify(network, plan, inputs, seed=seed, processes=2)
    assert (verification.images, verification.planned_cycles) == (64, 25)
    assert seed or verification.measured_cycles == pytest.approx(25, rel=0.02)


def test_threshold_off_by_one_is_found(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    first = network.layers[0]
    assert isinstance(first, Dense)
    thresholds = first.thresholds.copy()
    thresholds[17] += 1
    mutant = replace(network, layers=(Dense("fc1", first.weights, thresholds), *network.layers[1:]))
    with pytest.raises(MismatchError, match=r"^layer fc1, image \d+, neuron 17: expected 1, got 0 \(\d+ of 1,984 differ\)$"):
        _verify(network, plan, inputs, _emit(mutant, plan))


def test_flipped_weight_bit_is_found(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    second = network.layers[1]
    assert isinstance(second, Dense)
    weights = second.weights.copy()
    weights[12, 30] ^= True
    mutant = replace(network, layers=(network.layers[0], Dense("fc2", weights, second.thresholds), network.layers[2]))
    with pytest.raises(MismatchError, match=r"^layer fc2, image \d+, neuron 12: expected \d, got \d \(\d+ of 832 differ\)$"):
        _verify(network, plan, inputs, _emit(mutant, plan))


def test_greater_for_greater_or_equal_is_found(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    verilog = _emit(network, plan)
    start = verilog.index("module \\dut.core.accelerator.layer_fc1.finish ")
    end = verilog.index("endmodule", start)
    mutant = verilog[:start] + verilog[start:end].replace(" >= ", " > ") + verilog[end:]
    assert mutant != verilog
    with pytest.raises(MismatchError, match=r"^layer fc1, image \d+, neuron \d+: expected 1, got 0 "):
        _verify(network, plan, inputs, mutant)


def test_weights_in_look_up_tables_and_in_block_ram(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    first, *rest = plan.layers
    moved = replace(plan, layers=(replace(first, lut_bits=50), *rest), levels=3)
    verilog = _emit(network, moved)
    assert re.search(r"module dut__weights_fc1\b", verilog)
    assert not re.search(r"module dut__weights_fc2\b", verilog)
    assert _verify(network, moved, inputs, verilog, seed=1).images == 64


def test_a_wrong_table_is_found_before_the_simulation(small: tuple[Network, Plan, np.ndarray]) -> None:
    """What is simulated is the model, so that the primitives must be the same."""
    network, plan, inputs = small
    plan = replace(plan, layers=(replace(plan.layers[0], lut_bits=100), *plan.layers[1:]))
    verilog = _emit(network, plan)
    start = verilog.index("module dut__weights_fc1(")
    init = re.compile(r"32'(?:d\d+|h[0-9a-f]+)|64'h[0-9a-f]{16}").search(verilog, start, verilog.index("`else", start))
    assert init is not None
    width, value = init[0].split("'")
    wrong = int(value[1:], 16 if value[0] == "h" else 10) ^ 1
    mutant = f"{verilog[: init.start()]}{width}'d{wrong}{verilog[init.end() :]}"
    with pytest.raises(MismatchError, match=r"^module dut__weights_fc1: its primitives differ from its model "):
        _verify(network, plan, inputs, mutant)


def test_swapped_stream_word_is_found(small: tuple[Network, Plan, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    network, plan, inputs = small
    straight = simulation.stream_words
    monkeypatch.setattr(simulation, "stream_words", lambda inputs: straight(inputs)[:, ::-1].copy())
    with pytest.raises(MismatchError, match=r"^layer fc1, image 0, neuron \d+: "):
        _verify(network, plan, inputs)


def test_deadlock_is_an_error_that_names_the_log(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    verilog = _emit(network, plan).replace("(m_axis_tvalid)", "()")
    message = r"^harness failed with exit code 1: nothing moved for .* \(all of it in (.*harness\.log)\)$"
    with pytest.raises(ToolError, match=message) as raised:
        _verify(network, plan, inputs[:1], verilog)
    found = re.search(message, str(raised.value))
    assert found
    log = Path(found[1])
    assert "nothing moved" in log.read_text()
    shutil.rmtree(log.parents[1])


def test_one_image_has_no_interval(small: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = small
    verification = _verify(network, plan, inputs[:3], processes=3)
    assert (verification.images, verification.measured_cycles) == (3, None)


# Rectified integers between the layers.


@pytest.mark.parametrize(
    ("dtype", "rectified", "plan"),
    [
        ("uint8", [0, 1], ((3, 5), (4, 3), (2, 4))),
        ("bit", [0], ((5, 8), (2, 7), (1, 3))),
        ("int8", [1], ((2, 3), (11, 2), (1, 2))),
    ],
)
def test_rectified_integers_verify_with_idle_streams(dtype: Any, rectified: list[int], plan: tuple[tuple[int, int], ...]) -> None:
    network = random_network(Input((23,), dtype), (19, 11, 5), 4, "mixed", rectified)
    inputs = random_inputs(network, 40, 5)
    for index in rectified:
        values = golden.trace(network, inputs).activations[index]
        assert {0, 255} < set(values.flat)
        assert len(np.unique(values)) > 20
    layers = tuple(LayerPlan(layer.name, pe, simd) for layer, (pe, simd) in zip(network.layers, plan, strict=True))
    assert _verify(network, Plan(layers), inputs, seed=7).images == 40


# Mutants of a convolutional network.


@pytest.fixture(scope="module")
def convolutional() -> tuple[Network, Plan, np.ndarray]:
    """Convolutions with true zeros around bits, an overlapping pooling of ORs and ANDs, and a plan that divides nothing."""
    shapes = [
        WindowShape((3, 2), (1, 1), 7, (1, 1, 0, 1)),
        WindowShape((2, 2), (1, 2)),
        WindowShape((2, 3), (1, 1), 5, (0, 1, 1, 1)),
    ]
    network = random_conv_network(Input((6, 7, 3), "int8"), shapes, (11, 4), 3)
    layers = (LayerPlan("conv1", 3, 6), LayerPlan("conv3", 2, 7), LayerPlan("fc1", 4, 9), LayerPlan("scores", 3, 2))
    return network, Plan(layers), random_inputs(network, 24, 4)


def _first_difference(network: Network, mutant: Network, inputs: np.ndarray, layer: int) -> tuple[str, int]:
    """Returns where a mutant's layer first differs by the golden model, as messages say it, and in how many places."""
    expected, found = (golden.trace(either, inputs).activations[layer] for either in (network, mutant))
    shape = network.steps[layer].output.shape
    image, element = np.argwhere(expected != found)[0]
    row, column, channel = np.unravel_index(element, shape)
    values = f"expected {int(expected[image, element])}, got {int(found[image, element])}"
    return f"image {image}, row {row}, column {column}, channel {channel}: {values}", int((expected != found).sum())


def test_convolutional_network_verifies_with_idle_streams(convolutional: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = convolutional
    assert _verify(network, plan, inputs, seed=5).images == 24


@pytest.mark.parametrize("field", ["thresholds", "and_channels", "padding_value"])
def test_mutants_of_windows_are_found(field: str, convolutional: tuple[Network, Plan, np.ndarray]) -> None:
    network, plan, inputs = convolutional
    index = {"thresholds": 2, "and_channels": 1, "padding_value": 0}[field]
    layer = network.layers[index]
    assert isinstance(layer, Conv | MaxPool)
    changed: Any = 1
    if field != "padding_value":
        changed = getattr(layer, field).copy()
        changed.reshape(-1)[{"thresholds": 3, "and_channels": 2}[field]] ^= 1
    mutant = replace(network, layers=(*network.layers[:index], replace(layer, **{field: changed}), *network.layers[index + 1 :]))
    where, count = _first_difference(network, mutant, inputs, index)
    with pytest.raises(MismatchError, match=rf"^layer {layer.name}, {where} \({count:,} of [\d,]+ differ\)$"):
        _verify(network, plan, inputs, _emit(mutant, plan))
