# SPDX-License-Identifier: Apache-2.0
"""The processes of a distributed training, or the single process of any other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import distributed

from bnn_hw.errors import ArtefactError

__all__ = ["barrier", "check_same", "process_group", "processes", "rank", "total"]


def processes() -> int:
    """Returns the number of processes that train together."""
    return distributed.get_world_size() if _is_distributed() else 1


def rank() -> int:
    """Returns the number of this process, from 0 on."""
    return distributed.get_rank() if _is_distributed() else 0


def barrier() -> None:
    """Waits until all processes have called this."""
    if _is_distributed():
        distributed.barrier()


def total(values: torch.Tensor) -> torch.Tensor:
    """Returns the sum of `values` over all processes; no gradient passes."""
    if _is_distributed():
        values = values.clone()
        distributed.all_reduce(values)
    return values


def check_same(what: str, value: object) -> None:
    """Waits until all processes are here. Raises `ArtefactError` in each of them if their `value` differs."""
    if _is_distributed():
        values: list[object] = [None] * processes()
        distributed.all_gather_object(values, value)
        if any(other != value for other in values):
            raise ArtefactError(f"processes differ in their {what}: {', '.join(map(str, values))}; give all of them the same files")


@contextmanager
def process_group(environment: Mapping[str, str], device: torch.device) -> Iterator[torch.device]:
    """Joins the processes that `torchrun` started, if it did, while the context lasts; yields this one's device.

    `environment`: the variables that `torchrun` sets. GPUs talk through NCCL, processors through gloo.
    """
    if "WORLD_SIZE" not in environment:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(environment["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    store, rank, size = next(distributed.rendezvous("env://"))
    # What processes left in the store before they were restarted must not be found again.
    store = distributed.PrefixStore(f"start{environment.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
