# SPDX-License-Identifier: Apache-2.0
"""A build's Verilog as a core of FuseSoC (CAPI2), so that other flows can take it."""

import os
from pathlib import Path
from typing import Final

from bnn_hw.contract.system import accelerator_vlnv
from bnn_hw.fpga.boards import Board

__all__ = ["write_core"]

_CORE: Final = """\
CAPI=2:
# SPDX-License-Identifier: Apache-2.0
name: {vlnv}
description: {description}

filesets:
  rtl:
    files:
      - {top}.v
    file_type: verilogSource

targets:
  default: &default
    filesets:
      - rtl
    toplevel: {top}
  lint:
    <<: *default
    flow: lint
    flow_options:
      tool: verilator
      # An operand is extended as the language says, and an output has its value before the case that may change it.
      verilator_options: [-Wno-WIDTH, -Wno-CASEINCOMPLETE]
"""
_SYNTHESIS: Final = """\
  synth:
    <<: *default
    flow: vivado
    flow_options:
      part: {part}
      pnr: none
"""


def write_core(verilog: str | os.PathLike[str], description: str, board: Board) -> None:
    """Writes the core of a Verilog file beside it; its module is called as the file is.

    A core for one of AMD's FPGAs has a target for Vivado. The others go through `bnn_hw synth`.
    """
    verilog = Path(verilog)
    text = _CORE.format(vlnv=accelerator_vlnv(verilog.stem), top=verilog.stem, description=description)
    if not board.family.has_open_tools:
        text += _SYNTHESIS.format(part=board.part)
    verilog.with_suffix(".core").write_text(text)
