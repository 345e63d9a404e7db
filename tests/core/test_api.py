# SPDX-License-Identifier: Apache-2.0
"""The interface in Python: what `bnn_hw` exports, how light it is, and that a path may be a string."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnn_hw
from bnn_hw.artefacts.manifest import is_build
from bnn_hw.datasets import load_mnist, load_own_dataset
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.file import network_digest
from bnn_hw.network.network import Input, Network
from bnn_hw.network.vectors import load_vectors, make_vectors, save_vectors
from support.strategies import random_network

ROOT = Path(__file__).parents[2]
LIGHT = """
import sys
import bnn_hw
heavy = {"PIL", "amaranth", "bnn_rtl", "bnn_training", "click", "rich", "safetensors", "torch"}
late = {"bnn_hw.flow.build", "bnn_hw.design.planner", "bnn_hw.datasets", "bnn_hw.network.golden"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}), sorted(late & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(Input((6, 5, 1), "bit", 100), (9, 4), 1)


def test_every_name_of_the_interface_is_there() -> None:
    assert [name for name in bnn_hw.__all__ if not hasattr(bnn_hw, name)] == []
    assert set(bnn_hw.__all__) <= set(dir(bnn_hw))
    with pytest.raises(AttributeError, match=r"^module 'bnn_hw' has no attribute 'no_such_name'$"):
        _ = bnn_hw.no_such_name


def test_importing_it_is_light() -> None:
    finished = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout == "[] []\n"


def test_a_model_by_name_file_and_folder(tmp_path: Path, network: Network) -> None:
    bnn_hw.save_network(network, str(tmp_path / "network.safetensors"))
    for model in (tmp_path, str(tmp_path), tmp_path / "network.safetensors", str(tmp_path / "network.safetensors")):
        assert network_digest(bnn_hw.load(model)) == network_digest(network)
    assert network_digest(bnn_hw.load_network(str(tmp_path / "network.safetensors"))) == network_digest(network)
    assert bnn_hw.load("mnist-tiny").name == "mnist-tiny"
    with pytest.raises(ArtefactError, match=r"^model must be a network file, a checkpoint or one of .*, not 'absent'$"):
        bnn_hw.load(Path("absent"))


def test_golden_by_its_names(network: Network) -> None:
    images = np.random.default_rng(1).integers(0, 256, (7, 6, 5), np.uint8)
    assert np.array_equal(bnn_hw.scores(network, images), golden.scores(network, images))
    assert np.array_equal(bnn_hw.classify(network, images), golden.classify(network, images))


def test_paths_may_be_strings(tmp_path: Path, network: Network) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 6, 5), np.uint8)
    save_vectors(make_vectors(network, images, None), network, str(tmp_path / "vectors.npz"))
    assert len(load_vectors(network, str(tmp_path / "vectors.npz")).inputs) == 3
    assert not is_build(str(tmp_path))
    for read in (load_mnist, load_own_dataset, bnn_hw.verify):
        with pytest.raises(ArtefactError, match=re.escape(str(tmp_path))):
            read(str(tmp_path))
    board = bnn_hw.find_board("pynq-z2")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ArtefactError, match="exists and is not a build"):
        bnn_hw.build(network, board, bnn_hw.find_plan(network, board), str(tmp_path / "taken"), verify=False)


def test_the_lines_of_the_readme(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(from bnn_hw import .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "rtl", "training"))},
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    assert finished.stdout == "256 images equal on every bit\n"
    assert is_build(tmp_path / "build" / "mnist-tiny-pynq-z2")
