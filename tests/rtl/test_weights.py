# SPDX-License-Identifier: Apache-2.0
"""Accelerators with run-time weights: swaps between two networks of one shape, and what must not disturb them."""

from dataclasses import replace
from pathlib import Path

import pytest

from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.plan_file import plan_digest
from bnn_hw.design.runtime_weights import check_same_shape, memory_words, weights_window
from bnn_hw.flow.verify import verify_verilog
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input, Network
from bnn_hw.network.vectors import make_vectors
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from support.cocotb_run import SIMULATORS, fresh_seed, run_bench
from support.stages import stages
from support.strategies import WindowShape, of_one_shape, random_conv_network, random_inputs, random_network, random_plan

_PADDED = WindowShape((2, 2), (1, 1), 5, (0, 1, 1, 0), 0)
_POOLED = WindowShape((2, 2), (2, 1))


def _networks(name: str, seed: int) -> tuple[Network, Network]:
    """Returns two networks of one shape; numbers of the second are as wide as the shape allows."""
    kinds = ("plain", "widest")
    match name:
        case "int8":
            one, other = (random_network(Input((60,), "int8"), (19, 13, 3), seed + at, kind, [1]) for at, kind in enumerate(kinds))
        case "uint8":  # true zeros do not pad integers; the second window pads bits with them, and the pooling leaves rows out
            windows = (replace(_PADDED, padding_value=1), _POOLED, replace(_PADDED, outputs=6))
            one, other = (
                random_conv_network(Input((4, 3, 3), "uint8"), windows, (4,), seed + at, kind) for at, kind in enumerate(kinds)
            )
        case _:  # a pooling first, whose rest of the image comes after the result could; padding that goes on before an image comes
            windows = (_POOLED, replace(_PADDED, padding=(1, 1, 1, 0), padding_value=-1))
            one, other = (
                random_conv_network(Input((5, 4, 9), "bit"), windows, (6, 4), seed + at, kind, [0]) for at, kind in enumerate(kinds)
            )
    return of_one_shape(one, other)


def _plan(name: str, network: Network, seed: int) -> Plan:
    layers: tuple[LayerPlan, ...]
    match name:
        case "int8":  # 24 lanes of weights, so that words that are read back come through two registers
            layers = LayerPlan("fc1", 19, 40, seed % 761), LayerPlan("fc2", 5, 7), LayerPlan("scores", 2, 5)
        case "pooled":  # less than a pixel, so that weights meet the padding in front of an image before that comes
            layers = LayerPlan("conv2", 2, 3, seed % 7), LayerPlan("fc1", 2, 8), LayerPlan("scores", 1, 2)
        case _:
            layers = random_plan(network, seed, max_products=64).layers
    return Plan(layers, runtime_weights=True)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", ["int8", "uint8", "pooled"])
def test_swaps(name: str, simulator: str, tmp_path: Path) -> None:
    """Whatever the layers are; what comes in between, where windows hold words of the next image and of the last one."""
    seed = fresh_seed()
    networks = _networks(name, seed)
    plan = _plan(name, networks[0], seed)
    check_same_shape(*networks)
    save_network(networks[0], tmp_path / "network.safetensors")
    save_network(networks[1], tmp_path / "other.safetensors")
    window = weights_window(lower(networks[0], plan))
    stimulus = {
        "seed": seed,
        "pe": [stage.pe for stage in stages(lower(networks[0], plan))],
        "cycles": lower(networks[0], plan).cycles,
        "plan_sha256": plan_digest(plan),
        "offset": window.offset,
        "words": [memory_words(network, plan).tolist() for network in networks],
    }
    shell = Shell(lower(networks[0], plan))
    benches = ["shell_weights", *(["shell_weights_faults"] if name in ("uint8", "pooled") else [])]
    run_bench(shell, benches, simulator, tmp_path, stimulus, parts=shell.parts)


def test_verification_takes_them_like_any_other() -> None:
    """Every bit of every layer and every score, by the harness that `bnn_hw build` and `verify` use."""
    seed = fresh_seed()
    for network in _networks("uint8", seed):
        plan = _plan("uint8", network, seed)
        shell = Shell(lower(network, plan))
        vectors = make_vectors(network, random_inputs(network, 40, seed), labels=None)
        verification = verify_verilog(emit_verilog(shell, "dut", shell.parts), "dut", lower(network, plan), vectors, seed=7)
        assert verification.images == 40
