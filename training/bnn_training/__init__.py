# SPDX-License-Identifier: Apache-2.0
"""Training: binarized networks in PyTorch, and their export to integers; torch is imported when a name here is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn_training.training_run import Trained, export, train

__all__ = ["Trained", "export", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("bnn_training.training_run"), name)
