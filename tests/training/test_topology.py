# SPDX-License-Identifier: Apache-2.0
"""Topologies in the papers' notation, and the recipes: which layers they make, counted by hand."""

import re
from math import prod

import pytest
import torch

from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import Conv, MaxPool
from bnn_training.binary_layers import BinaryConv2d
from bnn_training.catalogue import RECIPES
from bnn_training.folding import export_network
from bnn_training.recipes import recipe_input, recipe_network
from bnn_training.topology import Style, build_network

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
IMAGE = (32, 32, 3)
# Outputs, then inputs of a neuron, of each layer; the images shrink 32, 30, 28, 14, 12, 10, 5, 3, 1.
CNV_WEIGHTS = [(64, 27), (64, 576), (128, 576), (128, 1152), (256, 1152), (256, 2304), (512, 256), (512, 512), (10, 512)]
CNV_SHAPES = [
    *[(30, 30, 64), (28, 28, 64), (14, 14, 64), (12, 12, 128), (10, 10, 128), (5, 5, 128)],
    *[(3, 3, 256), (1, 1, 256), (512,), (512,), (10,)],
]
# With zeros around, only the poolings shrink the images: 32, 16, 8, 4.
BNN_WEIGHTS = [(128, 27), (128, 1152), (256, 1152), (256, 2304), (512, 2304), (512, 4608), (1024, 8192), (1024, 1024), (10, 1024)]
BNN_SHAPES = [
    *[(32, 32, 128), (32, 32, 128), (16, 16, 128), (16, 16, 256), (16, 16, 256), (8, 8, 256)],
    *[(8, 8, 512), (8, 8, 512), (4, 4, 512), (1024,), (1024,), (10,)],
]
HALF_WEIGHTS = [(64, 27), (64, 576), (128, 576), (128, 1152), (256, 1152), (256, 2304), (1024, 4096), (1024, 1024), (10, 1024)]
HALF_SHAPES = [(*shape[:2], shape[2] // 2) if len(shape) == 3 else shape for shape in BNN_SHAPES]


@pytest.mark.parametrize(
    ("name", "weights", "shapes", "weight_bits"),
    [
        ("cifar10", CNV_WEIGHTS, CNV_SHAPES, 1_542_848),
        ("svhn", CNV_WEIGHTS, CNV_SHAPES, 1_542_848),
        ("cifar10-paper", BNN_WEIGHTS, BNN_SHAPES, 14_022_016),
        ("svhn-paper", HALF_WEIGHTS, HALF_SHAPES, 6_397_632),
    ],
)
def test_recipes_of_images_are_the_papers_networks(
    name: str, weights: list[tuple[int, int]], shapes: list[tuple[int, ...]], weight_bits: int
) -> None:
    recipe = RECIPES[name]
    trained = recipe_network(recipe, IMAGE, 10)
    assert [(len(b.product.weight), b.product.weight[0].numel()) for b in trained.stages] == weights
    assert all(b.product.product_dtype == torch.bfloat16 for b in trained.stages)
    network = export_network(name, trained, recipe_input(recipe, IMAGE))
    assert [step.output.shape for step in network.steps] == shapes
    assert network.weight_bits == sum(prod(pair) for pair in weights) == weight_bits
    assert (network.input.shape, network.input.dtype, network.input.pixel_threshold) == (IMAGE, "int8", None)
    padding = 1 if name.endswith("-paper") else 0
    for layer in network.layers:
        if isinstance(layer, Conv):
            assert (layer.kernel, layer.stride, layer.padding, layer.padding_value) == ((3, 3), (1, 1), (padding,) * 4, 0)
        if isinstance(layer, MaxPool):
            assert (layer.size, layer.stride) == ((2, 2), (2, 2))


def test_recipes_are_by_name_and_for_their_data() -> None:
    packaged = ["mnist-tiny", "mnist-small", "mnist", "cifar10", "svhn"]
    systems = ("bnn-theano", "bnn-torch7", "binaryconnect-det", "binaryconnect-stoch")
    papers = {f"{data}-{system}" for data in ("mnist", "cifar10", "svhn") for system in systems}
    assert list(RECIPES)[:5] == packaged
    assert papers <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.dataset == name.split("-")[0]


@pytest.mark.parametrize(("name", "widths"), [("mnist-tiny", [64] * 3), ("mnist-small", [256] * 3), ("mnist", [1024] * 3)])
def test_recipes_of_digits(name: str, widths: list[int]) -> None:
    recipe = RECIPES[name]
    trained = recipe_network(recipe, (28, 28, 1), 10)
    expected = list(zip([*widths, 10], [784, *widths], strict=True))
    assert [tuple(block.product.weight.shape) for block in trained.stages] == expected
    assert (recipe.augmentation.border, recipe.augmentation.mirror) == ("zeros", False)  # the packaged networks' own
    assert recipe_input(recipe, (28, 28, 1)).pixel_threshold == 128


def test_layers_and_order() -> None:
    network = build_network("5C3-MP3-7C1-4-6", (12, 11, 2), 3, Style(padding=1, product_dtype=torch.bfloat16))
    products = [block.product for block in network.stages]
    # 12 by 11 with 1 around it stays so, then 4 by 3; a kernel of 1 with 1 around gives 6 by 5.
    shapes = [(5, 2, 3, 3), (7, 5, 1, 1), (4, 6 * 5 * 7), (6, 4), (3, 6)]
    assert [tuple(product.weight.shape) for product in products] == shapes
    assert [block.pool for block in network.stages] == [3, 1, 1, 1, 1]
    assert [len(block.normalize.weight) for block in network.stages] == [5, 7, 4, 6, 3]
    assert all(block.normalize.epsilon == 1e-4 and block.normalize.momentum == 0.1 for block in network.stages)
    convs = [product for product in products if isinstance(product, BinaryConv2d)]
    assert [(conv.padding, conv.padding_value, conv.stride) for conv in convs] == [(1, 0, 1)] * 2
    assert all(product.product_dtype == torch.bfloat16 for product in products)
    assert network.eval()(torch.ones(2, 2, 12, 11)).shape == (2, 3)


def test_without_hidden_layers_there_are_only_scores() -> None:
    (only,) = build_network("", (2, 3, 4), 5).stages
    assert tuple(only.product.weight.shape) == (5, 24)


@pytest.mark.parametrize(
    "text",
    ["64c3", "C3", "0", "064", "64C", "64C0", "64C03", "MP", "MP1", "MP0", "M2", "64 ", "-", "64C3P1", "1e3", "6٣", "1000000"],
)
def test_a_layer_that_cannot_be_read(text: str) -> None:
    topology = f"8-{text}-8"
    shown = re.escape(repr("" if text == "-" else text))
    message = (
        f"^layer {shown} of '{re.escape(topology)}' must be like 64C3 \\(convolution\\), MP2 \\(pooling\\) or 512 \\(dense\\)$"
    )
    with pytest.raises(ArtefactError, match=message):
        build_network(topology, (9,), 2)


@pytest.mark.parametrize(
    ("topology", "shape", "padding", "message"),
    [
        ("8C3", (9,), 0, "layer 8C3 of '8C3' on 9: a convolution takes rows, columns and channels; put it before the dense layers"),
        (
            "5-8C3",
            (9, 9, 1),
            0,
            "layer 8C3 of '5-8C3' on 5: a convolution takes rows, columns and channels; put it before the dense layers",
        ),
        ("4C3-8C5", (6, 7, 1), 0, "layer 8C5 of '4C3-8C5' on 4x5x4: the kernel is larger than the image with 0 of padding"),
        ("4C9", (6, 9, 1), 1, "layer 4C9 of '4C9' on 6x9x1: the kernel is larger than the image with 1 of padding"),
        ("MP2", (8, 8, 1), 0, "layer MP2 of 'MP2' on 8x8x1: a pooling goes behind a convolution"),
        ("5-MP2", (8, 8, 1), 0, "layer MP2 of '5-MP2' on 5: a pooling goes behind a convolution"),
        ("4C3-MP2-MP2", (9, 9, 1), 0, "layer MP2 of '4C3-MP2-MP2' on 3x3x4: a pooling goes behind a convolution"),
        ("4C3-MP4", (6, 5, 1), 0, "layer MP4 of '4C3-MP4' on 4x3x4: the window is larger than the image"),
        (
            "4C3-99999",
            (1002, 12, 1),
            0,
            "layer 99999 of '4C3-99999' on 1000x10x4: a layer may have at most 1,073,741,824 weights, not 3,999,960,000",
        ),
        (
            "999999C99",
            (99, 99, 3),
            0,
            "layer 999999C99 of '999999C99' on 99x99x3: a layer may have at most 1,073,741,824 weights, not 29,402,970,597",
        ),
        ("", (1 << 20, 1 << 20, 1), 0, "the scores of '' on 1048576x1048576x1: a layer may have at most .* weights, not .*"),
    ],
)
def test_a_layer_that_does_not_fit_is_named_with_what_it_takes(
    topology: str, shape: tuple[int, ...], padding: int, message: str
) -> None:
    with torch.device("meta"), pytest.raises(ArtefactError, match=f"^{message}$"):
        build_network(topology, shape, 2, Style(padding=padding))
