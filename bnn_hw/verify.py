# SPDX-License-Identifier: Apache-2.0
"""Verification: images through the Verilog, every layer's bits and every score against the golden model."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_hw import golden
from bnn_hw.compare import check_against_golden
from bnn_hw.manifest import read_manifest
from bnn_hw.network import Network
from bnn_hw.network_file import load_network
from bnn_hw.plan import Plan, load_plan
from bnn_hw.vectors import load_vectors

__all__ = ["Verification", "verify_build", "verify_verilog"]


@dataclass(frozen=True)
class Verification:
    """A verification that found no difference."""

    images: int
    planned_cycles: int  # an image, by the plan
    measured_cycles: float  # an image, in the simulation
    simulated_images_per_s: float


def verify_verilog(
    verilog: str, top: str, network: Network, plan: Plan, inputs: np.ndarray, *, seed: int = 0, processes: int = 1
) -> Verification:
    """Compiles the Verilog and runs `inputs` ([images, inputs], prepared) through it.

    With `seed` other than 0 the streams idle and push back at random. Raises `MismatchError` at the first difference,
    `ToolError` when the simulator is missing or fails.
    """
    from bnn_rtl.simulation import compile_simulation

    with tempfile.TemporaryDirectory(prefix="bnn_hw-") as folder:
        simulation = compile_simulation(verilog, top, network, plan, Path(folder))
        recording = simulation.run(inputs, seed=seed, processes=processes)
    check_against_golden(network, golden.trace(network, inputs), recording.activations, recording.scores, recording.classes)
    return Verification(len(inputs), plan.cycles(network), recording.interval_cycles, len(inputs) / recording.elapsed_s)


def verify_build(
    build: Path,
    images: Callable[[Network], np.ndarray] | None = None,
    *,
    seed: int = 0,
    processes: int = 1,
) -> Verification:
    """Verifies a sealed build on `images(network)`, which `bnn_hw.golden.prepare` takes, or without them on its vectors."""
    manifest = read_manifest(build)
    network = load_network(build / "network.safetensors")
    plan = load_plan(build / "plan.json", network)
    inputs = load_vectors(network, build / "vectors.npz").inputs if images is None else golden.prepare(network, images(network))
    verilog = (build / "rtl" / f"{manifest.top}.v").read_text()
    return verify_verilog(verilog, manifest.top, network, plan, inputs, seed=seed, processes=processes)
