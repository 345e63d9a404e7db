# SPDX-License-Identifier: Apache-2.0
"""The benchmark without a GPU: what it says, its tables, and the paper's network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnn_gpu.bench_networks import paper_network, random_images
from bnn_gpu.benchmark import markdown
from bnn_gpu.measure import Row, Timing
from bnn_hw import golden
from gpu_device import no_gpu

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not no_gpu(), reason="there is a GPU here")
@pytest.mark.parametrize("command", [["gpu/benchmark.py"], ["-m", "bnn_hw", "bench", "gpu", "--quick"]])
def test_without_a_gpu_one_line_says_so(command: list[str], tmp_path: Path) -> None:
    finished = subprocess.run([sys.executable, *command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 3
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_the_table() -> None:
    def row(name: str, median_us: float | None, result: str = "equal", timed: str = "packed to packed") -> Row:
        timing = None if median_us is None else Timing(median_us, median_us - 1, median_us + 1)
        return Row("products", name, timed, "8192^3", 2.0 * 8192**3, result, timing)

    peak = Row("peak", "wgmma and", "issue only", "m64n256", 15.83e9, "128.00 cycles a product", Timing(1.0, 1.0, 1.0))
    rows = [peak, row("ours", 100.0), row("paper: baseline kernel", 200000.0), row("cuBLAS fp32", 20000.0)]
    rows += [row("cuBLAS fp32", 1.0, timed="end to end, with transfers"), row("cuBLASLt fp8", None, "not run: no such operation")]
    lines = markdown(rows, {"device": "D", "date": "today", "clocks_loaded": "1 MHz"}).splitlines()
    assert lines[0] == "D, today; under load, SM and memory clock, power, °C, driver: 1 MHz"
    assert lines[5] == ("| ours | packed to packed | 8192^3 | equal | 100.0 | 99.0 to 101.0 | 10,995.1 | 69% | 2,000.0 | 200.0 |")
    assert lines[-1] == "| cuBLASLt fp8 | packed to packed | 8192^3 | not run: no such operation |  |  |  |  |  |  |"


def test_the_papers_network_is_no_constant() -> None:
    network = paper_network(1, hidden=256)
    trace = golden.trace(network, random_images(network, 50, 1))
    for activations in trace.activations:
        assert 0.2 < activations.mean() < 0.8
    assert len(np.unique(trace.scores.argmax(axis=1))) > 2
