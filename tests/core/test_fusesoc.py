# SPDX-License-Identifier: Apache-2.0
"""The FuseSoC core of a build, by its text and, where it is installed, by FuseSoC itself."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from bnn_hw.flow.fusesoc import write_core
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.tools import program


def _core(folder: Path, board: str) -> Path:
    verilog = folder / "tiny.v"
    verilog.write_text("module tiny(input aclk);\nendmodule\n")
    write_core(verilog, "Binarized neural network tiny", BOARDS[board])
    return folder / "tiny.core"


def test_core_names_the_file_its_module_and_the_part(tmp_path: Path) -> None:
    lines = _core(tmp_path, "zcu104").read_text().splitlines()
    assert lines[0] == "CAPI=2:"
    assert {"name: bnn_hw:ip:tiny:1.0", "      - tiny.v", "    toplevel: tiny", "      part: xczu7ev-ffvc1156-2-e"} < set(lines)
    assert "vivado" not in _core(tmp_path, "icebreaker").read_text()


@pytest.mark.skipif(find_spec("fusesoc") is None, reason="needs fusesoc: pip install fusesoc")
@pytest.mark.parametrize("target", ["lint", "synth"])
def test_fusesoc_sets_its_targets_up(target: str, tmp_path: Path) -> None:
    core = _core(tmp_path, "pynq-z2")
    command = [program("fusesoc"), "--cores-root", ".", "run", "--setup", "--target", target, "bnn_hw:ip:tiny:1.0"]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    finished = subprocess.run(command, cwd=core.parent, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "WARNING" not in finished.stdout + finished.stderr
    assert [path.name for path in tmp_path.glob(f"build/*/{target}/src/**/*.v")] == ["tiny.v"]
