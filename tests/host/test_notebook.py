# SPDX-License-Identifier: Apache-2.0
"""The notebook, and how PYNQ finds it and the overlays."""

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.deploy.board_folder import deploy
from bnn_hw.deploy.wheel import notebook, write_board_wheel
from bnn_hw.design.planner import find_plan
from bnn_hw.fpga.boards import find_board
from bnn_hw.models.packaged import packaged_network
from bnn_hw.network.network import Input
from bnn_hw.network.vectors import load_vectors
from support.deployed import small_build, with_overlay
from support.simulated_board import built, environment, free_address, needs_pynq, pynq_lock, serving
from support.strategies import random_network

# Of no use, but with pictures and labels.
_MNIST = replace(random_network(Input((28, 28, 1), "bit", 128), (16, 10), seed=1), provenance=packaged_network("mnist").provenance)
_GET_NOTEBOOKS = "import sys; from pynq._cli.get_notebooks import main; sys.argv[0] = 'pynq-get-notebooks'; main()"
_FIND_OVERLAY = """
import sys, pynq.bitstream
print(pynq.bitstream.Bitstream(sys.argv[1], device=object()).bitfile_name)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, and a build as the installer puts it there."""
    folder = tmp_path_factory.mktemp("board")
    wheel = write_board_wheel(folder)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder / "site", wheel]
    subprocess.run(command, check=True)
    deployed = deploy(with_overlay(small_build(folder / "small-pynq-z2")))
    shutil.copytree(deployed.folder / "small-pynq-z2", folder / "site" / "bnn_host" / "builds" / "small-pynq-z2")
    return folder / "site"


def _pynq(site: Path, folder: Path, code: str, *arguments: str) -> str:
    """Runs a program with pynq that has the installed wheel before all else; returns what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_notebook_is_committed_without_outputs() -> None:
    content = nbformat.read(notebook(), as_version=4)
    nbformat.validate(content)
    assert all(cell.execution_count is None and not cell.outputs for cell in content.cells if cell.cell_type == "code")


@needs_pynq
def test_pynq_delivers_the_notebook(site: Path, tmp_path: Path) -> None:
    listed = _pynq(site, tmp_path, _GET_NOTEBOOKS, "--list")
    assert "- bnn_hw (source: bnn_host)" in listed.splitlines()
    _pynq(site, tmp_path, _GET_NOTEBOOKS, "--ignore-overlays", "--path", "delivered", "bnn_hw")
    delivered = tmp_path / "delivered" / "bnn_hw"
    assert [path.name for path in delivered.iterdir()] == ["classify.ipynb"]
    assert json.loads((delivered / "classify.ipynb").read_text()) == json.loads(notebook().read_text())


@needs_pynq
def test_pynq_finds_an_installed_overlay_by_name(site: Path, tmp_path: Path) -> None:
    build = site / "bnn_host" / "builds" / "small-pynq-z2"
    bit = f"bitstream/{read_manifest(build).top}.bit"
    assert _pynq(site, tmp_path, _FIND_OVERLAY, f"small-pynq-z2/{bit}").strip() == str(build / bit)


@needs_pynq
@pytest.mark.parametrize("runtime_weights", [True, False], ids=["run-time weights", "fixed weights, no labels"])
def test_notebook_against_the_simulated_board(runtime_weights: bool, tmp_path: Path) -> None:
    """Every cell of the deployed notebook, with its pictures, in a copy."""
    network = _MNIST if runtime_weights else random_network(Input((12,), "int8"), (6, 3), seed=1)
    plan = find_plan(network, find_board("pynq-z2"), runtime_weights=runtime_weights)
    build, address = built(network, tmp_path / "a-build", plan=plan), free_address()
    with serving(build, address):
        folder = Path(shutil.copytree(deploy(build, simulated=True).folder, tmp_path / "copy"))
        content = nbformat.read(folder / "a-build.ipynb", as_version=4)
        client = NotebookClient(content, timeout=300, resources={"metadata": {"path": str(folder)}})
        with pynq_lock():
            client.execute(env={**environment(address), "IPYTHONDIR": str(tmp_path / "ipython")})
    vectors = load_vectors(network, build / "vectors.npz")
    printed = "".join(output.text for output in _outputs(content) if output.output_type == "stream" and output.name == "stdout")
    assert f"{len(vectors.inputs)} images; scores equal to the golden model's: True\n" in printed
    pictures = [output.data["image/png"] for output in _outputs(content) if "image/png" in output.get("data", {})]
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    if runtime_weights:
        assert vectors.labels is not None
        accuracy = (vectors.expected.scores.argmax(axis=1) == vectors.labels).mean()
        assert f"accuracy: {accuracy:.2%}\n" in printed
        assert printed.endswith("scores moved by one class: True\nscores as before: True\n")
        assert len(pictures) == 3
    else:
        assert "accuracy" not in printed
        assert printed.endswith("This build's weights are fixed; `bnn_hw build --runtime-weights` makes one that takes others.\n")
        assert len(pictures) == 2


def _outputs(content: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in content.cells if cell.cell_type == "code" for output in cell.outputs]
