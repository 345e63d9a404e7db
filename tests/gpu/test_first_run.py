# SPDX-License-Identifier: Apache-2.0
"""The first run on a GPU, against the emulated driver: whole, and with kernels that hang or fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import first_run
from bnn_hw.tools import cxx_compiler
from support.gpu_device import needs_driver
from support.gpu_emulator import emulated_driver

pytestmark = needs_driver
ROOT = Path(__file__).parents[2]
SMOKE = ("issue rate", "products, a block by itself", "products, clusters of 2", "a network, kernels that overlap")
SANITIZER = '#!/bin/sh\nwhile [ "$1" != -- ] && case $1 in --*) true;; *) false;; esac; do shift 2; done\nexec "$@"\n'


def stand_in(folder: Path, body: str) -> str:
    """Returns a library whose kernel does what `body` says."""
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(f'#include <unistd.h>\nextern "C" int emulate(...) {{ {body} }}\n')
    subprocess.run([*cxx_compiler(), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def run(folder: Path, kernels: dict[str, str], *options: str) -> tuple[int, list[dict[str, object]]]:
    """Returns the exit code and the outcomes of a run; compute-sanitizer only runs its command."""
    (folder / "bin").mkdir()
    sanitizer = folder / "bin" / "compute-sanitizer"
    sanitizer.write_text(SANITIZER)
    sanitizer.chmod(0o755)
    environment = emulated_driver(folder)
    environment |= {"BNN_EMULATED": json.dumps(kernels), "PATH": f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"}
    command = [sys.executable, str(ROOT / "gpu" / "first_run.py"), "--out", str(folder / "out"), *options]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(finished.stdout, finished.stderr)
    return finished.returncode, json.loads((folder / "out" / "first_run.json").read_text())


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_whole(tmp_path: Path) -> None:
    names = [step.name for step in first_run.STEPS if step.name != "real tests"]  # those take an emulator minutes
    code, outcomes = run(tmp_path, {}, *only(*names))
    found = {outcome["name"]: outcome["outcome"] for outcome in outcomes}
    benchmarks = [name for name in names if "benchmark" in name]
    assert [found[name] for name in names if name not in benchmarks] == ["passed"] * (len(names) - len(benchmarks))
    assert [found[name] for name in benchmarks] == ["failed"] * 3  # torch sees no emulated GPU
    assert all("torch" in str(outcome["last"]) for outcome in outcomes if outcome["name"] in benchmarks)
    assert code == 1
    table = (tmp_path / "out" / "first_run.md").read_text().splitlines()
    assert len(table) == 2 + len(names)
    assert (tmp_path / "out" / str(outcomes[0]["log"])).read_text().endswith("cycles a product; 128 are the goal\n")


def test_what_hangs_is_killed_and_done_without(tmp_path: Path) -> None:
    hanging = {"gemm_sm90 BNN_CLUSTER=2": stand_in(tmp_path, "for (;;) pause();")}
    code, outcomes = run(tmp_path, hanging, "--quiet", "8", *only(*SMOKE[1:], "memcheck of products"))
    assert code == 1
    assert [outcome["outcome"] for outcome in outcomes] == ["passed", "hung", "passed", "passed"]
    assert [outcome["without"] for outcome in outcomes] == [[], [], ["clusters"], ["clusters"]]
    assert 8 <= float(str(outcomes[1]["elapsed_s"])) < 40


def test_what_fails_is_done_without(tmp_path: Path) -> None:
    code, outcomes = run(tmp_path, {"gemm_sm90": stand_in(tmp_path, "return 2;")}, *only(*SMOKE[1:]))
    assert code == 1
    assert [outcome["outcome"] for outcome in outcomes] == ["failed", "passed", "passed"]
    assert outcomes[0]["last"] == "error: the CUDA driver says CUDA_ERROR_LAUNCH_FAILED"
    assert [outcome["without"] for outcome in outcomes] == [[], ["wgmma"], ["wgmma"]]


def test_wrong_results_fail(tmp_path: Path) -> None:
    code, outcomes = run(tmp_path, {"gemm_sm90 BNN_OUTPUT=1": stand_in(tmp_path, "return 0;")}, *only(SMOKE[1]))
    assert code == 1
    assert outcomes[0]["outcome"] == "failed"
    assert str(outcomes[0]["last"]).startswith("error: int32: (0, 0) is ")


def test_no_time_is_left(tmp_path: Path) -> None:
    hanging = {"issue_rate": stand_in(tmp_path, "for (;;) pause();")}
    code, outcomes = run(tmp_path, hanging, "--limit", "9", *only(*SMOKE[:2]))
    assert code == 1
    assert [outcome["outcome"] for outcome in outcomes] == ["stopped", "not run"]
    assert outcomes[1]["last"] == "no time is left"


def test_variants_are_compared_and_timed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnn_gpu.first_steps", "variants", "--size", "40", "70", "130"]
    finished = subprocess.run(command, cwd=ROOT, env=emulated_driver(tmp_path), capture_output=True, text=True)
    lines = finished.stdout.splitlines()
    assert len(lines) == 2 + 4, finished.stderr
    variants = [line.split(" | ")[1:4] for line in lines[2:]]
    assert variants == [["1", "256", "equal"], ["1", "64", "equal"], ["2", "256", "equal"], ["2", "64", "equal"]]
    environment = {**emulated_driver(tmp_path), "BNN_EMULATED": json.dumps({"gemm_sm90": stand_in(tmp_path, "return 0;")})}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 4
    assert finished.stderr.startswith("error: clusters of 1, tiles of 256 columns: ")


def test_steps_fit_into_ten_minutes() -> None:
    assert all(step.limit_s <= 240 for step in first_run.STEPS)
    names = [step.name for step in first_run.STEPS]
    assert names[:4] == list(SMOKE)
    assert len(set(names)) == len(names)


@pytest.fixture(autouse=True)
def _no_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BNN_EMULATED", "BNN_GPU_WITHOUT"):
        monkeypatch.delenv(name, raising=False)
