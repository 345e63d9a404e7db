# SPDX-License-Identifier: Apache-2.0
"""Binarized neural networks from PyTorch to verified FPGA hardware: the core, which needs numpy only.

What is not a part of a network is imported when it is first asked for, so that `import bnn_hw` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from bnn_hw.errors import ArtefactError, BnnHwError, BoardError, MismatchError, ToolError, UsageError
from bnn_hw.network.file import load_network, save_network
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, Layer, MaxPool, Network, Scores

if TYPE_CHECKING:
    from bnn_hw.design.planner import find_plan
    from bnn_hw.flow.build import build
    from bnn_hw.flow.verify import verify_build as verify
    from bnn_hw.fpga.boards import find_board
    from bnn_hw.models.packaged import load
    from bnn_hw.network.golden import classify, scores

__all__ = [
    "ArtefactError",
    "BnnHwError",
    "BoardError",
    "Conv",
    "Dense",
    "DenseRelu",
    "Input",
    "Layer",
    "MaxPool",
    "MismatchError",
    "Network",
    "Scores",
    "ToolError",
    "UsageError",
    "build",
    "classify",
    "find_board",
    "find_plan",
    "load",
    "load_network",
    "save_network",
    "scores",
    "verify",
]
__version__ = "0.1.0"
_LATE: Final = {  # module and name of each
    "build": ("bnn_hw.flow.build", "build"),
    "classify": ("bnn_hw.network.golden", "classify"),
    "find_board": ("bnn_hw.fpga.boards", "find_board"),
    "find_plan": ("bnn_hw.design.planner", "find_plan"),
    "load": ("bnn_hw.models.packaged", "load"),
    "scores": ("bnn_hw.network.golden", "scores"),
    "verify": ("bnn_hw.flow.verify", "verify_build"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
