# SPDX-License-Identifier: Apache-2.0
"""The primitive forms of emitted modules against their models, in Verilator."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Final

from bnn_hw.errors import MismatchError
from bnn_hw.tools import cxx_compiler, run_tool
from bnn_rtl.rom_equivalence import is_rom, module_name, rom_difference
from bnn_rtl.simulation import compile_harness

__all__ = ["check_primitives"]

_FORMS: Final = re.compile(r"^`ifdef SYNTHESIS\n(.*?)^`else\n(.*?)^`endif\n", re.MULTILINE | re.DOTALL)
_MODELS_ALONE: Final = re.compile(r"^`ifndef SYNTHESIS\n(.*?)^`endif\n", re.MULTILINE | re.DOTALL)  # what models are made of
_HEADER: Final = re.compile(r"^\(\* top =  1  \*\)\n(?:\(\*.*\*\)\n)*module (\S+) ?\(.*?^endmodule", re.MULTILINE | re.DOTALL)
_PORT: Final = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)
_LIMIT: Final = re.compile(r"^// (\w+) < (\d+)$", re.MULTILINE)
_SUFFIX: Final = "_primitive"
_MOST_COUNTED_BITS: Final = 14
_RANDOM_CYCLES: Final = 4000


@dataclass(frozen=True)
class _Pair:
    """A module's name and ports, and the texts of its two forms."""

    name: str
    primitive: str
    model: str
    inputs: dict[str, int]  # the bits of each
    outputs: dict[str, int]
    limits: dict[str, int]  # of the inputs that have one


def check_primitives(verilog: str, folder: Path) -> int:
    """Compares both forms of each module that has two; returns the number of cycles, or 0 where no module has two.

    `folder` is empty. A module of few input bits is checked with all their values, each with corner cases and at random.
    Raises `MismatchError` naming the first module that differs, `ToolError` when a tool is missing or fails.
    """
    pairs = []
    for primitive, model in (match.groups() for match in _FORMS.finditer(verilog)):
        if not is_rom(model):
            pairs.append(_pair(primitive, model))
        elif (address := rom_difference(primitive, model)) is not None:
            raise MismatchError(f"module {module_name(model)}: its primitives differ from its model at address {address}")
    if not pairs:
        return 0
    words = max(2, -(-max(width for pair in pairs for width in pair.inputs.values()) // 32))
    ports = max(2, *(len(pair.inputs) for pair in pairs))
    primitives = files("bnn_rtl").joinpath("primitives.v").read_text()
    forms = [text for pair in pairs for text in (pair.primitive, pair.model)]
    (folder / "design.v").write_text("\n".join([primitives, *_MODELS_ALONE.findall(verilog), *forms]))
    (folder / "testbench.v").write_text(_testbench(pairs, ports, 32 * words))
    (folder / "taps.h").write_text(f"#define PORTS {ports}\n#define PORT_WORDS {words}\n")
    (folder / "harness.cpp").write_bytes(files("bnn_rtl").joinpath("primitives_harness.cpp").read_bytes())
    compile_harness(folder, cxx_compiler(), optimized=False)
    bits = [sum(pair.inputs.values()) for pair in pairs]
    counted = 1 << max((count for count in bits if count <= _MOST_COUNTED_BITS), default=0)
    printed = run_tool([folder.resolve() / "harness", str(counted), str(_RANDOM_CYCLES)], folder, folder / "harness.log")
    found = json.loads(printed)
    if found["module"] >= 0:
        name = pairs[found["module"]].name
        raise MismatchError(f"module {name}: its primitives differ from its model in cycle {found['cycle']}")
    return int(found["cycle"])


def _pair(primitive: str, model: str) -> _Pair:
    header = _HEADER.search(primitive)
    assert header is not None
    name = header[1]
    ports = {port: (direction, int(high or 0) + 1) for direction, high, port in _PORT.findall(header[0])}
    inputs, outputs = (
        {port: bits for port, (direction, bits) in sorted(ports.items()) if direction == which and port not in ("clk", "rst")}
        for which in ("input", "output")
    )
    limits = {port: int(limit) for port, limit in _LIMIT.findall(primitive)}
    return _Pair(name, primitive.replace(name, name + _SUFFIX), model, inputs, outputs, limits)


def _testbench(pairs: list[_Pair], ports: int, port_bits: int) -> str:
    """Returns a module that holds both forms of each module, with the same inputs, and says which differ."""
    lines = [
        f"module _testbench(input clk, counting, input [63:0] count, input [{ports * port_bits - 1}:0] ports,",
        "  output differ, output [31:0] which);",
    ]
    for index, pair in enumerate(pairs):
        width = sum(pair.inputs.values())
        slices = [f"ports[{at * port_bits} +: {bits}]" for at, bits in enumerate(pair.inputs.values())]
        lines += [
            f"  wire [{width - 1}:0] i{index} = counting ? {width}'(count) : {{{', '.join(reversed(slices))}}};",
            f"  wire [{sum(pair.outputs.values()) - 1}:0] primitive{index}, model{index};",
            _instance(pair, pair.name + _SUFFIX, index, "primitive"),
            _instance(pair, pair.name, index, "model"),
            f"  wire differ{index} = primitive{index} != model{index};",
        ]
    some = " | ".join(f"differ{index}" for index in range(len(pairs)))
    first = "".join(f"differ{index} ? {index} : " for index in range(len(pairs)))
    return "\n".join([*lines, f"  assign differ = {some};", f"  assign which = {first}0;", "endmodule", ""])


def _instance(pair: _Pair, module: str, index: int, form: str) -> str:
    """Returns an instance of a form, on the bits of all its inputs and of all its outputs."""
    pins = [".clk(clk)", ".rst(1'b0)"]
    for ports, bits in ((pair.inputs, f"i{index}"), (pair.outputs, f"{form}{index}")):
        for at, (port, width) in zip(accumulate(ports.values(), initial=0), ports.items(), strict=False):
            limit = f" % {pair.limits[port]}" if port in pair.limits else ""
            pins.append(f".{port}({bits}[{at} +: {width}]{limit})")
    return f"  {module} {form}_{index} ({', '.join(pins)});"
