# SPDX-License-Identifier: Apache-2.0
"""Plots of loss and accuracy over the epochs of a training."""

import json
import os
from pathlib import Path
from typing import Final

__all__ = ["plot_curves"]

_LEAST_ERROR: Final = 1e-3  # in percent, since a logarithmic axis has no 0


def plot_curves(log: str | os.PathLike[str], picture: str | os.PathLike[str]) -> None:
    """Plots the epochs of a JSON log, as `bnn_training.trainer.train` writes it, into a PNG file."""
    log = Path(log)
    picture = Path(picture)
    from matplotlib.figure import Figure

    epochs = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, error = figure.subplots(1, 2)
    numbers = [epoch["epoch"] for epoch in epochs]
    loss.semilogy(numbers, [epoch["loss"] for epoch in epochs], label="training")
    loss.set(xlabel="epoch", ylabel="squared hinge loss")
    for key, label in (("train_accuracy", "training"), ("validation_accuracy", "validation")):
        if epochs and epochs[0][key] is not None:
            error.semilogy(numbers, [max(100 * (1 - epoch[key]), _LEAST_ERROR) for epoch in epochs], label=label)
    error.set(xlabel="epoch", ylabel="error (%)")
    error.legend()
    figure.savefig(picture, dpi=100)
