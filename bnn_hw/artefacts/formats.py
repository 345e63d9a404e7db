# SPDX-License-Identifier: Apache-2.0
"""The formats of safetensors files, each known by a key of its metadata."""

import os
from pathlib import Path
from typing import Final

__all__ = ["CHECKPOINT_FORMAT", "has_format"]

CHECKPOINT_FORMAT: Final = "bnn_hw.checkpoint"  # the metadata key of checkpoints, as training writes them


def has_format(path: str | os.PathLike[str], name: str) -> bool:
    """Returns whether a file is a safetensors file with that format's key in its metadata."""
    path = Path(path)
    from safetensors import SafetensorError, safe_open  # late, since boards may lack it

    try:
        with safe_open(path, framework="np") as file:
            return name in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # whoever reads it says what is wrong with it
