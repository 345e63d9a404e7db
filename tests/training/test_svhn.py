# SPDX-License-Identifier: Apache-2.0
"""SVHN's recipe, reduced, on real images; the folder comes from BNN_HW_DATA."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_hw.datasets import Dataset, Split, load_svhn
from bnn_hw.errors import ArtefactError
from bnn_training.catalogue import RECIPES
from bnn_training.folding import export_checkpoint
from bnn_training.trainer import EpochReport, train


def _first_images() -> Split:
    """Returns the first 1,083 training images, from the publisher's file or from a cut of it; skips the test without."""
    folder = Path(os.environ.get("BNN_HW_DATA", "no-folder")) / "svhn"
    cut = folder / "svhn_train_first1083.npz"
    if cut.is_file():
        with np.load(cut, allow_pickle=False) as file:
            return Split(file["X"], file["y"].astype(np.uint8))
    try:
        train = load_svhn(folder).train
    except ArtefactError as error:
        pytest.skip(f"BNN_HW_DATA names no folder with SVHN: {error}")
    return Split(train.images[:1083], train.labels[:1083])


def test_a_reduced_recipe_learns_and_its_export_decides_as_the_trained_network(tmp_path: Path) -> None:
    """The layers of the recipe with a quarter of their channels."""
    torch.set_num_threads(1)
    split = _first_images()
    assert split.images.shape == (1083, 32, 32, 3)
    topology = "16C3-16C3-MP2-32C3-32C3-MP2-64C3-64C3-64-64"
    recipe = replace(RECIPES["svhn"], topology=topology, epochs=4, batch=25, learning_rate=1e-2)
    reports: list[EpochReport] = []
    best = train(
        recipe, Dataset("svhn", tuple("0123456789"), split, split), tmp_path, on_epoch=lambda report, _: reports.append(report)
    )
    losses = [report.loss for report in reports]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2, losses
    _, agreement = export_checkpoint(best, split)
    assert agreement is not None
    assert (agreement.images, agreement.differing_decisions) == (1083, 0)
    assert agreement.folded_accuracy == agreement.float_accuracy
