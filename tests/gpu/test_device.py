# SPDX-License-Identifier: Apache-2.0
"""The device's calls of the CUDA driver, on an emulated driver; what is said where driver, packages or GPU are missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bnn_gpu
from bnn_gpu import compiler
from bnn_gpu.launches import Kernel
from bnn_hw.errors import ToolError
from support.gpu_device import needs_driver, needs_gpu
from support.gpu_emulator import emulated_driver

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in (".", "gpu", "tests"))}
BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cuda", "torch"):
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
import bnn_gpu, bnn_gpu.benchmark, bnn_gpu.torch_op, numpy
from bnn_hw.errors import ToolError
for call in (bnn_gpu.open_device, lambda: bnn_gpu.torch_op.register(), lambda: bnn_gpu.compiler.target_of((9, 0))):
    try:
        call()
    except ToolError as error:
        print(error)
"""


@needs_driver
def test_networks_through_an_emulated_driver(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "support" / "gpu_driver.py")]
    finished = subprocess.run(command, capture_output=True, text=True, env=emulated_driver(tmp_path))
    assert finished.stdout == "equal\n", finished.stderr


def test_a_machine_with_neither_cuda_nor_torch_is_told_so() -> None:
    finished = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, env=ENVIRONMENT)
    lines = finished.stdout.splitlines()
    assert len(lines) == 3, finished.stderr
    assert lines[0].startswith("cuda-bindings, the interface of the CUDA driver, is not installed")
    assert lines[1] == "torch, whose operator this is, is not installed: pip install torch"
    assert lines[2].startswith("NVRTC, which compiles CUDA kernels, is not installed")


def test_a_gpu_that_the_compiler_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_architectures", lambda: (75, 90))
    assert compiler.target_of((9, 0)) == "sm_90a"
    assert compiler.target_of((7, 5)) == "sm_75"
    message = r"GPU must be of compute capability 7\.5, 9\.0, not 6\.1; a newer nvidia-cuda-nvrtc may know it"
    with pytest.raises(ToolError, match=f"^{message}$"):
        compiler.target_of((6, 1))


def test_cubins_are_kept_by_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled = []

    def compile_kernel(kernel: Kernel, target: str) -> compiler.CompiledKernel:
        compiled.append((kernel, target))
        return compiler.CompiledKernel(f"{kernel} {target}".encode())

    monkeypatch.setattr(compiler, "compile_kernel", compile_kernel)
    first, other = Kernel("pool"), Kernel("matvec", (("BNN_PRODUCT", "0"), ("BNN_OUTPUT", "0")))
    for _ in range(2):
        for kernel, target in ((first, "sm_75"), (first, "sm_80"), (other, "sm_75")):
            assert compiler.cubin(kernel, target, tmp_path) == f"{kernel} {target}".encode()
    assert len(compiled) == len(list(tmp_path.iterdir())) == 3
    source = compiler.kernel_source("pool")
    monkeypatch.setattr(compiler, "kernel_source", lambda name: source + "// changed")
    compiler.cubin(first, "sm_75", tmp_path)
    assert len(compiled) == 4


def test_without_a_compiler_cubins_of_another_version_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiler, "compile_kernel", lambda kernel, target: compiler.CompiledKernel(b"elsewhere"))
    monkeypatch.setattr(compiler, "_compiler_version", lambda: "nvrtc12.9")
    compiler.cubin(Kernel("pool"), "sm_75", tmp_path)

    def missing() -> None:
        raise ToolError("no NVRTC")

    monkeypatch.undo()
    monkeypatch.setattr(compiler, "_nvrtc", missing)
    monkeypatch.setattr(compiler, "_compiler_version", lambda: "none")
    assert compiler.cubin(Kernel("pool"), "sm_75", tmp_path) == b"elsewhere"
    for kernel, target in ((Kernel("pool"), "sm_80"), (Kernel("argmax"), "sm_75")):
        with pytest.raises(ToolError, match=r"^no NVRTC$"):
            compiler.cubin(kernel, target, tmp_path)


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiler, "compile_kernel", lambda kernel, target: compiler.CompiledKernel(b"code"))
    (tmp_path / "file").write_text("")
    assert compiler.cubin(Kernel("pool"), "sm_75", tmp_path / "file") == b"code"


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_opens() -> None:
    device = bnn_gpu.open_device()
    assert device.multiprocessors >= 1
    assert device.target.startswith("sm_")
