# SPDX-License-Identifier: Apache-2.0
"""The images given to `python -m bnn_host`, and the board's results for them."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_host.accelerator import Accelerator, build_input
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.datasets.chosen import ChosenData, class_names
from bnn_hw.datasets.image_file import read_images
from bnn_hw.datasets.of_network import NOT_ITS_DATA, identified_test_images, unlike_training
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import UsageError
from bnn_hw.network.decisions import SHOWN_IMAGES, decision_text, decisions
from bnn_hw.network.file import load_network
from bnn_hw.network.network import Network
from bnn_hw.network.vectors import load_scores

__all__ = ["Task", "classified", "find_task", "vectors_task"]


@dataclass(frozen=True, eq=False)
class Task:
    """Images and their names, with labels and class names if these are known."""

    images: np.ndarray
    names: Sequence[str]
    labels: np.ndarray | None = None
    class_names: Sequence[str] | None = None


def find_task(options: argparse.Namespace) -> Task | None:
    """Returns the images that --images or --data name, if one does, as the build's network takes them.

    Warns if they are unlike the network's training images.
    """
    if options.images is None and options.data is None:
        return None
    if options.images and options.data:
        raise UsageError("--images and --data exclude each other: one names images, the other a data set with test images")
    network = load_network(options.build / "network.safetensors")
    if options.images:
        images, names = read_images([Path(path) for path in options.images], network.input, options.background)
        task = Task(images, names, None, _class_names(network))
    else:
        task = _test_task(network, options)
    if warning := unlike_training(network, task.images):
        _warn(warning)
    return task


def _test_task(network: Network, options: argparse.Namespace) -> Task:
    """Returns the test images of --data, with labels where the network was trained on these data."""
    chosen = ChosenData(Path(options.data), class_names(options.classes), options.own, options.background)
    split, identified = identified_test_images(network, chosen, Path())
    if not identified:
        _warn(f"{NOT_ITS_DATA}, so no accuracy is shown")
    names = [f"test image {index}" for index in range(len(split.labels))]
    return Task(split.images, names, split.labels if identified else None, _class_names(network))


def vectors_task(build: Path) -> Task:
    """Returns the inputs of a build's vectors."""
    images, _ = load_scores(build_input(read_manifest(build)), build / "vectors.npz")
    return Task(images, [f"vector {index}" for index in range(len(images))])


def classified(accelerator: Accelerator, task: Task, *, as_json: bool) -> dict[str, Any]:
    """Returns the board's results: for each image if they are few or the output is for machines, and for all images together."""
    scores = np.atleast_2d(accelerator.scores(task.images))
    classes = scores.argmax(axis=1)
    counts = {str(index): int(count) for index, count in enumerate(np.bincount(classes, minlength=scores.shape[1]))}
    result: dict[str, Any] = {"images": len(classes), "images_of_class": counts}
    if task.labels is not None:
        result["accuracy"] = float((classes == task.labels).mean())
    found = decisions(scores, task.names, task.class_names)
    if as_json:
        return result | {"classes": classes.tolist(), "scores": scores.tolist(), "decisions": found}
    return (dict(map(decision_text, found)) if len(found) <= SHOWN_IMAGES else {}) | result


def _class_names(network: Network) -> tuple[str, ...] | None:
    trained = trained_on(network)
    return trained.class_names if trained else None


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
