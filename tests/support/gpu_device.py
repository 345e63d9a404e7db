# SPDX-License-Identifier: Apache-2.0
"""What the tests of bnn_gpu need of this machine, with the reason where it is missing."""

import importlib.util
import sys
from functools import cache

import pytest

from bnn_gpu.device import open_device
from bnn_gpu.sass import disassemble, find_disassembler
from bnn_hw.errors import ToolError
from bnn_hw.tools import cxx_compiler

__all__ = ["disassembled", "needs_compiler", "needs_driver", "needs_emulator", "needs_gpu", "no_gpu"]


@cache
def no_gpu() -> str:
    """Returns why there is no GPU, or nothing where there is one."""
    try:
        open_device()
    except ToolError as error:
        return str(error)
    return ""


@cache
def _no_emulator() -> str:
    try:
        cxx_compiler()
    except ToolError as error:
        return str(error)
    return "" if sys.platform == "linux" else "the emulator's threads need Linux"


def _no_driver() -> str:
    missing = "" if importlib.util.find_spec("cuda") else "cuda-bindings is not installed"
    return _no_emulator() or missing


def _no_compiler() -> str:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:  # the package or its library: there is no common class
        return f"NVRTC is not installed: {error}"
    return ""


def disassembled(code: bytes) -> str:
    """Returns the listing of a cubin; skips the test where there is no nvdisasm."""
    try:
        find_disassembler()
    except ToolError as error:
        pytest.skip(str(error))
    return disassemble(code)


needs_gpu = pytest.mark.skipif(bool(no_gpu()), reason=no_gpu())
needs_emulator = pytest.mark.skipif(bool(_no_emulator()), reason=_no_emulator())
needs_driver = pytest.mark.skipif(bool(_no_driver()), reason=_no_driver())
needs_compiler = pytest.mark.skipif(bool(_no_compiler()), reason=_no_compiler())
