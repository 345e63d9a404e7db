# SPDX-License-Identifier: Apache-2.0
"""The benchmark's rows on the emulator, at sizes it can do: each is computed, spoilt, computed again and equal to its reference."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from bnn_gpu import bench_networks, bench_products, measure
from bnn_gpu.arrays import DeviceArray
from bnn_gpu.bench_networks import bench_batches, bench_paper_network, paper_network
from bnn_gpu.bench_products import bench_size
from bnn_gpu.measure import Bench, Row
from bnn_hw.network.random_images import random_images
from support.gpu_device import needs_emulator
from support.gpu_emulator import EmulatedDevice

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = needs_emulator


@dataclass
class TimedEmulator(EmulatedDevice):
    """The emulated device with the methods that measure; nothing takes any time."""

    l2_bytes: int = 1 << 20

    def fill(self, array: DeviceArray, byte: int) -> None:
        ctypes.memset(array.address, byte, array.nbytes)

    def synchronize(self) -> None:
        pass

    def elapsed_ms(self, work: Callable[[], None]) -> float:
        work()
        return 100.0  # so that a sample is one execution

    def each_ms(self, work: Callable[[], None], before: Callable[[], None], count: int) -> list[float]:
        work()
        return [1.0] * count


def shared_tensor(array: DeviceArray) -> "torch.Tensor":
    """Stands for `measure.as_tensor`: a tensor on memory of the CPU's."""
    dtype = np.dtype("<i4") if array.dtype == np.uint32 else array.dtype
    memory = (ctypes.c_byte * array.nbytes).from_address(array.address)
    return torch.from_numpy(np.frombuffer(memory, dtype).reshape(array.shape))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    for module in (bench_networks, bench_products):
        monkeypatch.setattr(module, "as_tensor", shared_tensor)
    monkeypatch.setattr(measure, "_SAMPLES", 1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    return Bench(TimedEmulator(), False, lambda row: None, torch_device="cpu")  # type: ignore[arg-type]


def results(rows: list[Row]) -> dict[tuple[str, str], str]:
    return {(row.name, row.timed): row.result for row in rows}


def test_products(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_products, "_WHOLE", 70)
    bench_size(bench, 70, 1)
    found = results(bench.rows)
    assert len(found) == len(bench.rows) == 20
    rounded = {key for key, result in found.items() if result == "equal after rounding to bf16"}
    assert ("cuBLAS bf16", "bf16 to bf16") in rounded
    yardstick = {key for key in found if "K / 16" in key[0]}
    optional = {("cuBLASLt int8", "int8 to int32"), ("cuBLASLt fp8", "fp8 to bf16")}  # that a CPU may not have
    others = {key: result for key, result in found.items() if key not in rounded | yardstick | optional}
    assert set(others.values()) == {"equal"}
    assert ("ours, wgmma, clusters of 2", "packed to packed, cold L2") in others
    assert ("cuBLAS fp32", "end to end, with transfers") in others


def test_networks(bench: Bench) -> None:
    network = paper_network(1, hidden=130)
    bench_paper_network(bench, network, random_images(network.input, 20, 1))
    bench_batches(bench, network, (1, 9), 1)
    found = results(bench.rows)
    assert set(found.values()) == {"classes equal golden's"}
    assert [row.timed for row in bench.rows if row.section == "batches" and row.size == "1 image"] == [
        "resident, images to classes, one batch behind the other",
        "resident, image to class, one inference a replay",
        "call to class on the CPU, wall clock",
    ]
    assert len(bench.rows) == 2 + 3 + 3 + 1
