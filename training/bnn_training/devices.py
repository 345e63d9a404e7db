# SPDX-License-Identifier: Apache-2.0
"""The processor or GPU that trains."""

import os
from collections.abc import Mapping

import torch

from bnn_hw.errors import ToolError, UsageError

__all__ = ["find_device", "set_threads"]


def find_device(name: str | None) -> torch.device:
    """Returns the device of that name; without one, a GPU if there is one. Raises `ToolError` for a GPU that does not exist."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device must be cpu, cuda or cuda:N, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device must be cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ToolError(f"--device {name}: PyTorch finds {found} GPUs here; leave --device out to use the processor")
    return device


def set_threads(threads: int | None, environment: Mapping[str, str]) -> None:
    """Sets the processor threads of this process; without a number all there are, but where `torchrun` has divided them."""
    if threads is not None:
        torch.set_num_threads(threads)
    elif "WORLD_SIZE" not in environment:
        torch.set_num_threads(os.cpu_count() or 1)
