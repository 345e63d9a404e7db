# SPDX-License-Identifier: Apache-2.0
"""What the tests of deployment share: a small build with an overlay, and a Python environment like a board's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, seal_overlay
from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.network import Input
from support.strategies import random_network

__all__ = ["board_environment", "small_build", "with_overlay"]


def small_build(folder: Path, board: str = "pynq-z2") -> Path:
    """Makes a build without bitstream of a small network."""
    network = random_network(Input((12,), "int8"), (6, 3), seed=1)
    build(network, find_board(board), find_plan(network, find_board(board), 1e5), folder, verify=False)
    return folder


def with_overlay(folder: Path, *, simulated: bool = False) -> Path:
    """Gives a build an overlay whose bitstream no FPGA takes."""
    manifest = read_manifest(folder)
    overlay = folder / OVERLAY_FOLDER
    overlay.mkdir(exist_ok=True)
    for suffix in ("bit", "hwh"):
        (overlay / f"{manifest.top}.{suffix}").write_text(f"{suffix} of {manifest.top}")
    seal_overlay(overlay, folder, manifest, clock_mhz=manifest.clock_mhz, simulated=simulated, facts={})
    return folder


def board_environment(folder: Path) -> dict[str, str]:
    """Makes a virtual environment with numpy alone, and a folder for notebooks; returns the variables that lead there."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    packages = next((folder / "venv").glob("lib/python3*/site-packages"))
    for library in (Path(np.__file__).parent, Path(np.__file__).parents[1] / "numpy.libs"):
        if library.exists():
            (packages / library.name).symlink_to(library)
    (folder / "notebooks").mkdir()
    path = f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "PYNQ_JUPYTER_NOTEBOOKS": str(folder / "notebooks")}
