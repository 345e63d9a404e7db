# SPDX-License-Identifier: Apache-2.0
"""Kernels to cubins by NVRTC, at run time, kept on disk by content: no nvcc, no driver and no GPU are needed."""

import hashlib
import tempfile
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Final

from bnn_gpu.launches import Kernel
from bnn_hw.errors import ToolError

__all__ = [
    "INSTALL",
    "KERNELS",
    "TARGETS",
    "CompiledKernel",
    "compile_kernel",
    "cubin",
    "kernel_source",
    "supported_targets",
    "target_of",
]

KERNELS: Final = Path(__file__).parent / "kernels"
TARGETS: Final = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120")  # those that the tests compile for
INSTALL: Final = 'pip install -c constraints.txt -e ".[gpu]"'


class CompiledKernel(bytes):
    """A cubin, with what the compiler said: `log`, with the use of registers and stack."""

    log: str = ""


def cubin(kernel: Kernel, target: str, folder: Path | None = None) -> bytes:
    """Returns a kernel's machine code for a target, from `folder` where it has been compiled before.

    Without `folder`: bnn_hw/kernels in the user's cache. What is there is named by the SHA-256 of all sources, macros, target
    and compiler version, and written whole or not at all.
    """
    folder = folder or Path.home() / ".cache" / "bnn_hw" / "kernels"
    path = folder / f"{kernel.name}-{target}-{_digest(kernel, target)}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        code = bytes(compile_kernel(kernel, target))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(code)
        Path(file.name).replace(path)
    except OSError:
        pass  # a cache that cannot be written is only slower
    return code


def compile_kernel(kernel: Kernel, target: str) -> CompiledKernel:
    """Compiles a kernel for a target, as ``sm_90a``. Raises `ToolError` when the compiler is missing or refuses."""
    try:
        try:
            from cuda.core import Program, ProgramOptions
        except ImportError:  # cuda-core before 0.5, which some images of GPU machines have
            from cuda.core.experimental import Program, ProgramOptions
    except ImportError as error:
        raise ToolError(f"cuda-core, which compiles CUDA kernels, is not installed ({error}): {INSTALL}") from error
    macros = [(name, value) for name, value in kernel.defines]
    options = ProgramOptions(
        name=f"{kernel.name}.cu",
        arch=target,
        std="c++17",
        include_path=[str(KERNELS)],
        define_macro=macros or None,
        ptxas_options=["-v"],
    )
    log = StringIO()
    try:
        code = Program(kernel_source(kernel.name), "c++", options).compile("cubin", logs=log).code
    except Exception as error:  # of NVRTC, missing or unhappy: cuda.core has no common class
        reason = " ".join(str(error).split())
        raise ToolError(f"NVRTC does not compile {kernel.name} for {target}: {reason}; {INSTALL}") from error
    compiled = CompiledKernel(code)
    compiled.log = log.getvalue()
    return compiled


def supported_targets() -> tuple[str, ...]:
    """Returns what the installed NVRTC compiles for, with sm_90a for Hopper. Raises `ToolError` when it is missing."""
    return tuple("sm_90a" if number == 90 else f"sm_{number}" for number in _architectures())


def target_of(capability: tuple[int, int]) -> str:
    """Returns the target for a device of that compute capability. Raises `ToolError` where NVRTC compiles no kernel for it."""
    number = 10 * capability[0] + capability[1]
    if number not in _architectures():
        known = ", ".join(str(known / 10) for known in _architectures())
        raise ToolError(f"GPU must be of compute capability {known}, not {number / 10}; a newer nvidia-cuda-nvrtc may know it")
    return "sm_90a" if number == 90 else f"sm_{number}"


@cache
def kernel_source(name: str) -> str:
    """Returns a kernel's source."""
    return (KERNELS / f"{name}.cu").read_text()


@cache
def _architectures() -> tuple[int, ...]:
    try:
        from cuda.bindings import nvrtc

        _, numbers = nvrtc.nvrtcGetSupportedArchs()
    except Exception as error:  # the package or its library is missing; there is no common class
        raise ToolError(f"NVRTC, which compiles CUDA kernels, is not installed ({error}): {INSTALL}") from error
    return tuple(numbers)


def _digest(kernel: Kernel, target: str) -> str:
    headers = sorted((path.name, path.read_text()) for path in KERNELS.glob("*.cuh"))
    content = (kernel_source(kernel.name), headers, kernel.defines, target, _compiler_version())
    return hashlib.sha256(repr(content).encode()).hexdigest()


@cache
def _compiler_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("nvidia-cuda-nvrtc", "cuda-core"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} of unknown version")
    return ", ".join(found)
