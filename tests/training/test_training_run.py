# SPDX-License-Identifier: Apache-2.0
"""Training and export from Python: a recipe and data to a network file."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bnn_training
from bnn_hw import load
from bnn_hw.errors import UsageError
from bnn_hw.network.file import network_digest
from bnn_training.catalogue import RECIPES

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
ROOT = Path(__file__).parents[2]
RECIPE = replace(RECIPES["mnist-tiny"], topology="16-16", epochs=2, batch=20, validation=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Writes 8x8 images of two classes, bright above or below."""
    rng = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 120), ("test", 30)):
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 160, (count, 8, 8))
        images[labels == 0, :4] += 95
        images[labels == 1, 4:] += 95
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "own.npz", **arrays)
    return tmp_path / "own.npz"


def test_train_and_export(tmp_path: Path, data: Path) -> None:
    losses: list[float] = []
    folder = str(tmp_path / "run")
    trained = bnn_training.train(
        RECIPE, str(data), folder, device="cpu", on_epoch=lambda report, network: losses.append(report.loss)
    )
    assert len(losses) == 2
    assert trained.network is not None
    assert trained.agreement is not None
    assert (trained.network.name, trained.agreement.images) == ("own", 30)
    assert network_digest(load(folder)) == network_digest(trained.network)
    again, agreement = bnn_training.export(str(trained.checkpoint), str(tmp_path / "again.safetensors"), name="again")
    assert (again.name, agreement) == ("again", None)
    assert network_digest(load(tmp_path / "again.safetensors")) == network_digest(again)
    assert network_digest(load(str(trained.checkpoint))) == network_digest(bnn_training.export(trained.checkpoint)[0])


def test_a_recipe_that_does_not_fold(tmp_path: Path, data: Path) -> None:
    recipe = replace(RECIPE, preprocessing="gcn_zca", epochs=1)
    trained = bnn_training.train(recipe, data, tmp_path / "run", device="cpu")
    assert (trained.network, trained.agreement) == (None, None)
    assert trained.checkpoint.is_file()


def test_a_recipe_that_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^recipe must be one of .*, not 'absent'$"):
        bnn_training.train("absent", tmp_path, tmp_path / "run")


def test_importing_it_is_light() -> None:
    code = "import sys, bnn_training; print('torch' in sys.modules, 'numpy' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "training", capture_output=True, text=True, check=True)
    assert finished.stdout == "False False\n"
