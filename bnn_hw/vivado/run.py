# SPDX-License-Identifier: Apache-2.0
"""Vivado, run on the folder of a build."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.artefacts.overlay import Overlay
from bnn_hw.errors import ToolError
from bnn_hw.tools import program, require, run_tool
from bnn_hw.vivado.collect import OUT_FOLDER, collect_bitstream, is_finished
from bnn_hw.vivado.project import write_project

__all__ = ["COMMAND", "make_bitstream"]

COMMAND: Final = ("vivado", "-mode", "batch", "-source", "build.tcl")
_BEFORE: Final = f"{OUT_FOLDER}.before"


def make_bitstream(
    build: str | os.PathLike[str], *, clock_mhz: float | None = None, on_step: Callable[[str], None] = lambda step: None
) -> Overlay:
    """Makes the bitstream of a sealed build, replacing an existing one, and returns its overlay.

    Raises `ArtefactError` when there is no such build or its board has no processor, `ToolError` when Vivado is missing or
    too old, and then says how another machine's can be used, and when it fails or misses the clock; its log stays in the
    build's folder `vivado`. If the run fails, the existing bitstream stays; the last finished run's
    `vivado/out` is kept as `vivado/out.before`.
    """
    build = Path(build)
    folder = write_project(build, read_manifest(build), clock_mhz)
    try:
        require("vivado")
    except ToolError as error:
        raise ToolError(
            f"{error}; or copy the folder {folder} to a machine that has it, run `{' '.join(COMMAND)}` there, copy its folder "
            f"{OUT_FOLDER} back into {folder} and run `bnn_hw bitstream {build} --collect`"
        ) from error
    if is_finished(build):
        shutil.rmtree(folder / _BEFORE, ignore_errors=True)
        (folder / OUT_FOLDER).rename(folder / _BEFORE)
    on_step("Vivado")
    run_tool([program(COMMAND[0]), *COMMAND[1:]], folder, folder / "failed.log")
    on_step("reports")
    return collect_bitstream(build)
