# SPDX-License-Identifier: Apache-2.0
"""Memories as yosys maps them, with contents and with write ports: their block RAMs are those of the estimate."""

import random
from pathlib import Path
from typing import Final

import pytest

from bnn_hw.fpga.boards import BOARDS
from bnn_hw.fpga.memory_layout import block_ram_layout, memory_attributes, ram_in_luts
from bnn_hw.synth.cells import usage_sum
from bnn_hw.synth.yosys import count_cells

# Of the plans of the packaged networks: words and bits. Those of constants that are deep share block RAMs among rows.
_CONSTANTS: Final = {
    "pynq-z2": [(2304, 128), (18432, 32), (32768, 8), (65536, 4), (1152, 512), (144, 1016), (576, 72)],
    "zcu104": [(2304, 128), (1568, 90)],
    "ulx3s-85f": [(784, 256), (512, 128), (160, 16), (7168, 37)],
    "icebreaker": [(392, 128), (128, 32)],
    "tangnano9k": [(392, 128), (128, 32)],
}
_WRITTEN: Final = {
    "pynq-z2": [(1024, 32), (512, 36), (8192, 2), (98, 16), (64, 8)],
    "zcu104": [(1024, 32), (64, 8)],
    "ulx3s-85f": [(98, 16), (32, 16), (6, 384), (4096, 9), (4096, 8)],
    "icebreaker": [(98, 16), (16, 8), (32, 4), (2, 64), (1024, 6)],
    "tangnano9k": [(98, 16), (64, 8), (28, 56)],
}


def _module(name: str, depth: int, width: int, attribute: str, body: str) -> str:
    address = f"[{(depth - 1).bit_length() - 1}:0]"
    ports = f"input clk, we, re, input {address} wa, ra, input [{width - 1}:0] d, output reg [{width - 1}:0] o"
    memory = f'(* ram_style = "{attribute}" *) reg [{width - 1}:0] memory [0:{depth - 1}];'
    return f"module {name}({ports});\n{memory}\n{body}\nendmodule\n"


@pytest.mark.parametrize("board_name", list(_CONSTANTS))
def test_block_rams_are_those_that_yosys_takes(board_name: str, tmp_path: Path) -> None:
    board = BOARDS[board_name]
    draw = random.Random(1)
    text, expected = "", {}
    for depth, width in _CONSTANTS[board_name]:
        name = f"constants_{depth}_{width}"
        (tmp_path / f"{name}.hex").write_text("\n".join(f"{draw.getrandbits(width):x}" for _ in range(depth)))
        text += _module(
            name, depth, width, "block", f'initial $readmemh("{name}.hex", memory);\nalways @(posedge clk) o <= memory[ra];'
        )
        expected[name] = block_ram_layout(board.family, depth, width).count
    for depth, width in _WRITTEN[board_name]:
        name = f"written_{depth}_{width}"
        body = "always @(posedge clk) begin if (we) memory[wa] <= d; if (re) o <= memory[ra]; end"
        text += _module(name, depth, width, memory_attributes(board.family, depth, width)["ram_style"], body)
        in_luts = ram_in_luts(board.family, depth, width)
        expected[name] = 0 if in_luts else block_ram_layout(board.family, depth, width, written=True).count
    # Inputs that are undefined would let yosys drop the memories.
    instances = "\n".join(f"wire [4095:0] o_{name}; {name} i_{name}(clk, we, re, a, a, d, o_{name});" for name in expected)
    outputs = " ^ ".join(f"^o_{name}" for name in expected)
    ports = "input clk, we, re, input [15:0] a, input [1023:0] d, output y"
    text += f"module top({ports});\n{instances}\nassign y = {outputs};\nendmodule\n"
    cells = count_cells(text, "top", board, board.clock_mhz, expected, tmp_path)
    assert {name: usage_sum(cells[name]).block_rams for name in expected} == expected
