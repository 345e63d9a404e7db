# SPDX-License-Identifier: Apache-2.0
"""A device for bnn_gpu that runs its kernels on the CPU: the same sources, compiled by a C++ compiler with emulated primitives."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.compiler import KERNELS, kernel_source
from bnn_gpu.launches import Kernel, Launch
from bnn_hw.tools import cxx_compiler

__all__ = ["EmulatedDevice", "emulated_driver", "emulated_library"]

_EMULATOR = Path(__file__).parent / "emulator"
_OUTCOMES = {1: "deadlock", 2: "misaligned or impossible access"}


@dataclass
class EmulatedDevice:
    """What `bnn_gpu.device.Device` is, in host memory. `seed` is of the order in which threads run."""

    target: str = "sm_90a"
    multiprocessors: int = 4
    seed: int = 0
    clusters: bool = True

    def allocate(self, shape: tuple[int, ...], dtype: str, stream: int = 0, *, zero: bool = False) -> DeviceArray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 256, 0 if zero else 0xC5, np.uint8)  # whoever reads what nobody wrote gets nonsense
        return DeviceArray(-(-memory.ctypes.data // 256) * 256, tuple(shape), np.dtype(dtype), memory)

    def upload(self, array: np.ndarray, stream: int = 0) -> DeviceArray:
        placed = self.allocate(array.shape, array.dtype.str)
        ctypes.memmove(placed.address, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return placed

    def download(self, array: DeviceArray, stream: int = 0) -> np.ndarray:
        out = np.empty(array.shape, array.dtype)
        ctypes.memmove(out.ctypes.data, array.address, out.nbytes)
        return out

    def copy(self, to: DeviceArray, source: DeviceArray, stream: int = 0) -> None:
        ctypes.memmove(to.address, source.address, source.nbytes)

    def tensor_map(self, address: int, rows: int, row_bytes: int, stride_bytes: int, box_rows: int) -> bytes:
        assert address % 16 == 0
        assert stride_bytes % 16 == 0
        return np.array([address, row_bytes, rows, stride_bytes, box_rows] + [0] * 11, np.uint64).tobytes()

    def launch(self, launch: Launch, stream: int = 0) -> None:
        assert launch.shared_bytes <= 227 * 1024
        grid, block = ((ctypes.c_uint * 3)(*extent) for extent in (launch.grid, launch.block))
        outcome = _compiled(launch.kernel)(launch.arguments, grid, block, launch.cluster, self.seed)
        assert outcome == 0, f"{launch.kernel}: {_OUTCOMES[outcome]}"

    def graph(self, launches: list[Launch]) -> list[Launch]:
        return launches

    def replay(self, graph: list[Launch], stream: int = 0) -> None:
        for launch in graph:
            self.launch(launch, stream)


@cache
def _compiled(kernel: Kernel) -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    return ctypes.CDLL(str(emulated_library(kernel))).emulate


def emulated_library(kernel: Kernel) -> Path:
    """Returns a kernel's emulation, in a folder of the system's where all test processes find what one has compiled."""
    sources = {path.name: path.read_bytes() for path in [*KERNELS.glob("*.cuh"), *_EMULATOR.iterdir()] if path.is_file()}
    sources[f"{kernel.name}.cu"] = kernel_source(kernel.name).encode()
    digest = hashlib.sha256(repr((sorted(sources.items()), kernel)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"bnn_gpu_emulator_{os.getuid()}"
    library = folder / f"{kernel.name}-{digest}.so"
    if not library.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            for name, content in sources.items():
                (Path(work) / name).write_bytes(content)
            defines = [f"-D{name}={value}" for name, value in kernel.defines]
            command = [
                *cxx_compiler(),
                "-O2",
                "-std=c++17",
                "-w",
                "-Wno-psabi",
                "-shared",
                "-fPIC",
                "-o",
                "emulator.so",
                "emulator.cpp",
            ]
            subprocess.run(
                [*command, f'-DKERNEL_FILE="{kernel.name}.cu"', f"-DKERNEL={kernel.name}", *defines], cwd=work, check=True
            )
            (Path(work) / "emulator.so").rename(library)
    return library


def emulated_driver(folder: Path) -> dict[str, str]:
    """Returns the environment of a process whose CUDA driver is the emulated one, which is compiled into a folder."""
    library, root = folder / "libcuda.so.1", _EMULATOR.parents[2]
    options = ["-O1", "-w", "-std=c++17", "-shared", "-fPIC", f'-DSELF="{library}"']
    subprocess.run([*cxx_compiler(), *options, "-o", str(library), str(_EMULATOR / "driver.cpp"), "-ldl"], check=True)
    paths = [_EMULATOR / "site", root, root / "gpu", root / "tests"]
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(str(path) for path in paths)}
