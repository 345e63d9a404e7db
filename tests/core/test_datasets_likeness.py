# SPDX-License-Identifier: Apache-2.0
"""Images that are like those of the training, of which nothing is said, and those that are not."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.datasets import Split, load_dataset, open_dataset
from bnn_hw.datasets.likeness import unlike
from bnn_hw.datasets.of_network import unlike_training
from bnn_hw.datasets.pixels import PixelStatistics
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import ArtefactError
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network.network import Network
from support.cocotb_run import fresh_seed

ROUND = r"the images are the other way round: the mean at their borders is "
MNIST, CIFAR10 = "mnist-tiny", "cifar10"


def _trained(name: str) -> PixelStatistics:
    trained = trained_on(packaged_network(name))
    assert trained is not None
    return trained.pixels


def _test(name: str) -> Split:
    """Returns the whole test set where BNN_HW_DATA holds it, else the packaged part."""
    trained, packaged = trained_on(packaged_network(name)), packaged_test_images(packaged_network(name))
    assert trained is not None
    assert packaged is not None
    try:
        return load_dataset(trained.name, Path(os.environ["BNN_HW_DATA"]), Path()).test
    except (KeyError, ArtefactError):
        return packaged


@pytest.mark.parametrize("name", [MNIST, CIFAR10])
def test_no_false_alarm(name: str) -> None:
    """Each test image alone, batches at random, and batches of a class."""
    trained, test, rng = _trained(name), _test(name), np.random.default_rng(fresh_seed())
    batches = [test.images[index : index + 1] for index in range(len(test.images))]
    for count, tries in ((10, 300), (1000, 10)):
        batches += [test.images[rng.choice(len(test.images), min(count, len(test.images)), replace=False)] for _ in range(tries)]
    batches += [test.images[test.labels == label] for label in range(10) if label in test.labels]
    alarms = [(len(batch), found) for batch in batches if (found := unlike(trained, batch))]
    assert not alarms, f"{len(alarms)} of {len(batches)}: {alarms[0]}"


@pytest.mark.parametrize("count", [1, 10, 1000])
@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        (MNIST, lambda pixels: 255 - pixels, ROUND + r"\d+, in the training it was 0; 255 - images helps$"),
        (MNIST, lambda pixels: 200 - pixels // 2, ROUND),  # a photograph of black on grey
        (MNIST, lambda pixels: (pixels > 127).astype(np.uint8), r"the images' values reach to 1, .* 255: .* images \* 255 helps$"),
        (
            MNIST,
            lambda pixels: pixels // 16,
            r"the images' values reach to 1\d, .*: if they are of fewer bits, images \* 17 helps$",
        ),
        (MNIST, lambda pixels: pixels // 8, r"the images' values reach to \d\d, .* images \* 8 helps$"),
        (MNIST, lambda pixels: pixels // 2 + 120, r"the images' mean is 1\d\d, that of the training 33, with a deviation of 11 "),
        (CIFAR10, lambda pixels: (pixels > 127).astype(np.uint8), r"the images' values reach to 1, .* images \* 255 helps$"),
        (CIFAR10, lambda pixels: pixels // 16, r"the images' values reach to \d+, .* images \* 17 helps$"),
    ],
    ids=["negative", "photograph", "mask", "4 bits", "5 bits", "bright", "mask in colour", "4 bits in colour"],
)
def test_images_prepared_otherwise(name: str, change, found: str, count: int) -> None:  # type: ignore[no-untyped-def]
    trained, test, rng = _trained(name), _test(name), np.random.default_rng(fresh_seed())
    images = test.images[(test.images.reshape(len(test.images), -1).max(axis=1) > 200)]
    batch = change(images[rng.choice(len(images), min(count, len(images)), replace=False)])
    assert re.match(found, str(unlike(trained, batch)))


def test_more_bits_than_in_the_training() -> None:
    digits = np.random.default_rng(1).integers(0, 17, (50, 8, 8, 1), np.uint8)
    trained = PixelStatistics.of(digits)
    assert unlike(trained, digits[:1]) is None
    assert unlike(trained, digits * 15) == (
        "the images' values reach to 240, those of the training to 16: if that was of fewer bits, images // 8 helps"
    )


def test_images_of_one_kind_have_little_deviation() -> None:
    """Training images whose means are nearly the same leave room for others."""
    images = np.full((20, 6, 6, 1), 100, np.uint8)
    images[:, 2:4] = 200
    trained = PixelStatistics.of(images)
    assert trained.image_deviation == 0
    assert unlike(trained, images + np.uint8(5)) is None
    assert unlike(trained, images - np.uint8(90)) is not None
    assert unlike(trained, images[:0]) is None
    assert unlike(trained, images * 0) is not None


@pytest.mark.parametrize("name", ["mnist-tiny", "mnist-binaryconnect", "cifar10"])
def test_images_in_any_form_that_a_network_takes(name: str) -> None:
    network, packaged = packaged_network(name), packaged_test_images(packaged_network(name))
    assert packaged is not None
    dark = packaged.images // 16
    for images in (packaged.images, packaged.images[0], packaged.images.reshape(len(packaged.images), -1)):
        assert unlike_training(network, images) is None
        assert str(unlike_training(network, images // 16)).endswith("images * 17 helps")
    if network.input.dtype == "int8":
        assert unlike_training(network, (packaged.images ^ 0x80).view(np.int8)) is None
        assert unlike_training(network, (dark ^ 0x80).view(np.int8)) == unlike_training(network, dark)
    if network.input.dtype == "bit":
        assert unlike_training(network, dark > 7) is None
    assert unlike_training(Network(network.name, network.input, network.layers), dark) is None


def test_few_images_are_looked_at_one_by_one() -> None:
    network, packaged = packaged_network(MNIST), packaged_test_images(packaged_network(MNIST))
    assert packaged is not None
    images = packaged.images[:20].copy()
    assert unlike_training(network, images) is None
    images[7] = 255 - images[7]
    assert re.match(f"image 7 is unlike the others: {ROUND}255", str(unlike_training(network, images)))


def test_test_images_unlike_those_that_train_are_noted(tmp_path: Path) -> None:
    images, labels = np.zeros((20, 6, 6), np.uint8), np.arange(20) % 2
    images[:, 2:4, 2:4] = 255
    arrays = {"train_images": images, "train_labels": labels, "test_images": 255 - images, "test_labels": labels}
    np.savez(tmp_path / "turned.npz", **arrays)
    notes = open_dataset("mnist", tmp_path / "turned.npz", tmp_path).notes
    assert notes[-1] == f"test images: {ROUND}255, in the training it was 0; 255 - images helps"
    np.savez(tmp_path / "right.npz", **arrays | {"test_images": images})
    assert open_dataset("mnist", tmp_path / "right.npz", tmp_path).notes == notes[:-1]
