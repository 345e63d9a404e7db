# SPDX-License-Identifier: Apache-2.0
"""Measuring: rows of a benchmark, times between events, and the tensor cores' own rate. References and cuBLAS come from torch."""

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.device import Device
from bnn_gpu.launches import Launch, issue_rate_launch
from bnn_gpu.products import Product
from bnn_hw.errors import BnnHwError, ToolError

if TYPE_CHECKING:
    import torch

__all__ = ["PRODUCT_OPERATIONS", "Bench", "How", "Row", "Timing", "as_array", "as_tensor", "clocks", "require_torch"]

How: TypeAlias = Literal["chained", "alone", "cold", "wall"]
PRODUCT_OPERATIONS: Final = 2 * 64 * 256 * 256  # of a wgmma m64n256k256 on bits; an int8 one of k32 has an eighth
_TARGET_MS: Final = 20.0  # of a sample
_SAMPLES: Final = 9
_ROUNDS: Final = 2000  # of the measurement of wgmma's rate
_ALONE: Final = 25  # samples of one execution each
_POISON: Final = 0xA5
_FLUSHED: Final = 4  # to empty the second-level cache, this many times its size is written


@dataclass(frozen=True)
class Timing:
    """Microseconds of one execution: the median of some samples, each of one or the mean of many executions, and the extremes."""

    median_us: float
    least_us: float
    greatest_us: float


@dataclass(frozen=True)
class Row:
    """A line of the table: `operations` of one execution, two a multiply-accumulate; `result`: compared with the reference."""

    section: str
    name: str
    timed: str  # the work between start and end
    size: str
    operations: float
    result: str
    timing: Timing | None = None

    @property
    def tops(self) -> float | None:
        """Tera-operations a second."""
        return self.operations / self.timing.median_us / 1e6 if self.timing and self.operations else None


@dataclass(eq=False)
class Bench:
    """The rows of a run, as they come; `on_row` shows each."""

    device: Device
    quick: bool
    on_row: Callable[[Row], None]
    rows: list[Row] = field(default_factory=list)
    torch_device: str = "cuda"
    clock_mhz: float | None = None  # under load, by `issue_rate`

    def add(
        self,
        section: str,
        name: str,
        timed: str,
        size: str,
        operations: float,
        work: Callable[[], object] | Sequence[Launch],
        check: Callable[[], str],
        *,
        outputs: "Sequence[DeviceArray | torch.Tensor]" = (),
        how: How = "chained",
    ) -> None:
        """Executes once and checks the result, times, and checks the timed result; a failure becomes a row that states it.

        `work`: launches, or a call that enqueues on the default stream. `outputs`, which it writes, are overwritten before
        it is executed and again before it is timed. `how`: ``chained``, many executions one behind the other, of launches in
        one CUDA graph, so that the host's time is not measured and the second-level cache is warm; ``alone``, one at a time,
        each behind another one; ``cold``, one at a time, each with that cache emptied; ``wall``, wall time from call to return.
        """
        try:
            self._spoil(outputs)
            self._execute(work)
            self.device.synchronize()
            result = check()
            self._spoil(outputs)
            timing = self._timing(work, how)
            self.device.synchronize()
            after = check()
            result = result if after == result else f"{result}; after the timing {after}"
        except (
            BnnHwError,
            RuntimeError,
            AttributeError,
            TypeError,
            ValueError,
        ) as error:  # torch lacks an operation, or memory ran out
            first, *_ = (str(error) or type(error).__name__).splitlines()
            result, timing = f"not run: {first}", None
        row = Row(section, name, timed, size, operations, result, timing)
        self.rows.append(row)
        self.on_row(row)

    def json(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Returns the run for machines: facts and rows."""
        return {**facts, "rows": [{**asdict(row), "tops": row.tops} for row in self.rows]}

    def _execute(self, work: Callable[[], object] | Sequence[Launch]) -> None:
        if callable(work):
            work()
        else:
            for launch in work:
                self.device.launch(launch)

    def _timing(self, work: Callable[[], object] | Sequence[Launch], how: How) -> Timing:
        match how:
            case "alone" | "cold":
                samples = self._alone(work, cold=how == "cold")
            case "chained" | "wall":
                replay, count = self._repeated(work, how)
                for _ in range(2):
                    self._sample(replay, how)
                samples = [1e3 * self._sample(replay, how) / count for _ in range(5 if self.quick else _SAMPLES)]
        return Timing(statistics.median(samples), min(samples), max(samples))

    def _alone(self, work: Callable[[], object] | Sequence[Launch], *, cold: bool) -> list[float]:
        """Returns microseconds of executions one at a time, enqueued while a cache is emptied, so that host time is excluded."""
        flushed = self.device.allocate((max(1 << 26, _FLUSHED * self.device.l2_bytes),), "|u1")
        graph = None if callable(work) else self.device.graph(list(work))

        def once() -> None:
            self._execute(work) if graph is None else self.device.replay(graph)

        def before() -> None:
            self.device.fill(flushed, 0)
            if not cold:
                once()

        return [1e3 * elapsed for elapsed in self.device.each_ms(once, before, _ALONE)]

    def _repeated(self, work: Callable[[], object] | Sequence[Launch], how: How) -> tuple[Callable[[], None], int]:
        """Returns a call that enqueues `work` often enough to take some milliseconds, and the number of repeats."""

        def once() -> None:
            self._execute(work)

        self._sample(once, how)
        count = int(min(1000, max(1, _TARGET_MS / max(self._sample(once, how), 1e-3))))
        if not callable(work):
            graph = self.device.graph(list(work) * count)
            return lambda: self.device.replay(graph), count
        return lambda: _times(once, count), count

    def _sample(self, work: Callable[[], None], how: How) -> float:
        if how != "wall":
            return self.device.elapsed_ms(work)
        start = perf_counter()
        work()
        return 1e3 * (perf_counter() - start)

    def _spoil(self, outputs: "Sequence[DeviceArray | torch.Tensor]") -> None:
        """Overwrites the outputs, so that a check sees only results written afterwards."""
        for output in outputs:
            if isinstance(output, DeviceArray):
                self.device.fill(output, _POISON)
            else:
                import torch

                output.view(torch.uint8).fill_(_POISON)

    def issue_rate(self, product: Product) -> None:
        """Adds the rate at which wgmma issues, with nothing to load: the peak that other rows are a fraction of.

        Its cycles over its time are the clock that the GPU keeps under this load.
        """
        rounds, blocks = _ROUNDS, self.device.multiprocessors
        cycles = self.device.allocate((blocks,), "<i8", zero=True)
        sink = self.device.allocate((blocks * 256,), "<i4")
        launch = issue_rate_launch(product, cycles.address, sink.address, rounds, blocks)
        products = blocks * 2 * 4 * rounds

        def median() -> float:
            return float(np.median(self.device.download(cycles)))

        check = lambda: f"{median() / (2 * 4 * rounds):.2f} cycles a product"  # noqa: E731
        operations = products * PRODUCT_OPERATIONS / (1 if product == Product.AND else 8)
        self.add("peak", f"wgmma {product.name.lower()}", "issue only", "m64n256", operations, [launch], check, outputs=[cycles])
        timing = self.rows[-1].timing
        self.clock_mhz = median() / timing.median_us if timing else self.clock_mhz


def require_torch() -> None:
    """Raises `ToolError` unless torch is installed and sees a GPU."""
    try:
        import torch
    except ImportError as error:
        raise ToolError(
            "torch, whose cuBLAS and exact results the benchmark compares with, is not installed: pip install torch"
        ) from error
    if not torch.cuda.is_available():
        raise ToolError(f"torch {torch.__version__} sees no GPU; install one built for CUDA 13")


def as_tensor(array: DeviceArray) -> "torch.Tensor":
    """Returns a tensor on an array's memory; words of bits become int32."""
    import torch

    dtype = np.dtype("<i4") if array.dtype == np.uint32 else array.dtype
    return torch.as_tensor(DeviceArray(array.address, array.shape, dtype, array), device="cuda")


def as_array(tensor: "torch.Tensor") -> DeviceArray:
    """Returns an array on a contiguous tensor's memory, for types that numpy has."""
    dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
    return DeviceArray(tensor.data_ptr(), tuple(tensor.shape), dtype, tensor)


def clocks() -> str:
    """Returns nvidia-smi's current GPU clocks as text, or that it reports none."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def _times(work: Callable[[], object], count: int) -> None:
    for _ in range(count):
        work()
