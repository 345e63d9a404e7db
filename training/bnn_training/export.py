# SPDX-License-Identifier: Apache-2.0
"""Export: a trained network in eval mode becomes an integer `Network`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bnn_hw import golden
from bnn_hw.datasets import Split
from bnn_hw.fold import BatchNorm, FoldedNeurons, fold_neurons, fold_scores
from bnn_hw.network import Conv, Dense, Input, Layer, MaxPool, Network, Scores, Sums
from bnn_training.checkpoint import load_checkpoint, load_network
from bnn_training.inputs import to_tensor
from bnn_training.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from bnn_training.network import BinaryBlock, BinaryNetwork
from bnn_training.recipes import recipe_input

__all__ = ["Agreement", "compare", "export_checkpoint", "export_network", "float_scores"]

_BATCH: Final = 250


@dataclass(frozen=True)
class Agreement:
    """How a folded network stands to the trained one on the same images."""

    images: int
    float_accuracy: float  # of the PyTorch model in eval mode, 0 to 1
    folded_accuracy: float  # of the integer network, 0 to 1
    differing_decisions: int


def export_network(name: str, network: BinaryNetwork, input_: Input, provenance: Mapping[str, Any] | None = None) -> Network:
    """Folds a trained network into integers.

    Layers are named conv1, pool1, conv2, ..., fc1, fc2, ... and scores. Raises `ArtefactError` naming layer and neuron
    where a batch norm is undefined.
    """
    *hidden, last = network.eval().stages
    layers: list[Layer] = []
    dtype: str = input_.dtype
    for block in hidden:
        layers += _fold_hidden(block, dtype, layers)
        dtype = "bit"
    return Network(name, input_, (*layers, _fold_last("scores", last, dtype)), dict(provenance or {}))


@torch.no_grad()
def float_scores(network: BinaryNetwork, inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the PyTorch model's scores in eval mode: [images, classes] float32.

    `inputs`: [images, inputs] bool, uint8 or int8, as `bnn_hw.golden.prepare` gives them; `shape`: of an image.
    """
    batches = np.array_split(inputs, max(1, len(inputs) // _BATCH))
    return np.concatenate([network.eval()(to_tensor(batch, shape)).numpy() for batch in batches])


def compare(network: BinaryNetwork, folded: Network, split: Split) -> Agreement:
    """Runs the trained and the folded network over the same images."""
    inputs = golden.prepare(folded, split.images)
    trained = float_scores(network, inputs, folded.input.shape).argmax(axis=1)
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
    folded = export_network(recipe.name, trained, recipe_input(recipe, checkpoint.input_shape), provenance)
    if test is None:
        return folded, None
    agreement = compare(trained, folded, test)
    measured = {
        "test_images": agreement.images,
        "test_accuracy": agreement.folded_accuracy,
        "differing_decisions": agreement.differing_decisions,
    }
    return replace(folded, provenance={**provenance, **measured}), agreement


def _fold_hidden(block: BinaryBlock, dtype: str, before: Sequence[Layer]) -> list[Layer]:
    """Returns the layer of a block that takes `dtype`, with its pooling if it has one, named after those `before`."""
    match block.product:
        case BinaryConv2d() as product:
            conv, falling = _fold_conv(f"conv{_count(before, Conv) + 1}", block, product, dtype)
            if block.pool == 1:
                return [conv]
            size = (block.pool, block.pool)
            return [conv, MaxPool(f"pool{_count(before, MaxPool) + 1}", size, size, falling)]
        case BinaryLinear() as product:
            name = f"fc{_count(before, Dense) + 1}"
            weights = _binary_weights(product)
            neurons = _fold_neurons(name, block, weights, Sums.of(weights[0].size, dtype))
            return [Dense(name, neurons.weights, neurons.thresholds)]


def _count(layers: Sequence[Layer], kind: type[Layer]) -> int:
    return sum(isinstance(layer, kind) for layer in layers)


def _fold_conv(name: str, block: BinaryBlock, product: BinaryConv2d, dtype: str) -> tuple[Conv, np.ndarray]:
    """Returns the layer, and which of its channels' functions fall: [outputs] bool."""
    zeros = product.padding > 0 and product.padding_value == 0
    weights = _binary_weights(product).transpose(0, 2, 3, 1)  # to outputs, rows, columns, channels
    neurons = _fold_neurons(name, block, weights, Sums.of(weights[0].size, dtype, zeros=zeros))
    padding_value = product.padding_value if product.padding else 0
    conv = Conv(
        name,
        neurons.weights,
        neurons.thresholds,
        (product.stride, product.stride),
        (product.padding, product.padding, product.padding, product.padding),
        padding_value,
    )
    return conv, neurons.falling


def _fold_neurons(name: str, block: BinaryBlock, weights: np.ndarray, sums: Sums) -> FoldedNeurons:
    _batch_norm(block).check(name)

    @torch.no_grad()
    def activation(sums: np.ndarray) -> np.ndarray:
        return block.activation(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_neurons(name, weights, activation, sums)


def _fold_last(name: str, block: BinaryBlock, dtype: str) -> Scores:
    batch_norm = _batch_norm(block)
    batch_norm.check(name)
    weights = _binary_weights(block.product)
    bias = block.product.bias.detach().numpy().astype(np.float64)
    return fold_scores(name, weights, batch_norm.slope, batch_norm(bias), Sums.of(weights[0].size, dtype))


def _batch_norm(block: BinaryBlock) -> BatchNorm:
    norm = block.normalize
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return BatchNorm(
        mean=norm.running_mean.numpy(),
        variance=norm.running_var.numpy(),
        gamma=norm.weight.detach().numpy(),
        beta=norm.bias.detach().numpy(),
        epsilon=norm.eps,
    )


def _binary_weights(product: BinaryLayer) -> np.ndarray:
    """Returns which weights are +1: [outputs, inputs, ...] bool."""
    return (product.weight >= 0).numpy()
