# SPDX-License-Identifier: Apache-2.0
"""What several commands do with a model that the user names."""

from pathlib import Path
from typing import Final

from bnn_hw.network.network import Network
from bnn_hw.tools import require

__all__ = ["MODEL_HELP", "fold_checkpoint"]

MODEL_HELP: Final = "A packaged network (see `bnn_hw models`), a network file, a checkpoint, or a folder of a build or training."


def fold_checkpoint(path: Path) -> Network:
    """Returns the folded network of a checkpoint. Raises `ToolError` where torch is not installed."""
    require("torch")
    from bnn_training.export import export_checkpoint

    return export_checkpoint(path)[0]
