# SPDX-License-Identifier: Apache-2.0
"""Constants in look-up tables."""

from collections.abc import Iterator, Sequence

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.fpga.family import Family
from bnn_rtl.banked_memory import BankedMemory
from bnn_rtl.primitives import has_lut6

__all__ = ["LutRom", "lut_rom", "read_rom"]

_LUT_INPUTS = 6
_LUT_WORDS = 1 << _LUT_INPUTS  # of which a look-up table holds one bit each
_MOST_WORDS = 4 * _LUT_WORDS  # that multiplexers beside the look-up tables join
_WIRES = ("read", "words0", "words1", "words2", "words3", "joined0", "joined1")


class LutRom(Component):
    """``data = words[address]``, a cycle later: a read-only memory in look-up tables of six inputs (AMD UG474).

    Up to 32 words two bits share a LUT6_2; up to 64 a bit takes a LUT6; up to 256 MUXF7 and MUXF8 join 2 or 4 of them. Past
    that, and on other families, it is for synthesis to make it of logic.

    address : the word
    data    : [width] its bits, registered

    `module` is the name of its Verilog module, which is emitted beside those that hold it.
    """

    def __init__(self, module: str, width: int, words: Sequence[int]) -> None:
        self.module = module
        self._words = words
        super().__init__({"address": In(range(max(2, len(words)))), "data": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attrs = {"rom_style": "logic"}
        m.submodules.memory = memory = Memory(shape=len(self.data), depth=len(self._words), init=self._words, attrs=attrs)
        port = memory.read_port()
        m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
        return m

    def primitives(self, family: Family) -> str | None:
        """Returns the Verilog of the module as primitives of a family, or None where synthesis makes it of logic.

        It is written as text, since Amaranth takes a minute for the look-up tables of a large memory.
        """
        if not has_lut6(family) or len(self._words) > _MOST_WORDS:
            return None
        width = len(self.data)
        tables = [sum((word >> bit & 1) << index for index, word in enumerate(self._words)) for bit in range(width)]
        if len(self._words) <= _LUT_WORDS // 2:
            cells = [self._pair(bit, tables[bit : bit + 2]) for bit in range(0, width, 2)]
        else:
            cells = [cell for bit, table in enumerate(tables) for cell in self._column(bit, table)]
        lines = [
            f"module {self.module}(clk, rst, data, address);",
            "  input clk, rst;",
            f"  input [{len(self.address) - 1}:0] address;",
            f"  output reg [{width - 1}:0] data;",
            f"  wire [{width - 1}:0] {', '.join(_WIRES)};",
            *(f"  {cell};" for cell in cells),
            "  always @(posedge clk) data <= read;",
            "endmodule",
        ]
        return "\n".join(lines) + "\n"

    def _pair(self, bit: int, tables: list[int]) -> str:
        """Returns the look-up table of one or two bits of at most 32 words."""
        inputs = self._inputs(_LUT_INPUTS - 1)
        if len(tables) == 1:
            return f"LUT5 #(.INIT(32'h{tables[0]:08x})) lut{bit} (.O(read[{bit}]), {inputs})"
        init = tables[0] | tables[1] << _LUT_WORDS // 2
        return f"LUT6_2 #(.INIT(64'h{init:016x})) lut{bit} (.O5(read[{bit}]), .O6(read[{bit + 1}]), {inputs}, .I5(1'b1))"

    def _column(self, bit: int, table: int) -> Iterator[str]:
        """Yields the cells of a bit of at most 256 words: 1, 2 or 4 look-up tables, and what joins them."""
        count = 1 << (-(-len(self._words) // _LUT_WORDS) - 1).bit_length()
        for at in range(count):
            init = table >> at * _LUT_WORDS & (1 << _LUT_WORDS) - 1
            out = f"words{at}" if count > 1 else "read"
            yield f"LUT6 #(.INIT(64'h{init:016x})) lut{bit}_{at} (.O({out}[{bit}]), {self._inputs(_LUT_INPUTS)})"
        for at in range(0, count - 1, 2):
            out = f"joined{at // 2}" if count > 2 else "read"
            taken = f".I0(words{at}[{bit}]), .I1(words{at + 1}[{bit}]), .S(address[6])"
            yield f"MUXF7 mux7_{bit}_{at // 2} (.O({out}[{bit}]), {taken})"
        if count > 2:
            yield f"MUXF8 mux8_{bit} (.O(read[{bit}]), .I0(joined0[{bit}]), .I1(joined1[{bit}]), .S(address[7]))"

    def _inputs(self, count: int) -> str:
        bits = [f"address[{index}]" if index < len(self.address) else "1'b0" for index in range(count)]
        return ", ".join(f".I{index}({bit})" for index, bit in enumerate(bits))


def lut_rom(module: str, width: int, words: Sequence[int]) -> LutRom | Const:
    """Returns a memory of constants, or where all words are the same, that word."""
    return LutRom(module, width, words) if len(set(words)) > 1 else Const(words[0], width)


def read_rom(m: Module, name: str, rom: LutRom | Const | BankedMemory, address: Value) -> Value:
    """Returns the word of a memory, a cycle after its address: of one that is emitted beside `m`, or a new part of `m`."""
    if isinstance(rom, Const):
        return rom
    if isinstance(rom, BankedMemory):
        m.submodules[name] = rom
        m.d.comb += rom.address.eq(address)
        return rom.data
    word = Signal(len(rom.data), name=f"{name}_word")
    m.submodules[name] = Instance(rom.module, i_clk=ClockSignal(), i_rst=ResetSignal(), i_address=address, o_data=word)
    return word
