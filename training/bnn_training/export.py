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
from bnn_hw.fold import BatchNorm, FoldedNeurons, fold_neurons, fold_scores
from bnn_hw.network import Conv, Dense, Input, Layer, MaxPool, Network, Scores, Sums
from bnn_training.checkpoint import load_checkpoint, load_network
from bnn_training.layers import BinaryConv2d
from bnn_training.network import BinaryBlock, BinaryNetwork

__all__ = ["Agreement", "compare", "export_checkpoint", "export_network", "float_scores", "to_tensor"]


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
    network = network.eval()
    *hidden, last = network.stages
    layers: list[Layer] = []
    counts = dict.fromkeys(("conv", "pool", "fc"), 0)

    def numbered(kind: str) -> str:
        counts[kind] += 1
        return f"{kind}{counts[kind]}"

    dtype: str = input_.dtype
    for block in hidden:
        if isinstance(block.product, BinaryConv2d):
            conv, falling = _fold_conv(numbered("conv"), block, block.product, dtype)
            layers.append(conv)
            if block.pool > 1:
                layers.append(MaxPool(numbered("pool"), (block.pool, block.pool), (block.pool, block.pool), falling))
        else:
            neurons = _fold_neurons(layer_name := numbered("fc"), block, _weights(block), dtype, zeros=False)
            layers.append(Dense(layer_name, neurons.weights, neurons.thresholds))
        dtype = "bit"
    layers.append(_fold_last("scores", last, dtype))
    return Network(name, input_, tuple(layers), dict(provenance or {}))


@torch.no_grad()
def float_scores(network: BinaryNetwork, inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the PyTorch model's scores in eval mode: [images, classes] float32.

    `inputs`: [images, inputs] bool, uint8 or int8, as `bnn_hw.golden.prepare` gives them; `shape`: of an image.
    """
    batches = np.array_split(inputs, max(1, len(inputs) // 500))
    return np.concatenate([network.eval()(to_tensor(batch, shape)).numpy() for batch in batches])


def to_tensor(inputs: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Returns inputs as a network takes them: [images, features] or [images, channels, rows, columns] float32.

    `inputs`: [images, inputs] bool, uint8 or int8; `shape`: of an image, (features,) or (rows, columns, channels).
    """
    values = np.where(inputs, np.float32(1), np.float32(-1)) if inputs.dtype == np.bool_ else inputs.astype(np.float32)
    images = torch.from_numpy(values.reshape(len(inputs), *shape))
    return images.permute(0, 3, 1, 2) if len(shape) == 3 else images


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
    input_ = Input(checkpoint.input_shape, recipe.input_dtype, recipe.pixel_threshold if recipe.input_dtype == "bit" else None)
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


def _fold_conv(name: str, block: BinaryBlock, product: BinaryConv2d, dtype: str) -> tuple[Conv, np.ndarray]:
    """Returns the layer, and which of its channels' functions fall: [outputs] bool."""
    zeros = product.padding > 0 and product.padding_value == 0
    weights = _weights(block).transpose(0, 2, 3, 1)  # to outputs, rows, columns, channels
    neurons = _fold_neurons(name, block, weights, dtype, zeros=zeros)
    above, below, left, right = (product.padding,) * 4
    stride, value = (product.stride, product.stride), product.padding_value if product.padding else 0
    return Conv(name, neurons.weights, neurons.thresholds, stride, (above, below, left, right), value), neurons.falling


def _fold_neurons(name: str, block: BinaryBlock, weights: np.ndarray, dtype: str, *, zeros: bool) -> FoldedNeurons:
    _batch_norm(block, name)

    @torch.no_grad()
    def activation(sums: np.ndarray) -> np.ndarray:
        return block.activation(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_neurons(name, weights, activation, Sums.of(weights[0].size, dtype, zeros=zeros))


def _fold_last(name: str, block: BinaryBlock, dtype: str) -> Scores:
    batch_norm = _batch_norm(block, name)
    weights = _weights(block)
    bias = block.product.bias.detach().numpy().astype(np.float64)
    return fold_scores(name, weights, batch_norm.slope, batch_norm(bias), Sums.of(weights[0].size, dtype))
