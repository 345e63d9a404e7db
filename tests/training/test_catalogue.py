# SPDX-License-Identifier: Apache-2.0
"""The papers' recipes, value by value as the authors' code has them, and the networks that they make."""

import math
from typing import Any

import pytest
import torch

from bnn_training.augment import AffineRange
from bnn_training.catalogue import RECIPES, network_name
from bnn_training.recipes import Recipe, recipe_network
from bnn_training.topology import Style, build_network, scaled_topology
from support.identities import made_up_data

# 2x128C3-P2-2x256C3-P2-2x512C3-P2-1024-1024-10, and SVHN's with half the channels.
VGG = "128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024-1024"
HALF_VGG = "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-MP2-1024-1024"

# What all recipes of the three papers have in common.
ALL: dict[str, Any] = {"augmentation": AffineRange(), "seed": 1}

THEANO: dict[str, Any] = {
    "optimizer": "adam",
    "schedule": "exponential",
    "activation": "sign",
    "stochastic_weights": False,
    "test_weights": "binary",
    "shift_batch_norm": False,
    "batch_norm_epsilon": 1e-4,
    "batch_norm_momentum": 0.1,
    "preprocessing": "pixels",
    "input_dtype": "int8",
}
TORCH7: dict[str, Any] = {
    "optimizer": "shift_adamax",
    "schedule": "halving",
    "activation": "stochastic_sign",
    "stochastic_weights": False,
    "test_weights": "binary",
    "shift_batch_norm": True,
    "batch_norm_epsilon": 1e-5,
    "batch_norm_momentum": 0.125,
    "input_dropout": 0.0,
    "hidden_dropout": 0.0,
}
BINARYCONNECT: dict[str, Any] = {
    "optimizer": "adam",
    "schedule": "exponential",
    "activation": "relu",
    "shift_batch_norm": False,
    "batch_norm_epsilon": 1e-4,
    "input_dropout": 0.0,
    "hidden_dropout": 0.0,
}
DET: dict[str, Any] = {"stochastic_weights": False, "test_weights": "binary"}
STOCH: dict[str, Any] = {"stochastic_weights": True, "test_weights": "real"}
MNIST: dict[str, Any] = {"dataset": "mnist", "validation": 10_000, "balanced_validation": False, "padding": 0}
CIFAR10: dict[str, Any] = {"dataset": "cifar10", "topology": VGG, "validation": 5_000, "balanced_validation": False, "padding": 1}
SVHN: dict[str, Any] = {"dataset": "svhn", "topology": HALF_VGG, "validation": 6_000, "balanced_validation": True, "padding": 1}
DENSE: dict[str, Any] = {"topology": "2048-2048-2048", "batch": 100, "epochs": 250}


def rates(first: float, last: float) -> dict[str, Any]:
    return {"learning_rate": first, "last_learning_rate": last}


def halved(first: float, every: int) -> dict[str, Any]:
    return {"learning_rate": first, "halve_every": every}


def size(batch: int, epochs: int) -> dict[str, Any]:
    return {"batch": batch, "epochs": epochs}


CONNECT_MNIST = {**BINARYCONNECT, **MNIST, **DENSE, **rates(1e-3, 3e-6), "batch_norm_momentum": 0.15, "preprocessing": "pixels"}
CONNECT_CIFAR10 = {**BINARYCONNECT, **CIFAR10, **size(50, 500), **rates(3e-3, 2e-6), "preprocessing": "gcn_zca"}
CONNECT_SVHN = {**BINARYCONNECT, **SVHN, "epochs": 200, "batch": 50, "schedule": "exponential", "preprocessing": "gcn_lcn"}
PAPERS: dict[str, dict[str, Any]] = {
    "mnist-bnn-theano": {
        **(THEANO | MNIST | size(100, 1000) | rates(3e-3, 3e-7)),
        "topology": "4096-4096-4096",
        "input_dropout": 0.2,
        "hidden_dropout": 0.5,
    },
    "cifar10-bnn-theano": {**THEANO, **CIFAR10, **size(50, 500), **rates(1e-3, 3e-7), "input_dropout": 0.0, "hidden_dropout": 0.0},
    "svhn-bnn-theano": {**THEANO, **SVHN, **size(50, 200), **rates(1e-3, 1e-6), "input_dropout": 0.0, "hidden_dropout": 0.0},
    "mnist-bnn-torch7": {
        **(TORCH7 | MNIST | halved(2**-6, 20)),
        "topology": "2048-2048-2048",
        "batch": 100,
        "preprocessing": "pixels",
    },
    "cifar10-bnn-torch7": {**TORCH7, **CIFAR10, **halved(2**-6, 50), "batch": 200, "preprocessing": "gcn_zca"},
    "svhn-bnn-torch7": {**TORCH7, **SVHN, **halved(2**-7, 20), "batch": 200, "preprocessing": "gcn_lcn"},
    "mnist-binaryconnect-det": {**CONNECT_MNIST, **DET},
    "mnist-binaryconnect-stoch": {**CONNECT_MNIST, **STOCH},
    "cifar10-binaryconnect-det": {**CONNECT_CIFAR10, **DET},
    "cifar10-binaryconnect-stoch": {**CONNECT_CIFAR10, **STOCH},
    "svhn-binaryconnect-det": {**CONNECT_SVHN, **DET},
    "svhn-binaryconnect-stoch": {**CONNECT_SVHN, **STOCH},
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_is_the_papers(name: str) -> None:
    recipe = RECIPES[name]
    expected = {**ALL, **PAPERS[name]}
    assert {field: getattr(recipe, field) for field in expected} == expected


def test_every_recipe_of_a_paper_is_written_out_above() -> None:
    systems = ("bnn-theano", "bnn-torch7", "binaryconnect-det", "binaryconnect-stoch")
    assert {name for name in RECIPES if name.split("-", 1)[-1] in systems} == set(PAPERS)


SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "svhn": (32, 32, 3)}
WEIGHTS = {  # counted by hand
    "mnist-tiny": 784 * 64 + 2 * 64 * 64 + 64 * 10,
    "mnist-bnn-theano": 784 * 4096 + 2 * 4096**2 + 4096 * 10,
    "mnist-paper": 784 * 4096 + 2 * 4096**2 + 4096 * 10,
    "mnist-bnn-torch7": 784 * 2048 + 2 * 2048**2 + 2048 * 10,
    "mnist-binaryconnect-det": 784 * 2048 + 2 * 2048**2 + 2048 * 10,
    "mnist-binaryconnect": 784 * 1024 + 2 * 1024**2 + 1024 * 10,
    "cifar10-bnn-torch7": 14_022_016,
    "cifar10-binaryconnect-det": 14_022_016,
    "svhn-binaryconnect-stoch": 6_397_632,
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_the_network_of_a_recipe_can_be_made(recipe: Recipe) -> None:
    with torch.device("meta"):
        network = recipe_network(recipe, SHAPES[recipe.dataset], 10)
        rows, columns, channels = SHAPES[recipe.dataset]
        assert network.train()(torch.empty(3, channels, rows, columns)).shape == (3, 10)
    count = sum(block.product.weight.numel() for block in network.stages)
    assert count == WEIGHTS.get(recipe.name, count)


@pytest.mark.parametrize(
    "name", ["mnist-paper", "cifar10-paper", "svhn-paper", "mnist-bnn-torch7-fast", "mnist-binaryconnect-det-fast"]
)
def test_fast_recipes_have_large_batches_and_few_epochs(name: str) -> None:
    slow = {"paper": "bnn-theano", "bnn-torch7-fast": "bnn-torch7", "binaryconnect-det-fast": "binaryconnect-det"}
    dataset, system = name.split("-", 1)
    fast, papers = RECIPES[name], RECIPES[f"{dataset}-{slow[system]}"]
    assert fast.schedule == "cosine"
    assert fast.batch > papers.batch
    assert fast.epochs < papers.epochs
    assert fast.validation == 0
    for field in ("topology", "activation", "optimizer", "shift_batch_norm", "padding", "input_dtype", "learning_rate"):
        assert getattr(fast, field) == getattr(papers, field)


@pytest.mark.parametrize(
    ("topology", "factor", "expected"),
    [
        ("64C3-64C3-MP2-128C3-512", 0.25, "16C3-16C3-MP2-32C3-128"),
        ("64C3-64C3-MP2-128C3-512", 2, "128C3-128C3-MP2-256C3-1024"),
        ("1024-64", 1, "1024-64"),
        ("1024-64", 0.001, "1-1"),
        ("5C11-MP3-7", 1.5, "8C11-MP3-10"),  # kernels and windows stay; 7.5 and 10.5 go to the even number
        ("", 3, ""),
    ],
)
def test_scaled_topologies(topology: str, factor: float, expected: str) -> None:
    assert scaled_topology(topology, factor) == expected


@pytest.mark.parametrize("factor", [0.01, 0.3, 1.7])
def test_a_scaled_topology_is_one(factor: float) -> None:
    for topology in (VGG, HALF_VGG, "4096-4096-4096"):
        with torch.device("meta"):
            whole, scaled = (
                build_network(text, (32, 32, 3), 10, Style(padding=1)) for text in (topology, scaled_topology(topology, factor))
            )
        for one, other in zip(whole.stages[:-1], scaled.stages[:-1], strict=True):
            outputs = len(one.product.weight)
            assert math.isclose(len(other.product.weight), outputs * factor, abs_tol=0.5)
            assert (one.pool, type(one.product)) == (other.pool, type(other.product))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("mnist", "mnist-tiny"),
        ("svhn", "mnist-tiny"),
        ("bars", "bars"),
        ("mnist-own", "mnist-own"),
        ("cifar10-paper", "cifar10-paper-own"),
    ],
)
def test_networks_for_data_of_ones_own_are_named_after_these(data: str, name: str) -> None:
    """And never as a recipe is, whose networks are published under its name."""
    assert network_name(RECIPES["mnist-tiny"], made_up_data(data, 2)) == name
