# SPDX-License-Identifier: Apache-2.0
"""Kernels to cubins by NVRTC, at run time, kept on disk by content: no nvcc, no driver and no GPU are needed."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

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
    """A cubin with the compiler's `log`, which states register and stack use."""

    log: str = ""


def cubin(kernel: Kernel, target: str, folder: Path | None = None) -> bytes:
    """Returns a kernel's machine code for a target, from `folder` where it has been compiled before.

    Without `folder`: bnn_hw/kernels in the user's cache. A file's name has the target, the SHA-256 of all sources and macros, and
    the compiler's version. Without a compiler, a cached file of any compiler version is used, even from another machine.
    """
    folder = folder or Path.home() / ".cache" / "bnn_hw" / "kernels"
    content = f"{kernel.name}-{target}-{_digest(kernel)}"
    path = folder / f"{content}-{_compiler_version()}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        pass
    try:
        code = bytes(compile_kernel(kernel, target))
    except ToolError:
        others = sorted(folder.glob(f"{content}-*.cubin"))
        if not others:
            raise
        return others[-1].read_bytes()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(code)
        Path(file.name).replace(path)
    except OSError:
        pass  # an unwritable cache only costs time
    return code


def compile_kernel(kernel: Kernel, target: str) -> CompiledKernel:
    """Compiles a kernel for a target, as ``sm_90a``. Raises `ToolError` when the compiler is missing or refuses."""
    nvrtc = _nvrtc()
    options = [f"-arch={target}", "-std=c++17", f"-I{KERNELS}", "--ptxas-options=-v"]
    options += [f"-D{name}={value}" for name, value in kernel.defines]
    program = _ask(nvrtc.nvrtcCreateProgram(kernel_source(kernel.name).encode(), f"{kernel.name}.cu".encode(), 0, [], []))
    try:
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        log = bytearray(_ask(nvrtc.nvrtcGetProgramLogSize(program)))
        _ask(nvrtc.nvrtcGetProgramLog(program, log))
        text = log.rstrip(b"\0").decode()
        if error:
            reason = " ".join(f"{error.name} {text}".split())
            raise ToolError(f"NVRTC does not compile {kernel.name} for {target}: {reason}; {INSTALL}")
        code = bytearray(_ask(nvrtc.nvrtcGetCUBINSize(program)))
        _ask(nvrtc.nvrtcGetCUBIN(program, code))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    compiled = CompiledKernel(code)
    compiled.log = text
    return compiled


def supported_targets() -> tuple[str, ...]:
    """Returns the targets that the installed NVRTC compiles for, with sm_90a for Hopper. Raises `ToolError` when it is missing."""
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
    return tuple(_ask(_nvrtc().nvrtcGetSupportedArchs()))


def _digest(kernel: Kernel) -> str:
    headers = sorted((path.name, path.read_text()) for path in KERNELS.glob("*.cuh"))
    return hashlib.sha256(repr((kernel_source(kernel.name), headers, kernel.defines)).encode()).hexdigest()


@cache
def _compiler_version() -> str:
    try:
        return "nvrtc{}.{}".format(*_nvrtc().nvrtcVersion()[1:])
    except ToolError:
        return "none"


@cache
def _nvrtc() -> ModuleType:
    """Returns NVRTC's interface. Raises `ToolError` where the package or its library is missing."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:  # the package's and its library's errors have no common class
        raise ToolError(f"NVRTC, which compiles CUDA kernels, is not installed ({error}): {INSTALL}") from error
    return nvrtc


def _ask(answer: tuple[Any, ...]) -> Any:
    """Returns an NVRTC call's results without its error code. Raises `ToolError` for an error."""
    error, *results = answer
    if error:
        raise ToolError(f"NVRTC says {error.name}")
    return results[0] if results else None
