# SPDX-License-Identifier: Apache-2.0
"""A network and data: the data set that goes with it, and whether images are like those that it was trained on."""

import os
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.datasets import DATASETS, Split
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.datasets.likeness import unlike
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import ArtefactError
from bnn_hw.network.decisions import SHOWN_IMAGES
from bnn_hw.network.images import as_batch
from bnn_hw.network.network import Network

__all__ = ["NOT_ITS_DATA", "identified_test_images", "network_test_images", "unlike_training"]

NOT_ITS_DATA: Final = "these are not the very data that the network was trained on"


def network_test_images(network: Network, data: ChosenData, cache: str | os.PathLike[str]) -> Split:
    """Returns the test images of the data set that the user chose, or else of the published one of the network's training.

    They are of the network's shape. Raises `ArtefactError` also where they cannot be, and where neither the user nor the
    network says which data set it is.
    """
    cache = Path(cache)
    name, data = _named(network, data)
    return _fitting(network, data.open_test(name, cache))


def identified_test_images(network: Network, data: ChosenData, cache: str | os.PathLike[str]) -> tuple[Split, bool]:
    """Returns the same as `network_test_images`, and whether the network was trained on exactly these data, under any name.

    Only then is the accuracy meaningful. The training images are read too, because they are part of the identity;
    classes that the user does not name are named and ordered as in the training if possible.
    """
    cache = Path(cache)
    name, data = _named(network, data)
    dataset, trained = data.open(name, cache), trained_on(network)
    if trained is not None and not data.classes and not name and dataset.class_names != trained.class_names:
        with suppress(ArtefactError):  # where they are of other classes
            dataset = replace(data, classes=trained.class_names).open(name, cache)
    return _fitting(network, dataset.test), trained is not None and trained.sha256 == dataset.sha256


def unlike_training(network: Network, images: np.ndarray) -> str | None:
    """Returns how images, as `bnn_hw.network.images.as_batch` takes them, differ strongly from the network's training images.

    Images few enough to be shown one by one are also checked one by one. None if they do not differ, if this is not known,
    and for bits.
    """
    trained, (batch, _) = trained_on(network), as_batch(images, network.input)
    if trained is None or batch.dtype == np.bool_:
        return None
    shape = network.input.shape if len(network.input.shape) == 3 else (1, network.input.signal.size, 1)
    pixels = ((batch.view(np.uint8) ^ 0x80) if batch.dtype == np.int8 else batch).reshape(len(batch), *shape)
    together = unlike(trained.pixels, pixels)
    if together or len(pixels) > SHOWN_IMAGES:
        return together
    alone = (unlike(trained.pixels, image[None]) for image in pixels)
    return next((f"image {index} is unlike the others: {found}" for index, found in enumerate(alone) if found), None)


def _named(network: Network, data: ChosenData) -> tuple[str, ChosenData]:
    """Returns the name of the published data set that is meant, none for data of one's own, and what the user chose.

    For a network trained on data of one's own, the data that the user names are data of one's own too.
    """
    trained = trained_on(network)
    own = trained is not None and trained.name not in DATASETS
    if own and data.asked_for:
        data = replace(data, own=True)
    if data.is_own:
        return "", data
    if trained is None:
        raise ArtefactError(f"{network.name} does not say which data it was trained on; name your own with --data")
    if own:
        way_out = f"none of {', '.join(DATASETS)}; name its folder or file with --data"
        raise ArtefactError(f"{network.name} was trained on {trained.name}, which is {way_out}")
    return trained.name, data


def _fitting(network: Network, split: Split) -> Split:
    """Returns a split whose images are of the network's shape, flattened where that is."""
    shape, found = network.input.shape, split.images.shape[1:]
    if found != shape and (len(shape) > 1 or prod(found) != prod(shape)):
        texts = ["x".join(map(str, each)) for each in (found, shape)]
        raise ArtefactError(f"images of the data set are {texts[0]}, but {network.name} takes {texts[1]}; name others with --data")
    return Split(split.images.reshape(-1, *shape), split.labels)
