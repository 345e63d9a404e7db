# SPDX-License-Identifier: Apache-2.0
"""Export: a trained network in eval mode becomes an integer `Network`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnn_hw import golden
from bnn_hw.datasets import Split
from bnn_hw.fold import BatchNorm, fold_dense, fold_scores
from bnn_hw.network import Dense, Input, Network, Scores, Signal
from bnn_training.checkpoint import load_checkpoint, load_network
from bnn_training.network import BinaryBlock, BinaryMlp

__all__ = ["Agreement", "compare", "export_checkpoint", "export_network", "float_scores"]


@dataclass(frozen=True)
class Agreement:
    """How a folded network stands to the trained one on the same images."""

    images: int
    float_accuracy: float  # of the PyTorch model in eval mode, 0 to 1
    folded_accuracy: float  # of the integer network, 0 to 1
    differing_decisions: int


def export_network(name: str, network: BinaryMlp, input_: Input, provenance: Mapping[str, Any] | None = None) -> Network:
    """Folds a trained network into integers.

    Layers are named fc1, fc2, ... and scores. Raises `ArtefactError` naming layer and neuron where a batch norm is
    undefined.
    """
    network = network.eval()
    *hidden, last = network.stages
    layers: list[Dense | Scores] = []
    signal = input_.signal
    for index, block in enumerate(hidden, 1):
        layers.append(_fold_hidden(f"fc{index}", block, signal))
        signal = Signal((len(layers[-1].weights),), "bit")
    layers.append(_fold_last("scores", last, signal))
    return Network(name, input_, tuple(layers), dict(provenance or {}))


@torch.no_grad()
def float_scores(network: BinaryMlp, inputs: np.ndarray) -> np.ndarray:
    """Returns the PyTorch model's scores in eval mode: [images, classes] float32.

    `inputs`: [images, inputs] bool, uint8 or int8, as `bnn_hw.golden.prepare` gives them.
    """
    signs = inputs.dtype == np.bool_
    batches = np.array_split(inputs, max(1, len(inputs) // 1000))
    values = (np.where(batch, np.float32(1), np.float32(-1)) if signs else batch.astype(np.float32) for batch in batches)
    return np.concatenate([network.eval()(torch.from_numpy(batch)).numpy() for batch in values])


def compare(network: BinaryMlp, folded: Network, split: Split) -> Agreement:
    """Runs the trained and the folded network over the same images."""
    inputs = golden.prepare(folded, split.images)
    trained = float_scores(network, inputs).argmax(axis=1)
    integer = golden.classify(folded, inputs)
    return Agreement(
        len(inputs),
        float((trained == split.labels).mean()),
        float((integer == split.labels).mean()),
        int((trained != integer).sum()),
    )


def export_checkpoint(path: Path, test: Split | None = None) -> tuple[Network, Agreement | None]:
    """Folds a checkpoint; with `test` images, measures the folded network against the trained one on them.

    The network's provenance says how it was trained and, where it was measured, how well it does.
    """
    checkpoint = load_checkpoint(path)
    recipe = checkpoint.recipe
    trained = load_network(checkpoint)
    provenance = {
        "dataset": recipe.dataset,
        "recipe": asdict(recipe),
        "epoch": checkpoint.epoch,
        "torch": torch.__version__.split("+")[0],
    }
    input_ = Input(checkpoint.input_shape, "bit", recipe.pixel_threshold)
    folded = export_network(recipe.name, trained, input_, provenance)
    if test is None:
        return folded, None
    agreement = compare(trained, folded, test)
    measured = {
        "test_images": agreement.images,
        "test_accuracy": agreement.folded_accuracy,
        "differing_decisions": agreement.differing_decisions,
    }
    return replace(folded, provenance={**provenance, **measured}), agreement


def _batch_norm(block: BinaryBlock, name: str) -> BatchNorm:
    norm = block.normalize
    assert norm.running_mean is not None
    assert norm.running_var is not None
    batch_norm = BatchNorm(
        mean=norm.running_mean.numpy(),
        variance=norm.running_var.numpy(),
        gamma=norm.weight.detach().numpy(),
        beta=norm.bias.detach().numpy(),
        epsilon=norm.eps,
    )
    batch_norm.check(name)
    return batch_norm


def _weights(block: BinaryBlock) -> np.ndarray:
    return (block.product.weight >= 0).numpy()


def _fold_hidden(name: str, block: BinaryBlock, signal: Signal) -> Dense:
    _batch_norm(block, name)

    @torch.no_grad()
    def activation(sums: np.ndarray) -> np.ndarray:
        return block.activation(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_dense(name, _weights(block), activation, signal)


def _fold_last(name: str, block: BinaryBlock, signal: Signal) -> Scores:
    batch_norm = _batch_norm(block, name)
    bias = block.product.bias.detach().numpy().astype(np.float64)
    return fold_scores(name, _weights(block), batch_norm.slope, batch_norm(bias), signal)
