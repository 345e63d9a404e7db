# SPDX-License-Identifier: Apache-2.0
"""On PYTHONPATH of a process with the emulated driver: kernels are those of the emulator, but for those that BNN_EMULATED names.

BNN_EMULATED is JSON: macros of a kernel, as ``gemm_sm90 BNN_CLUSTER=2``, to a library that stands for it.
"""

import json
import os

from bnn_gpu import device
from bnn_gpu.launches import Kernel
from support.gpu_emulator import emulated_library


def _emulated(kernel: Kernel, target: str) -> bytes:
    words = {kernel.name, *(f"{name}={value}" for name, value in kernel.defines)}
    for described, library in json.loads(os.environ.get("BNN_EMULATED", "{}")).items():
        if words.issuperset(described.split()):
            return str(library).encode() + b"\0"
    return str(emulated_library(kernel)).encode() + b"\0"


device.cubin = _emulated
