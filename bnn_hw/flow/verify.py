# SPDX-License-Identifier: Apache-2.0
"""Verification: images through the Verilog, every layer's bits and every score against the golden model."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.design.lower import Design, lower
from bnn_hw.design.plan_file import load_plan
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.compare import check_against_golden
from bnn_hw.network.file import load_network, network_digest
from bnn_hw.network.network import Network
from bnn_hw.network.vectors import Vectors, load_vectors, make_vectors

__all__ = ["Verification", "verify_build", "verify_primitives", "verify_verilog"]


@dataclass(frozen=True)
class Verification:
    """A verification that found no difference."""

    images: int
    planned_cycles: int  # an image, by the plan
    measured_cycles: float | None  # an image, in the simulation; None from a single image
    simulated_images_per_s: float


def verify_verilog(verilog: str, top: str, design: Design, vectors: Vectors, *, seed: int = 0, processes: int = 1) -> Verification:
    """Compiles the Verilog, runs the vectors' inputs through it and compares with what they expect.

    Modules that are primitives in synthesis are simulated as models, so these are compared first. With `seed` other than 0
    the streams idle and push back at random. Raises `MismatchError` at the first difference, `ToolError` when the
    simulator is missing or fails; the folder with the log that it names stays.
    """
    from bnn_rtl.simulation import compile_simulation

    verify_primitives(verilog)
    with _folder() as folder:
        simulation = compile_simulation(verilog, top, design, folder)
        recording = simulation.run(vectors.inputs, seed=seed, processes=processes)
    check_against_golden(design.network, vectors.expected, recording.activations, recording.scores, recording.classes)
    images = len(vectors.inputs)
    return Verification(images, design.cycles, recording.interval_cycles, images / recording.elapsed_s)


def verify_primitives(verilog: str) -> None:
    """Compares each module that is made of an FPGA's primitives in synthesis with its model for simulation.

    Raises `MismatchError` naming the first module whose forms differ, `ToolError` as `verify_verilog` does.
    """
    from bnn_rtl.equivalence import check_primitives

    with _folder() as folder:
        check_primitives(verilog, folder)


@contextmanager
def _folder() -> Iterator[Path]:
    """Gives a temporary folder, which stays if a tool that failed has written a log there."""
    folder = Path(tempfile.mkdtemp(prefix="bnn_hw-"))
    try:
        yield folder
    finally:
        if not any(folder.rglob("*.log")):
            shutil.rmtree(folder)


def verify_build(
    build: str | os.PathLike[str],
    images: Callable[[Network], np.ndarray] | None = None,
    *,
    seed: int = 0,
    processes: int = 1,
) -> Verification:
    """Verifies a sealed build on `images(network)`, which `bnn_hw.network.golden.prepare` takes, or without them on its vectors."""
    build = Path(build)
    manifest = read_manifest(build)
    network = load_network(build / "network.safetensors")
    if network_digest(network) != manifest.network_sha256:
        raise ArtefactError(f"{build}: network.safetensors is not the network of the manifest; build again")
    design = lower(network, load_plan(build / "plan.json", network, find_board(manifest.board)))
    if images is None:
        vectors = load_vectors(network, build / "vectors.npz")
    else:
        vectors = make_vectors(network, images(network), labels=None)
    verilog = (build / "rtl" / f"{manifest.top}.v").read_text()
    return verify_verilog(verilog, manifest.top, design, vectors, seed=seed, processes=processes)
