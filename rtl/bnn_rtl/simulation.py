# SPDX-License-Identifier: Apache-2.0
"""The generated Verilog, compiled by Verilator with a plain C++ harness, as fast as a processor runs it."""

import json
import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.contract.registers import ADDRESS_BITS
from bnn_hw.contract.streams import stream_words
from bnn_hw.design.lower import Design, Edge, input_cycles
from bnn_hw.design.names import ACCELERATOR
from bnn_hw.design.runtime_weights import weights_window
from bnn_hw.network.network import Signal
from bnn_hw.network.packing import packed_bytes, unpack_bits
from bnn_hw.tools import cxx_compiler, run_tool, verilator

__all__ = ["Recording", "Simulation", "compile_harness", "compile_simulation"]

_CXX_FLAGS: Final = ("-march=native", "-std=c++20", "-DVERILATOR=1", "-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DVM_SC=0")
_LIBRARY_FLAGS: Final = ("-fPIC", "-fvisibility=hidden")  # hidden, so that two libraries in one process share nothing
_RUNTIME: Final = ("verilated.cpp", "verilated_threads.cpp")


@dataclass(frozen=True, eq=False)
class Recording:
    """What the Verilog gave for some images.

    `activations`: [images, outputs] bool or uint8 for each layer before the scores, flattened; `scores`: [images, classes]
    int32; `classes`: [images] int32; `finish_cycles`: for each process [its images] uint64, the cycle in which each image's
    class was sent.
    """

    activations: tuple[np.ndarray, ...]
    scores: np.ndarray
    classes: np.ndarray
    finish_cycles: tuple[np.ndarray, ...]
    elapsed_s: float

    @property
    def interval_cycles(self) -> float | None:
        """The mean number of cycles from one image to the next; None where no process had two images."""
        intervals = sum(len(cycles) - 1 for cycles in self.finish_cycles)
        return float(sum(np.ptp(cycles) for cycles in self.finish_cycles)) / intervals if intervals else None


@dataclass(frozen=True, eq=False)
class Simulation:
    """A compiled simulation of one accelerator, in a folder of its own."""

    folder: Path
    design: Design

    def run(self, inputs: np.ndarray, *, seed: int = 0, processes: int = 1) -> Recording:
        """Runs images through the Verilog.

        `inputs`: [images, inputs] as `bnn_hw.network.golden.prepare` gives them, at least one. With `seed` other than 0 the
        streams idle and push back at random. `processes` share the images. Raises `ToolError` when the Verilog
        deadlocks or breaks the framing of its output.
        """
        shares = [share for share in np.array_split(inputs, processes) if len(share)]
        with ThreadPoolExecutor(len(shares)) as pool:
            recordings = list(pool.map(lambda item: self._run(item[1], f"run{item[0]}", seed), enumerate(shares)))
        return Recording(
            tuple(np.concatenate(parts) for parts in zip(*(recording.activations for recording in recordings), strict=True)),
            np.concatenate([recording.scores for recording in recordings]),
            np.concatenate([recording.classes for recording in recordings]),
            sum((recording.finish_cycles for recording in recordings), ()),
            max(recording.elapsed_s for recording in recordings),
        )

    def _run(self, inputs: np.ndarray, name: str, seed: int) -> Recording:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "input.bin").write_bytes(stream_words(inputs).tobytes())
        results = self.design.network.classes + 1
        arguments = [str(len(inputs)), str(input_cycles(self.design.network)), str(results), str(seed)]
        printed = run_tool([self.folder.resolve() / "harness", *arguments], folder, folder / "harness.log")
        words = np.fromfile(folder / "results.bin", "<i4").reshape(len(inputs), results)
        return Recording(
            tuple(
                _tap(folder / f"tap{index}.bin", edge, step.output, len(inputs))
                for index, (edge, step) in enumerate(self.design.activations)
            ),
            words[:, :-1],
            words[:, -1],
            (np.fromfile(folder / "finish.bin", "<u8"),),
            json.loads(printed)["elapsed_s"],
        )


def _tap(path: Path, edge: Edge, output: Signal, images: int) -> np.ndarray:
    """Returns what a layer gave on its output stream: [images, outputs] bool or uint8."""
    channels = output.shape[-1]
    words = np.fromfile(path, np.uint8).reshape(-1, -(-channels // edge.lanes), packed_bytes(edge.payload_bits))
    elements = unpack_bits(words, edge.lanes) if output.dtype == "bit" else words
    return elements.reshape(len(words), -1)[:, :channels].reshape(images, -1)


def compile_simulation(verilog: str, top: str, design: Design, folder: Path) -> Simulation:
    """Compiles the accelerator's Verilog, module `top`, with the harness in `folder`, which is empty.

    Raises `ToolError` when Verilator or a C++ compiler is missing or fails.
    """
    testbench, taps = _testbench(top, design)
    (folder / "design.v").write_text(verilog)
    (folder / "testbench.v").write_text(testbench)
    (folder / "taps.h").write_text(taps)
    (folder / "harness.cpp").write_bytes(files("bnn_rtl").joinpath("harness.cpp").read_bytes())
    compile_harness(folder, cxx_compiler())
    return Simulation(folder, design)


def compile_harness(
    folder: Path, compiler: Sequence[str], *, top: str = "_testbench", optimized: bool = True, library: bool = False
) -> Path:
    """Compiles the Verilog files of a folder, with module `top`, and its harness.cpp; returns the program, or the shared
    `library`. Raises `ToolError`.

    Where it has little to do, it is sooner done if it is not `optimized`.
    """
    root = verilator()
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    options = ["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "--output-split", "10000", "-Wno-fatal"]
    sources = sorted(path.name for path in folder.glob("*.v"))
    inputs = ["--top-module", top, "--prefix", "Vtestbench", "--Mdir", "cpp", *sources]
    command = [str(root / "bin" / "verilator_bin"), *options, *inputs]
    run_tool(command, folder, folder / "verilator.log", environment)
    generated = sorted((folder / "cpp").glob("*.cpp"))
    hot = [source for source in generated if "root__" in source.name and "Slow" not in source.name]
    # What runs once, or little, is one file, so that the headers are read once, and hardly optimized: half the time.
    cold = [folder / "harness.cpp", *(root / "include" / name for name in _RUNTIME), *(set(generated) - set(hot))]
    (folder / "cold.cpp").write_text("".join(f'#include "{source.resolve()}"\n' for source in sorted(cold)))
    includes = [f"-I{path.resolve()}" for path in (folder, folder / "cpp", root / "include", root / "include" / "vltstd")]

    flags = [*_CXX_FLAGS, *(_LIBRARY_FLAGS if library else ())]

    def compile_one(source: Path) -> str:
        target = str(source.resolve().with_suffix(".o"))
        optimization = "-O0" if not optimized else "-O2" if source in hot else "-O1"
        command = [*compiler, optimization, *flags, *includes, "-c", str(source.resolve()), "-o", target]
        run_tool(command, folder, folder / f"{source.stem}.log")
        return target

    hot.sort(key=lambda source: source.stat().st_size, reverse=True)  # so that no core waits for a large one at the end
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [folder / "cold.cpp", *hot]))
    target = folder.resolve() / ("harness.so" if library else "harness")
    run_tool([*compiler, *objects, *(["-shared"] if library else []), "-o", str(target), "-lpthread"], folder, folder / "link.log")
    return target


def _testbench(top: str, design: Design) -> tuple[str, str]:
    """Returns a Verilog module around `top` that shows each layer's output stream, and a C++ header that lists them."""
    ports, wires, entries = [], [], []
    for index, (edge, step) in enumerate(design.activations):
        path = f"dut.{ACCELERATOR}.{edge.source}"
        *places, channels = step.output.shape
        # A port of at most 64 bits is a C++ integer, a wider one an array of 32-bit words; both are little-endian here.
        entries.append(f"X({index}, {packed_bytes(edge.payload_bits)}, {math.prod(places) * -(-channels // edge.lanes)})")
        ports += [f"output tap{index}_fire", f"output [{edge.payload_bits - 1}:0] tap{index}_payload"]
        wires += [
            f"  assign tap{index}_fire = aresetn & {path}.o__valid & {path}.o__ready;",
            f"  assign tap{index}_payload = {path}.o__payload;",
        ]
    template = files("bnn_rtl").joinpath("testbench.v").read_text()
    address_bits = weights_window(design).address_bits if design.plan.runtime_weights else ADDRESS_BITS
    values = {
        "TOP": top,
        "ADDRESS_BITS": str(address_bits),
        "TAP_PORTS": "".join(f",\n  {port}" for port in ports),
        "TAPS": "\n".join(wires),
    }
    testbench = re.sub(r"@(\w+)@", lambda match: values[match[1]], template)
    return testbench, f"#define TAPS(X) {' '.join(entries)}\n"
