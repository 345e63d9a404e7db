# SPDX-License-Identifier: Apache-2.0
"""Export: a trained network in eval mode becomes an integer `Network`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_hw.datasets.provenance import DATA
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.batch_norm import BatchNorm
from bnn_hw.network.fold import FoldedNeurons, fold_neurons, fold_relu, fold_scores
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, Layer, MaxPool, Network, Scores, Sums, layer_sums
from bnn_training.binary_layers import BinaryConv2d, BinaryLayer, BinaryLinear
from bnn_training.checkpoint import load_checkpoint, load_network
from bnn_training.images import divided_images
from bnn_training.inputs import to_tensor
from bnn_training.model import BinaryBlock, BinaryNetwork
from bnn_training.normalization import ShiftBatchNorm
from bnn_training.recipes import Recipe, recipe_input
from bnn_training.trainer import accuracy

__all__ = [
    "Agreement",
    "Ties",
    "compare",
    "export_checkpoint",
    "export_network",
    "float_scores",
    "folding_obstacle",
    "near_ties",
    "test_accuracy",
]

Ties: TypeAlias = Literal["torch", "exact"]
"""What decides at sums within rounding of a threshold: PyTorch's floats on this machine, or the real function of the parameters."""

_BATCH: Final = 250
_RELU_DEVIATIONS: Final = 4  # 8 bits hold a batch norm's outputs up to this many deviations above the mean


@dataclass(frozen=True)
class Agreement:
    """How a folded network compares with the trained one on the same images."""

    images: int
    float_accuracy: float  # of the PyTorch model in eval mode, 0 to 1
    folded_accuracy: float  # of the integer network, 0 to 1
    differing_decisions: int
    real_weights_accuracy: float | None = None  # of the PyTorch model with its real-valued weights, where the recipe tests these


def folding_obstacle(recipe: Recipe) -> str | None:
    """Returns why the network of a recipe does not fold into integers, or None where it does."""
    if recipe.preprocessing != "pixels":
        return (
            f"preprocessing {recipe.preprocessing} makes real numbers of sums over the image, which no input on chip holds; "
            "train with preprocessing pixels"
        )
    if recipe.activation == "relu" and "C" in recipe.topology:
        return "convolutions with 8-bit activations have no layer in hardware; fully connected ones do"
    return None


def export_network(
    name: str, network: BinaryNetwork, input_: Input, provenance: Mapping[str, Any] | None = None, ties: Ties = "torch"
) -> Network:
    """Folds a trained network into integers.

    Layers are named conv1, pool1, conv2, ..., fc1, fc2, ... and scores. A ReLU's outputs become 8-bit integers, in steps
    that are the same throughout a layer; the greatest is 4 deviations above the mean of the layer's widest neuron.
    Raises `ArtefactError` naming layer and neuron where a batch norm is undefined.
    """
    *hidden, last = network.eval().stages
    layers: list[Layer] = []
    dtype, step = str(input_.dtype), 1.0  # of the values between layers: an integer counts steps of this size
    for block in hidden:
        if network.activation == "relu":
            layer, step = _fold_relu(f"fc{len(layers) + 1}", block, dtype, step)
            layers.append(layer)
            dtype = "uint8"
        else:
            layers += _fold_hidden(block, dtype, layers, ties)
            dtype = "bit"
    return Network(name, input_, (*layers, _fold_last("scores", last, dtype, step)), dict(provenance or {}))


def near_ties(network: BinaryNetwork, folded: Network) -> int:
    """Returns how many pairs of a neuron and one of its possible sums lie within an ulp of the neuron's threshold.

    `folded`: the network's export. `bnn_hw.network.batch_norm` says which ulp; layers without thresholds have none.
    """
    steps = [step for step in folded.steps if not isinstance(step.layer, MaxPool)]  # one for each block
    return sum(
        _batch_norm(block).near_ties(layer_sums(step.layer, step.input))
        for block, step in zip(network.stages, steps, strict=True)
        if isinstance(step.layer, Dense | Conv)
    )


@torch.no_grad()
def float_scores(network: BinaryNetwork, inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the PyTorch model's scores in eval mode: [images, classes] float32.

    `inputs`: [images, inputs] bool, uint8 or int8, as `bnn_hw.network.golden.prepare` gives them; `shape`: of an image.
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


def export_checkpoint(
    path: str | os.PathLike[str], test: Split | None = None, *, name: str | None = None, ties: Ties = "torch"
) -> tuple[Network, Agreement | None]:
    """Folds a checkpoint; with `test` images, measures the folded network against the trained one on them.

    `name`: the network's, instead of the one that the training gave it. The network's provenance says how it was trained, what
    decided ties (`ties`) and how many there may be (`near_ties`), and its measured accuracy, if any. Raises
    `ArtefactError` for a network that does not fold, with the reason.
    """
    path = Path(path)
    checkpoint = load_checkpoint(path)
    recipe = checkpoint.recipe
    obstacle = folding_obstacle(recipe)
    if obstacle is not None:
        raise ArtefactError(f"{path}: {obstacle}")
    trained = load_network(checkpoint)
    trained.set_test_weights("binary")
    provenance = {
        DATA: checkpoint.data.as_json(),
        "recipe": asdict(recipe),
        "epoch": checkpoint.epoch,
        "torch": torch.__version__.split("+")[0],
        "ties": ties,
    }
    folded = export_network(name or checkpoint.name, trained, recipe_input(recipe, checkpoint.input_shape), ties=ties)
    provenance["near_ties"] = near_ties(trained, folded)
    if test is None:
        return replace(folded, provenance=provenance), None
    agreement = compare(trained, folded, test)
    if recipe.test_weights == "real":
        trained.set_test_weights("real")
        agreement = replace(agreement, real_weights_accuracy=compare(trained, folded, test).float_accuracy)
    measured = {
        "test_images": agreement.images,
        "test_accuracy": agreement.folded_accuracy,
        "differing_decisions": agreement.differing_decisions,
    }
    return replace(folded, provenance={**provenance, **measured}), agreement


def test_accuracy(path: str | os.PathLike[str], dataset: Dataset, device: torch.device) -> float:
    """Returns the share of a data set's test images that a checkpoint's PyTorch model classifies correctly, 0 to 1."""
    path = Path(path)
    checkpoint = load_checkpoint(path)
    recipe = checkpoint.recipe
    _, _, test = divided_images(dataset, recipe, device)
    input_ = recipe_input(recipe, checkpoint.input_shape) if recipe.preprocessing == "pixels" else None
    return accuracy(load_network(checkpoint).to(device), test, input_)


def _fold_relu(name: str, block: BinaryBlock, dtype: str, step: float) -> tuple[DenseRelu, float]:
    """Returns the layer of a block with a ReLU that takes integers of `step`, and the step of its output integers."""
    assert isinstance(block.product, BinaryLinear)
    slope, intercept = _line(name, block)
    norm = block.normalize
    next_step = float((norm.bias + _RELU_DEVIATIONS * norm.weight.abs()).detach().max().clamp_min(1e-6)) / 255
    weights = _binary_weights(block.product)
    folded = fold_relu(name, weights, slope * step / next_step, intercept / next_step, Sums.of(weights.shape[1], dtype))
    return folded, next_step


def _fold_hidden(block: BinaryBlock, dtype: str, before: Sequence[Layer], ties: Ties) -> list[Layer]:
    """Returns the layer of a block that takes `dtype`, with its pooling if it has one, named after those `before`."""
    match block.product:
        case BinaryConv2d() as product:
            conv, falling = _fold_conv(f"conv{_count(before, Conv) + 1}", block, product, dtype, ties)
            if block.pool == 1:
                return [conv]
            size = (block.pool, block.pool)
            return [conv, MaxPool(f"pool{_count(before, MaxPool) + 1}", size, size, falling)]
        case BinaryLinear() as product:
            name = f"fc{_count(before, Dense) + 1}"
            weights = _binary_weights(product)
            neurons = _fold_neurons(name, block, weights, Sums.of(weights[0].size, dtype), ties)
            return [Dense(name, neurons.weights, neurons.thresholds)]


def _count(layers: Sequence[Layer], kind: type[Layer]) -> int:
    return sum(isinstance(layer, kind) for layer in layers)


def _fold_conv(name: str, block: BinaryBlock, product: BinaryConv2d, dtype: str, ties: Ties) -> tuple[Conv, np.ndarray]:
    """Returns the layer, and which of its channels' functions fall: [outputs] bool."""
    zeros = product.padding > 0 and product.padding_value == 0
    weights = _binary_weights(product).transpose(0, 2, 3, 1)  # to outputs, rows, columns, channels
    neurons = _fold_neurons(name, block, weights, Sums.of(weights[0].size, dtype, zeros=zeros), ties)
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


def _fold_neurons(name: str, block: BinaryBlock, weights: np.ndarray, sums: Sums, ties: Ties) -> FoldedNeurons:
    norm = _batch_norm(block)
    norm.check(name)
    if ties == "exact":
        return fold_neurons(name, weights, norm.exact(), sums)

    @torch.no_grad()
    def activation(sums: np.ndarray) -> np.ndarray:
        return block.normalized(torch.from_numpy(sums.astype(np.float32))).numpy()

    return fold_neurons(name, weights, activation, sums)


def _fold_last(name: str, block: BinaryBlock, dtype: str, step: float) -> Scores:
    slope, intercept = _line(name, block)
    weights = _binary_weights(block.product)
    return fold_scores(name, weights, slope * step, intercept, Sums.of(weights[0].size, dtype))


def _line(name: str, block: BinaryBlock) -> tuple[np.ndarray, np.ndarray]:
    """Returns slope and intercept of a block's function of its sums: [outputs] float64 each."""
    _batch_norm(block).check(name)
    norm = block.normalize
    values = (norm.slope, block.product.bias, norm.running_mean, norm.bias)
    slope, bias, mean, offset = (value.detach().numpy().astype(np.float64) for value in values)
    return slope, (bias - mean) * slope + offset


def _batch_norm(block: BinaryBlock) -> BatchNorm:
    norm = block.normalize
    return BatchNorm(
        bias=block.product.bias.detach().numpy(),
        mean=norm.running_mean.numpy(),
        variance=norm.running_var.numpy(),
        gamma=norm.weight.detach().numpy(),
        beta=norm.bias.detach().numpy(),
        epsilon=norm.epsilon,
        slope=norm.slope.detach().numpy() if isinstance(norm, ShiftBatchNorm) else None,
    )


def _binary_weights(product: BinaryLayer) -> np.ndarray:
    """Returns which weights are +1: [outputs, inputs, ...] bool."""
    return (product.weight >= 0).numpy()
