# SPDX-License-Identifier: Apache-2.0
"""Binarized neural networks from PyTorch to verified FPGA hardware: the core, which needs numpy only."""

from bnn_hw.errors import ArtefactError, BnnHwError, BoardError, MismatchError, ToolError, UsageError
from bnn_hw.network.file import load_network, save_network
from bnn_hw.network.network import Dense, Input, Layer, Network, Scores

__all__ = [
    "ArtefactError",
    "BnnHwError",
    "BoardError",
    "Dense",
    "Input",
    "Layer",
    "MismatchError",
    "Network",
    "Scores",
    "ToolError",
    "UsageError",
    "load_network",
    "save_network",
]
__version__ = "0.1.0"
