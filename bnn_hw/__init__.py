# SPDX-License-Identifier: Apache-2.0
"""Binarized neural networks from PyTorch to verified FPGA hardware: the core, which needs numpy only."""

from typing import TYPE_CHECKING, Any

from bnn_hw.errors import ArtefactError, BnnHwError, BoardError, MismatchError, ToolError, UsageError
from bnn_hw.network import Dense, Input, Layer, Network, Scores

if TYPE_CHECKING:
    from bnn_hw.network_file import load_network, save_network

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


def __getattr__(name: str) -> Any:
    """Returns what reads and writes network files, which needs safetensors, that a board may lack."""
    if name in ("load_network", "save_network"):
        from bnn_hw import network_file

        return getattr(network_file, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
