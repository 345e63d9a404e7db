# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard shows of a training: scalars of each epoch, and histograms of the real-valued weights."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bnn_training.model import BinaryNetwork
from bnn_training.trainer import EpochReport

__all__ = ["tensorboard_log"]


@contextmanager
def tensorboard_log(folder: str | os.PathLike[str]) -> Iterator[Callable[[EpochReport, BinaryNetwork], None]]:
    """Yields a function that writes an epoch's events into `folder`, as `bnn_training.trainer.train` calls it."""
    folder = Path(folder)
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:

        def write(report: EpochReport, network: BinaryNetwork) -> None:
            scalars = {"loss": report.loss, "learning rate": report.learning_rate, "accuracy/training": report.train_accuracy}
            if report.validation_accuracy is not None:
                scalars["accuracy/validation"] = report.validation_accuracy
            for name, value in scalars.items():
                writer.add_scalar(name, value, report.epoch)
            for index, block in enumerate(network.stages, 1):
                writer.add_histogram(f"weights/layer {index}", block.product.weight.detach(), report.epoch)

        yield write
