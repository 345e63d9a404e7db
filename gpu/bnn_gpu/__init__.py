# SPDX-License-Identifier: Apache-2.0
"""The GPU path: binarized networks and binary matrix products in CUDA, compiled at run time.

Importing needs neither a GPU nor a driver, cuda-core or torch; the first call names the missing one. ``bnn_gpu.torch_op`` has the
binary linear layer as an operator of PyTorch.
"""

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.device import Device, open_device
from bnn_gpu.gemm import Packed, binary_linear, pack, pack_columns, xnor_gemm, xnor_gemm_bits
from bnn_gpu.inference import Inference, classify, infer

__all__ = [
    "Device",
    "DeviceArray",
    "Inference",
    "Packed",
    "binary_linear",
    "classify",
    "infer",
    "open_device",
    "pack",
    "pack_columns",
    "xnor_gemm",
    "xnor_gemm_bits",
]
