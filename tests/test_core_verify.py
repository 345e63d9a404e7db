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

from bnn_hw import golden
from bnn_hw.errors import MismatchError, ToolError
from bnn_hw.network import Dense, Input, Network
from bnn_hw.plan import LayerPlan, Plan
from bnn_hw.vectors import make_vectors
from bnn_hw.verify import Verification, verify_verilog
from bnn_rtl import simulation
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from naive import naive_trace
from strategies import networks, random_inputs, random_network


def _emit(network: Network, plan: Plan) -> str:
    shell = Shell(network, plan)
    return emit_verilog(shell, "dut", shell.dots)


def _verify(network: Network, plan: Plan, inputs: np.ndarray, verilog: str | None = None, **options: Any) -> Verification:
    vectors = make_vectors(network, inputs, labels=None)
    return verify_verilog(verilog or _emit(network, plan), "dut", network, plan, vectors, **options)


@st.composite
def _plans(draw: st.DrawFn, network: Network) -> Plan:
    """Random plans of at most 256 products a cycle and layer, so that compiling stays quick."""
    layers = []
    for layer in network.layers:
        outputs, inputs = layer.weights.shape
        simd = draw(st.integers(1, inputs))
        layers.append(LayerPlan(layer.name, draw(st.integers(1, min(outputs, max(1, 256 // simd)))), simd))
    return Plan(tuple(layers))


@given(st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_rtl_equals_golden_and_naive_on_random_networks(data: st.DataObject) -> None:
    network = data.draw(networks(max_classes=12))
    plan = data.draw(_plans(network))
    seed = data.draw(st.integers(1, 2**31 - 2))
    inputs = random_inputs(network, 12, seed)
    trace = golden.trace(network, inputs)
    for image in range(3):
        naive_activations, naive_scores = naive_trace(network, inputs[image])
        assert [activations[image].tolist() for activations in trace.activations] == naive_activations
        assert trace.scores[image].tolist() == naive_scores
    assert _verify(network, plan, inputs, seed=seed).images == 12


@pytest.fixture(scope="module")
def small() -> tuple[Network, Plan, np.ndarray]:
    """A network whose every neuron decides both ways on the inputs, with a plan that divides nothing."""
    network = random_network(Input((97,), "bit"), (31, 13, 5), seed=5, kind="mixed")
    inputs = np.random.default_rng(6).random((64, 97)) < 0.5
    signal = inputs
    for index, layer in enumerate(network.layers[:-1]):
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
    start = verilog.index("module \\dut.core.accelerator.fc1.finish ")
    end = verilog.index("endmodule", start)
    mutant = verilog[:start] + verilog[start:end].replace(" >= ", " > ") + verilog[end:]
    assert mutant != verilog
    with pytest.raises(MismatchError, match=r"^layer fc1, image \d+, neuron \d+: expected 1, got 0 "):
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
