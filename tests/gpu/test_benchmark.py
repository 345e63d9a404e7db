# SPDX-License-Identifier: Apache-2.0
"""The benchmark without a GPU: what it says, its tables, and the paper's network."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.bench_networks import paper_network
from bnn_gpu.benchmark import markdown
from bnn_gpu.launches import Kernel, Launch
from bnn_gpu.measure import Bench, How, Row, Timing
from bnn_gpu.products import Product
from bnn_hw.network import golden
from bnn_hw.network.random_images import random_images
from support.gpu_device import no_gpu

ROOT = Path(__file__).parents[2]


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
    facts = {"device": "D", "date": "today", "clocks_loaded": "1 MHz", "l2_bytes": 60e6, "clock_mhz_loaded": 1755.4}
    lines = markdown(rows, facts).splitlines()
    assert lines[0] == "D, today; under load, SM and memory clock, power, °C, driver: 1 MHz"
    assert lines[1] == (
        "L2 is warm but where a row says cold: 8192^3 in bits is 25 MB with its result, of 60 MB of L2; "
        "SM clock by the cycles that wgmma takes: 1,755 MHz"
    )
    assert lines[6] == ("| ours | packed to packed | 8192^3 | equal | 100.0 | 99.0 to 101.0 | 10,995.1 | 69% | 2,000.0 | 200.0 |")
    assert lines[-1] == "| cuBLASLt fp8 | packed to packed | 8192^3 | not run: no such operation |  |  |  |  |  |  |"


class StandIn:
    """A device that notes its calls in order; each execution of a launch sets `out` to 1, and cycles are 8 * 2000 * 128."""

    multiprocessors, l2_bytes = 3, 1 << 20

    def __init__(self) -> None:
        self.calls = list[str]()
        self.value = 0

    def allocate(self, shape: tuple[int, ...], dtype: str, stream: int = 0, *, zero: bool = False) -> DeviceArray:
        return DeviceArray(256, shape, np.dtype(dtype), None)

    def download(self, array: DeviceArray) -> np.ndarray:
        return np.full(array.shape, 8 * 2000 * 128, array.dtype)

    def fill(self, array: DeviceArray, byte: int) -> None:
        self.calls.append("flush" if array.nbytes >= 1 << 26 else "spoil")
        self.value = self.value if array.nbytes >= 1 << 26 else byte

    def launch(self, launch: Launch) -> None:
        self.calls.append("launch")
        self.value = 1

    def synchronize(self) -> None:
        pass

    def graph(self, launches: list[Launch]) -> int:
        return len(launches)

    def replay(self, graph: int) -> None:
        self.calls.append(f"replay {graph}")
        self.value = 1

    def elapsed_ms(self, work: Callable[[], None]) -> float:
        work()
        return 2.0

    def each_ms(self, work: Callable[[], None], before: Callable[[], None], count: int) -> list[float]:
        for _ in range(count):
            before()
            self.calls.append("start")
            work()
        return [0.5] * count


LAUNCH = Launch(Kernel("pool"), (1, 1, 1), (1, 1, 1), b"")


def bench_one(work: Callable[[], object] | list[Launch], how: How) -> tuple[StandIn, Row]:
    device = StandIn()
    bench = Bench(device, True, lambda row: None)  # type: ignore[arg-type]
    out = device.allocate((1,), "<i4")
    bench.add("s", "n", "t", "1", 1.0, work, lambda: f"value {device.value}", outputs=[out], how=how)
    return device, bench.rows[0]


def test_outputs_are_spoilt_before_they_are_timed() -> None:
    device, row = bench_one([LAUNCH], "chained")
    assert row.result == "value 1"
    assert device.calls[:3] == ["spoil", "launch", "spoil"]


def test_what_was_not_computed_while_timed_is_seen() -> None:
    device = StandIn()
    bench = Bench(device, True, lambda row: None)  # type: ignore[arg-type]
    once = [LAUNCH]
    work = lambda: once and device.launch(once.pop())  # noqa: E731
    bench.add("s", "n", "t", "1", 1.0, work, lambda: f"value {device.value}", outputs=[device.allocate((1,), "<i4")])
    assert bench.rows[0].result == "value 1; after the timing value 165"


def test_one_at_a_time_behind_another_or_with_an_empty_cache() -> None:
    device, row = bench_one([LAUNCH], "alone")
    assert device.calls[3:7] == ["flush", "replay 1", "start", "replay 1"]
    assert row.timing == Timing(500.0, 500.0, 500.0)
    device, row = bench_one([LAUNCH], "cold")
    assert device.calls[3:6] == ["flush", "start", "replay 1"]


def test_the_clock_by_the_cycles_of_wgmma() -> None:
    bench = Bench(StandIn(), True, lambda row: None)  # type: ignore[arg-type]
    bench.issue_rate(Product.AND)
    assert bench.rows[0].result == "128.00 cycles a product"
    assert bench.clock_mhz == 8 * 2000 * 128 / 200.0  # ten to a graph of 2 ms


def test_the_papers_network_is_no_constant() -> None:
    network = paper_network(1, hidden=256)
    trace = golden.trace(network, random_images(network.input, 50, 1))
    for activations in trace.activations:
        assert 0.2 < activations.mean() < 0.8
    assert len(np.unique(trace.scores.argmax(axis=1))) > 2
