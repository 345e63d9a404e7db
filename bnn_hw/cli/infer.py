# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw infer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from bnn_hw.cli.data import data_options
from bnn_hw.cli.model import MODEL_HELP
from bnn_hw.cli.show import cache_folder, json_option, percent, print_json, table, warn
from bnn_hw.datasets.chosen import ChosenData
from bnn_hw.datasets.image_file import read_images
from bnn_hw.datasets.of_network import NOT_ITS_DATA, identified_test_images, unlike_training
from bnn_hw.datasets.provenance import trained_on
from bnn_hw.errors import ArtefactError, UsageError
from bnn_hw.models.packaged import load, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.decisions import DECISION_COLUMNS, SHOWN_IMAGES, decision_row, decisions
from bnn_hw.network.network import Network

__all__ = ["infer"]


@click.command()
@click.option("--model", required=True, help=MODEL_HELP)
@click.option(
    "--images",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A picture, a folder of pictures, or a .npy or IDX file of images; may be given again for more pictures.",
)
@data_options
@json_option
def infer(model: str, paths: tuple[Path, ...], data: ChosenData, as_json: bool) -> None:
    """Classify images with the golden model.

    Those of --images, or the test images of --data; without either, the packaged test images. Accuracy is shown for the data
    that the network was trained on.

    \b
    bnn_hw infer --model mnist
    bnn_hw infer --model mnist --images digit.png --images more-digits
    bnn_hw infer --model runs/pictures/network.safetensors --data pictures
    bnn_hw infer --model mnist --images t10k-images-idx3-ubyte.gz --json
    """
    if paths and data.asked_for:
        raise UsageError("--images and --data exclude each other: one names images, the other a data set with test images")
    network = load(model)
    task = _task(network, paths, data)
    if warning := unlike_training(network, task.images):
        warn(warning)
    scores = np.atleast_2d(golden.scores(network, task.images))
    classes = scores.argmax(axis=1)
    accuracy = None if task.labels is None else float((classes == task.labels).mean())
    trained = trained_on(network)
    class_names = trained.class_names if trained else None
    found = decisions(scores, task.names, class_names)
    if as_json:
        numbers = {"classes": classes.tolist(), "scores": scores.tolist(), "accuracy": accuracy}
        print_json({"network": network.name, **numbers, "decisions": found})
        return
    title = f"{network.name}: {len(classes):,} images" + ("" if accuracy is None else f", {percent(accuracy)} right")
    if len(found) <= SHOWN_IMAGES:
        table(title, DECISION_COLUMNS, [decision_row(decision) for decision in found])
    else:
        _show_counts(title, classes, network, class_names)


@dataclass(frozen=True, eq=False)
class _Task:
    """Images to classify, what each is called, and their labels where these are known."""

    images: np.ndarray
    names: Sequence[str]
    labels: np.ndarray | None


def _task(network: Network, paths: tuple[Path, ...], data: ChosenData) -> _Task:
    if paths:
        return _Task(*read_images(paths, network.input, data.background), None)
    split = None if data.asked_for else packaged_test_images(network)
    identified = True
    if split is None:
        if data.path is None:
            raise ArtefactError(
                f"no test images are packaged for {network.name}; name images with --images, or its data with --data"
            )
        split, identified = identified_test_images(network, data, cache_folder())
    if not identified:
        warn(f"{NOT_ITS_DATA}, so no accuracy is shown")
    names = [f"test image {index}" for index in range(len(split.labels))]
    return _Task(split.images, names, split.labels if identified else None)


def _show_counts(title: str, classes: np.ndarray, network: Network, names: Sequence[str] | None) -> None:
    counts = np.bincount(classes, minlength=network.classes).tolist()
    table(title, ("class", "name", "images"), list(zip(range(len(counts)), names or [""] * len(counts), counts, strict=True)))
