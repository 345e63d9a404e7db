# SPDX-License-Identifier: Apache-2.0
"""A `vivado` for tests: Tcl that stands for Vivado's commands (tests/support/vivado), as an executable on the PATH."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Design", "install_vivado", "needs_tcl", "read_design", "run_scripts"]

needs_tcl = pytest.mark.skipif(shutil.which("tclsh") is None, reason="needs tclsh: apt install tcl")
_RECORDER = Path(__file__).parent / "vivado" / "recorder.tcl"


@dataclass
class Design:
    """What the scripts made."""

    cells: dict[str, str] = field(default_factory=dict)  # name to VLNV
    config: dict[str, dict[str, str]] = field(default_factory=dict)
    nets: dict[str, str] = field(default_factory=dict)  # input pin to its driver
    interfaces: list[tuple[str, str]] = field(default_factory=list)
    addresses: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # space and segment to base and size
    projects: list[tuple[str, str]] = field(default_factory=list)  # name and part


def install_vivado(folder: Path, monkeypatch: pytest.MonkeyPatch, **act: object) -> Path:
    """Puts a `vivado` first on the PATH, and returns the file in which it records; `act` is what it acts out."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "record"
    executable = folder / "vivado"
    executable.write_text(f'#!/bin/sh\nVIVADO_RECORD="{record}" exec tclsh "{_RECORDER}" "$@"\n')
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VIVADO_RECORDER", _acted_out(**act))
    return record


def run_scripts(folder: Path, **act: object) -> subprocess.CompletedProcess[str]:
    """Runs the one command of a folder `vivado`."""
    command = ["tclsh", str(_RECORDER), "-mode", "batch", "-source", "build.tcl"]
    environment = {**os.environ, "VIVADO_RECORDER": _acted_out(**act)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def read_design(record: Path) -> Design:
    """Returns what was recorded."""
    design = Design()
    for line in record.read_text().splitlines():
        match line.split("\t"):
            case ["project", name, part]:
                design.projects.append((name, part))
            case ["cell", name, vlnv]:
                design.cells[name] = vlnv
            case ["config", cell, name, value]:
                design.config.setdefault(cell, {})[name] = value
            case ["net", driver, pin]:
                design.nets[pin] = driver
            case ["interface", one, other]:
                design.interfaces.append((one, other))
            case ["address", space, segment, base, size]:
                design.addresses[space, segment] = int(base), int(size)
    return design


def _acted_out(**act: object) -> str:
    """Returns a dict of Tcl."""
    return " ".join(f"{{{name}}} {{{value}}}" for name, value in act.items())
