# SPDX-License-Identifier: Apache-2.0
"""The notebook, and how PYNQ finds it and the overlays."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from bnn_hw.board_wheel import notebook, write_board_wheel
from bnn_hw.deploy import deploy
from bnn_hw.manifest import read_manifest
from deployed import small_build, with_overlay

needs_pynq = pytest.mark.skipif(importlib.util.find_spec("pynq") is None, reason="pynq is not installed")

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
