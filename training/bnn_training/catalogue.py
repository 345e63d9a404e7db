# SPDX-License-Identifier: Apache-2.0
"""The recipes by name: those of the packaged models, and the papers' experiments."""

from dataclasses import replace
from typing import Final

from bnn_hw.datasets import DATASETS, DataIdentity
from bnn_training.augment import AffineRange
from bnn_training.recipes import Recipe

__all__ = ["RECIPES", "network_name"]

_AFFINE_SMALL: Final = AffineRange(5, 0.05, 0.05, 1, border="zeros")
_AFFINE: Final = AffineRange(10, 0.1, 0.1, 1.5, border="zeros")
_CIFAR10_SHIFT: Final = AffineRange(shift_pixels=3, whole_pixels=True, mirror=True)

_CNV: Final = "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-512-512"
"""Umuroglu et al. 2017, FINN."""

_VGG: Final = "128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024-1024"
"""CIFAR-10's network of BinaryConnect and BNN (Courbariaux et al. 2015, equation 5)."""

_HALF_VGG: Final = "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-MP2-1024-1024"
"""SVHN's network of both papers, with half the channels."""

_PACKAGED: Final = (
    Recipe("mnist-tiny", "mnist", "64-64-64", epochs=200, augmentation=AffineRange(shift_pixels=1, border="zeros")),
    Recipe("mnist-small", "mnist", "256-256-256", epochs=300, augmentation=_AFFINE_SMALL),
    Recipe("mnist", "mnist", "1024-1024-1024", epochs=150, batch=200, augmentation=_AFFINE),
    Recipe("cifar10", "cifar10", _CNV, epochs=70, input_dtype="int8", augmentation=_CIFAR10_SHIFT),
    Recipe("svhn", "svhn", _CNV, epochs=40, input_dtype="int8"),
)

MNIST_BNN_THEANO: Final = Recipe(
    "mnist-bnn-theano",
    "mnist",
    "4096-4096-4096",
    epochs=1000,
    learning_rate=3e-3,
    schedule="exponential",
    last_learning_rate=3e-7,
    input_dropout=0.2,
    hidden_dropout=0.5,
    input_dtype="int8",
    validation=10_000,
)
"""Hubara et al. 2016, table 1, "BNN (Theano)", MNIST: 0.96 %; the authors' code Train-time/mnist.py.

Inputs of the code are 2x - 1 of pixels x in 0..1; here pixels - 128, the same but for a factor, which batch norm takes out,
and for half a pixel step."""

CIFAR10_BNN_THEANO: Final = Recipe(
    "cifar10-bnn-theano",
    "cifar10",
    _VGG,
    epochs=500,
    batch=50,
    schedule="exponential",
    last_learning_rate=3e-7,
    input_dtype="int8",
    padding=1,
    validation=5_000,
)
"""Hubara et al. 2016, table 1, "BNN (Theano)", CIFAR-10: 11.40 %; the authors' code Train-time/cifar10.py."""

SVHN_BNN_THEANO: Final = replace(
    CIFAR10_BNN_THEANO,
    name="svhn-bnn-theano",
    dataset="svhn",
    topology=_HALF_VGG,
    epochs=200,
    last_learning_rate=1e-6,
    validation=6_000,
    balanced_validation=True,
)
"""Hubara et al. 2016, table 1, "BNN (Theano)", SVHN: 2.80 %; the authors' code Train-time/svhn.py."""

MNIST_BNN_TORCH7: Final = Recipe(
    "mnist-bnn-torch7",
    "mnist",
    "2048-2048-2048",
    epochs=200,
    optimizer="shift_adamax",
    learning_rate=2**-6,
    schedule="halving",
    halve_every=20,
    activation="stochastic_sign",
    shift_batch_norm=True,
    batch_norm_epsilon=1e-5,
    batch_norm_momentum=0.125,
    input_dtype="int8",
    validation=10_000,
)
"""Hubara et al. 2016, table 1, "BNN (Torch7)", MNIST: 1.40 %; the authors' Torch7 code, which trains until it is stopped.

Its batch norm classifies test images by the statistics of their own batch, which no hardware can; here by the running ones. It
scales the learning rate of biases and of batch norm's factor too, which is not done here."""

CIFAR10_BNN_TORCH7: Final = replace(
    MNIST_BNN_TORCH7,
    name="cifar10-bnn-torch7",
    dataset="cifar10",
    topology=_VGG,
    epochs=500,
    batch=200,
    halve_every=50,
    preprocessing="gcn_zca",
    padding=1,
    validation=5_000,
)
"""Hubara et al. 2016, table 1, "BNN (Torch7)", CIFAR-10: 10.15 %; the authors' Torch7 code."""

SVHN_BNN_TORCH7: Final = replace(
    CIFAR10_BNN_TORCH7,
    name="svhn-bnn-torch7",
    dataset="svhn",
    topology=_HALF_VGG,
    epochs=200,
    learning_rate=2**-7,
    halve_every=20,
    preprocessing="gcn_lcn",
    validation=6_000,
    balanced_validation=True,
)
"""Hubara et al. 2016, table 1, "BNN (Torch7)", SVHN: 2.53 %; the authors' Torch7 code."""

MNIST_BINARYCONNECT_DET: Final = Recipe(
    "mnist-binaryconnect-det",
    "mnist",
    "2048-2048-2048",
    epochs=250,
    schedule="exponential",
    last_learning_rate=3e-6,
    activation="relu",
    batch_norm_momentum=0.15,
    input_dtype="uint8",
    validation=10_000,
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (det.)", MNIST: 1.29 %; the authors' code mnist.py.

The paper has 1,024 units a layer, the code 2,048. Test images meet binary weights (method 1 of section 2.6)."""

MNIST_BINARYCONNECT_STOCH: Final = replace(
    MNIST_BINARYCONNECT_DET, name="mnist-binaryconnect-stoch", stochastic_weights=True, test_weights="real"
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (stoch.)", MNIST: 1.18 %; the authors' code mnist.py.

Test images meet the real weights (method 2 of section 2.6); the network that is exported has their signs."""

CIFAR10_BINARYCONNECT_DET: Final = Recipe(
    "cifar10-binaryconnect-det",
    "cifar10",
    _VGG,
    epochs=500,
    batch=50,
    learning_rate=3e-3,
    schedule="exponential",
    last_learning_rate=2e-6,
    activation="relu",
    preprocessing="gcn_zca",
    padding=1,
    validation=5_000,
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (det.)", CIFAR-10: 9.90 %; the authors' code cifar10.py."""

CIFAR10_BINARYCONNECT_STOCH: Final = replace(
    CIFAR10_BINARYCONNECT_DET, name="cifar10-binaryconnect-stoch", stochastic_weights=True, test_weights="real"
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (stoch.)", CIFAR-10: 8.27 %; the authors' code cifar10.py."""

SVHN_BINARYCONNECT_DET: Final = replace(
    CIFAR10_BINARYCONNECT_DET,
    name="svhn-binaryconnect-det",
    dataset="svhn",
    topology=_HALF_VGG,
    epochs=200,
    learning_rate=1e-2,
    last_learning_rate=3e-6,
    preprocessing="gcn_lcn",
    validation=6_000,
    balanced_validation=True,
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (det.)", SVHN: 2.30 %; the authors' code svhn.py."""

SVHN_BINARYCONNECT_STOCH: Final = replace(
    SVHN_BINARYCONNECT_DET, name="svhn-binaryconnect-stoch", stochastic_weights=True, test_weights="real"
)
"""Courbariaux et al. 2015, table 2, "BinaryConnect (stoch.)", SVHN: 2.15 %; the authors' code svhn.py."""

_PAPERS: Final = (
    MNIST_BNN_THEANO,
    CIFAR10_BNN_THEANO,
    SVHN_BNN_THEANO,
    MNIST_BNN_TORCH7,
    CIFAR10_BNN_TORCH7,
    SVHN_BNN_TORCH7,
    MNIST_BINARYCONNECT_DET,
    MNIST_BINARYCONNECT_STOCH,
    CIFAR10_BINARYCONNECT_DET,
    CIFAR10_BINARYCONNECT_STOCH,
    SVHN_BINARYCONNECT_DET,
    SVHN_BINARYCONNECT_STOCH,
)


def _fast(recipe: Recipe, name: str, epochs: int, batch: int, **changes: object) -> Recipe:
    """Returns a recipe with large batches and a cosine decay, whose last epoch is the result of all training images."""
    return replace(recipe, name=name, epochs=epochs, batch=batch, schedule="cosine", validation=0, **changes)  # type: ignore[arg-type]


MNIST_PAPER: Final = _fast(
    MNIST_BNN_THEANO, "mnist-paper", epochs=40, batch=250, input_dropout=0.0, hidden_dropout=0.0, augmentation=_AFFINE
)
"""The network of `MNIST_BNN_THEANO` in 1/25 of its epochs, with small affine maps instead of dropout."""

MNIST_BINARYCONNECT: Final = _fast(
    MNIST_BINARYCONNECT_DET,
    "mnist-binaryconnect",
    epochs=40,
    batch=200,
    topology="1024-1024-1024",
    augmentation=_AFFINE_SMALL,
)
"""The packaged network of BinaryConnect, with the paper's 1,024 units a layer."""

MNIST_BINARYCONNECT_STOCH_AUGMENTED: Final = replace(
    MNIST_BINARYCONNECT, name="mnist-binaryconnect-stoch-augmented", stochastic_weights=True, test_weights="real"
)
"""The same, stochastic, and tested with real weights."""

_FAST: Final = (
    MNIST_PAPER,
    MNIST_BINARYCONNECT,
    MNIST_BINARYCONNECT_STOCH_AUGMENTED,
    _fast(CIFAR10_BNN_THEANO, "cifar10-paper", epochs=250, batch=100, augmentation=_CIFAR10_SHIFT),
    _fast(SVHN_BNN_THEANO, "svhn-paper", epochs=60, batch=200),
    _fast(MNIST_BNN_TORCH7, "mnist-bnn-torch7-fast", epochs=30, batch=200),
    _fast(MNIST_BINARYCONNECT_DET, "mnist-binaryconnect-det-fast", epochs=40, batch=200),
    _fast(MNIST_BINARYCONNECT_STOCH, "mnist-binaryconnect-stoch-fast", epochs=40, batch=200),
)

RECIPES: Final = {recipe.name: recipe for recipe in (*_PACKAGED, *_PAPERS, *_FAST)}


def network_name(recipe: Recipe, data: DataIdentity) -> str:
    """Returns the name of the network that a recipe makes of data: a published data set's is the recipe's, else the data's.

    A network for data of one's own so never has the name of a packaged one, or of any recipe.
    """
    if data.name in DATASETS:
        return recipe.name
    return f"{data.name}-own" if data.name in RECIPES else data.name
