# SPDX-License-Identifier: Apache-2.0
"""How fast a board is, and where its time goes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from bnn_host.images import image_words, pack_images
from bnn_host.power import PowerMeter
from bnn_host.register_access import Registers
from bnn_host.stream import ImageStream
from bnn_hw.artefacts.manifest import Manifest
from bnn_hw.artefacts.overlay import Overlay
from bnn_hw.contract.registers import COUNTER, Register
from bnn_hw.network.layers import Input
from bnn_hw.network.random_images import random_images

__all__ = ["Benchmark", "measure", "packing_images_per_s"]

_PERCENTILES: Final = (50, 90, 99)
_MEASURED_S: Final = 1.0  # of batches; a board's sensors are read twenty times meanwhile
_PACKED_BYTES: Final = 64 << 20  # of images, more than caches hold


@dataclass(frozen=True)
class Benchmark:
    """The speed of a board: of a batch as a whole, of a chunk of it step by step, and of single images.

    `compute_s` and `cycles_per_image` are upper bounds: the accelerator counts cycles all the time, so they include the
    host's time to begin a transfer and to see its end; only waiting within an image is subtracted. On a remote board the
    host's time is large. A simulated board's clock stands still meanwhile.
    """

    images: int
    images_per_s: float  # of the batch, packing and transfer overlapped; the median of a second's
    chunk_images: int
    packing_s: float  # of a chunk: bits into the words of the stream, and these to the board's memory
    transfer_s: float  # of a chunk: from the beginning of the transfer to its end as the host sees it
    compute_s: float  # of a chunk, at most: the transfer's cycles except those in which an image waited for words, or a result
    results_s: float  # of a chunk: results from the board's memory, checked
    cycles_per_image: float  # of a chunk, at most, by the accelerator's own counter
    planned_cycles_per_image: int
    clock_mhz: float
    latency_ms: Mapping[str, float]  # of an image alone, p50, p90 and p99
    power_w: Mapping[str, float]  # of each rail, in the mean over that second
    power_missing: str  # why there is none
    simulated: bool  # whether the board is a simulation, so that only cycles mean something


def measure(
    stream: ImageStream,
    registers: Registers,
    meter: PowerMeter,
    manifest: Manifest,
    overlay: Overlay,
    batch: np.ndarray,
    singles: int,
) -> Benchmark:
    """Returns the speed of a board with a batch, as `as_batch` gives it, and with the given number of single images."""
    with meter.measuring():
        batch_s = _median_s(lambda: stream.run(batch))
    latencies_ms = []
    for number in range(singles):
        image = batch[number % len(batch) :][:1]
        latencies_ms.append(1000 * _elapsed(lambda image=image: stream.run(image)))  # type: ignore[misc]
    chunk = batch[: stream.chunk_images]
    packing_s = _elapsed(lambda: stream.fill(stream.pair, chunk))
    stalls, cycles = _stalls(registers), registers.read(Register.CYCLES)
    begun = time.perf_counter()
    transfer = stream.begin(stream.pair, 0, len(chunk))
    stream.wait(transfer)
    transfer_s = time.perf_counter() - begun
    cycles, stalls = (registers.read(Register.CYCLES) - cycles) % COUNTER, (_stalls(registers) - stalls) % COUNTER
    results = np.empty((len(chunk), stream.columns), np.int32)
    return Benchmark(
        images=len(batch),
        images_per_s=len(batch) / batch_s,
        chunk_images=len(chunk),
        packing_s=packing_s,
        transfer_s=transfer_s,
        compute_s=(cycles - stalls) / (overlay.clock_mhz * 1e6),
        results_s=_elapsed(lambda: stream.collect(transfer, results)),
        cycles_per_image=cycles / len(chunk),
        planned_cycles_per_image=manifest.cycles_per_image,
        clock_mhz=overlay.clock_mhz,
        latency_ms={f"p{rank}": float(np.percentile(latencies_ms, rank)) for rank in _PERCENTILES if singles},
        power_w=meter.watts,
        power_missing=meter.missing,
        simulated=overlay.simulated,
    )


def _stalls(registers: Registers) -> int:
    """Returns the cycles in which the accelerator waited for words or with a result."""
    return registers.read(Register.INPUT_STALLS) + registers.read(Register.OUTPUT_STALLS)


def packing_images_per_s(input_: Input) -> float:
    """Returns how many images one core packs in a second."""
    images = random_images(input_, max(1, _PACKED_BYTES // input_.signal.size), pixels=True)
    words = np.zeros((len(images), image_words(input_)), np.uint64)
    pack_images(images, input_, words)  # once, so that the memory is there
    return len(images) / min(_elapsed(lambda: pack_images(images, input_, words)) for _ in range(3))


def _median_s(action: Callable[[], object]) -> float:
    """Returns how long an action takes: the median of as often as it ends within a second, but the first time if there are more."""
    end = time.perf_counter() + _MEASURED_S
    elapsed_s = [_elapsed(action)]
    while time.perf_counter() < end:
        elapsed_s.append(_elapsed(action))
    return float(np.median(elapsed_s[1:] or elapsed_s))


def _elapsed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun
