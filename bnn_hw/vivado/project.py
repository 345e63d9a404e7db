# SPDX-License-Identifier: Apache-2.0
"""The folder that Vivado works in: the Verilog, scripts and a build's values, needing no other files."""

import os
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Final

from bnn_hw.artefacts.manifest import Manifest, manifest_digest
from bnn_hw.contract.system import DMA_LENGTH_BITS, accelerator_vlnv, block_design
from bnn_hw.errors import UsageError
from bnn_hw.fpga.boards import find_board

__all__ = ["OLDEST_VIVADO", "PROJECT_FOLDER", "write_project"]

PROJECT_FOLDER: Final = "vivado"
OLDEST_VIVADO: Final = "2020.2"
_SCRIPTS: Final = ("build.tcl", "package_ip.tcl", "block_design.tcl", "implement.tcl")
_FAMILY_NAMES: Final = (
    *("registers_port", "memory_port", "memory_space", "memory_segment"),
    *("clock_pin", "reset_pin", "interrupt_pin", "reached_clock"),
)
_README: Final = """\
The bitstream of {name} for {board}, on any machine with Vivado {vivado} or newer:

    vivado -mode batch -source build.tcl

run in this folder. It needs nothing else. The results are in out/; work/ and vivado.* are of no use afterwards. Copy out/
back into this folder of the build, and there

    bnn_hw bitstream BUILD --collect

checks the timing and takes bitstream and reports.
"""


def write_project(build: str | os.PathLike[str], manifest: Manifest, clock_mhz: float | None = None) -> Path:
    """Writes the folder `vivado` of a build, and returns it; Vivado's own files there, such as `out`, are not touched.

    The clock is the manifest's, or `clock_mhz`. Raises `ArtefactError` for a board without a processor.
    """
    build = Path(build)
    settings = _settings(build, manifest, manifest.clock_mhz if clock_mhz is None else clock_mhz)
    folder = build / PROJECT_FOLDER
    folder.mkdir(exist_ok=True)
    shutil.copyfile(build / "rtl" / f"{manifest.top}.v", folder / f"{manifest.top}.v")
    for script in _SCRIPTS:
        (folder / script).write_bytes(files("bnn_hw.vivado").joinpath(script).read_bytes())
    (folder / "settings.tcl").write_text(settings)
    (folder / "README.txt").write_text(_README.format(name=manifest.name, board=manifest.board, vivado=OLDEST_VIVADO))
    return folder


def _settings(build: Path, manifest: Manifest, clock_mhz: float) -> str:
    """Returns the build's values that the scripts need, in Tcl."""
    board, ports = find_board(manifest.board), manifest.ports
    system = block_design(board, ports["s_axi"]["address_bits"])
    processor = board.processor
    assert processor is not None  # because the block design has one
    if not 1 <= clock_mhz <= 500:
        raise UsageError(f"the clock must be from 1 to 500 MHz, not {clock_mhz:g}")
    values: dict[str, object] = {
        "manifest_sha256": manifest_digest(build),
        "oldest_vivado": OLDEST_VIVADO,
        "top": manifest.top,
        "part": manifest.part,
        "processor": processor.ip,
        "crystal_mhz": f"{processor.crystal_mhz:.6f}",
        "clock_mhz": f"{clock_mhz:g}",
        "accelerator_vlnv": accelerator_vlnv(manifest.top),
        "s_axis_bits": ports["s_axis"]["tdata_bits"],
        "m_axis_bits": ports["m_axis"]["tdata_bits"],
        "dma_length_bits": DMA_LENGTH_BITS,
    }
    for name in ("accelerator", "dma", "interrupts", "memory"):
        segment = getattr(system, name)
        values |= {f"{name}_base": f"0x{segment.base:08X}", f"{name}_size": f"0x{segment.size:08X}"}
    values |= {name: getattr(processor.family, name) for name in _FAMILY_NAMES}
    values["port_clock_pins"] = f"{{{' '.join(processor.family.port_clock_pins)}}}"
    lines = [f"set {name} {value}" for name, value in values.items()]
    return "\n".join([f"# The values of {manifest.name} for {manifest.board}.", *lines, ""])
