# SPDX-License-Identifier: Apache-2.0
"""Constants in look-up tables."""

from collections.abc import Sequence

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_rtl.circuit import has_lut6

__all__ = ["LutRom", "lut_rom", "read_rom"]

_LUT_WORDS = 64  # words that a look-up table of six inputs holds, one bit of each
_MOST_WORDS = 256  # up to here without logic behind the look-up tables


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
        if not has_lut6(platform) or len(self._words) > _MOST_WORDS:
            attrs = {"rom_style": "logic"}
            m.submodules.memory = memory = Memory(shape=len(self.data), depth=len(self._words), init=self._words, attrs=attrs)
            port = memory.read_port()
            m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
            return m
        read = [Signal(name=f"read{bit}") for bit in range(len(self.data))]
        register = Signal(len(self.data), reset_less=True)
        m.d.sync += register.eq(Cat(read))
        m.d.comb += self.data.eq(register)
        tables = [sum((word >> bit & 1) << index for index, word in enumerate(self._words)) for bit in range(len(read))]
        if len(self._words) > _LUT_WORDS // 2:
            for bit, table in enumerate(tables):
                self._add_column(m, bit, table, read[bit])
        else:
            for bit in range(0, len(tables), 2):
                self._add_pair(m, bit, tables[bit : bit + 2], read[bit : bit + 2])
        return m

    def _add_pair(self, m: Module, bit: int, tables: list[int], read: list[Signal]) -> None:
        """Reads one or two bits of at most 32 words from one look-up table."""
        inputs = self._inputs(5)
        if len(tables) == 1:
            m.submodules[f"bit{bit}"] = Instance("LUT5", p_INIT=Const(tables[0], 32), **inputs, o_O=read[0])
            return
        init = Const(tables[0] | tables[1] << 32, 64)
        outputs = {"o_O5": read[0], "o_O6": read[1]}
        m.submodules[f"bit{bit}"] = Instance("LUT6_2", p_INIT=init, **inputs, i_I5=Const(1), **outputs)

    def _add_column(self, m: Module, bit: int, table: int, read: Signal) -> None:
        """Reads a bit of at most 256 words from 1, 2 or 4 look-up tables: a MUXF8 joins what two MUXF7 give."""
        count = 1 << (-(-len(self._words) // _LUT_WORDS) - 1).bit_length()
        wires = [Signal(name=f"bit{bit}_{at}") for at in range(count)] if count > 1 else [read]
        for at, out in enumerate(wires):
            init = Const(table >> at * _LUT_WORDS & (1 << _LUT_WORDS) - 1, _LUT_WORDS)
            m.submodules[f"lut{bit}_{at}"] = Instance("LUT6", p_INIT=init, **self._inputs(6), o_O=out)
        for kind, select in (("MUXF7", 6), ("MUXF8", 7)):
            if len(wires) > 1:
                pairs = list(zip(wires[0::2], wires[1::2], strict=True))
                wires = [Signal(name=f"bit{bit}_{kind}_{at}") for at in range(len(pairs))] if len(pairs) > 1 else [read]
                for at, ((low, high), out) in enumerate(zip(pairs, wires, strict=True)):
                    pins = {"i_I0": low, "i_I1": high, "i_S": self.address[select], "o_O": out}
                    m.submodules[f"{kind}_{bit}_{at}"] = Instance(kind, **pins)

    def _inputs(self, count: int) -> dict[str, Value]:
        return {f"i_I{index}": self.address[index] if index < len(self.address) else Const(0, 1) for index in range(count)}


def lut_rom(module: str, width: int, words: Sequence[int]) -> LutRom | Const:
    """Returns a memory of constants, or where all words are the same, that word."""
    return LutRom(module, width, words) if len(set(words)) > 1 else Const(words[0], width)


def read_rom(m: Module, name: str, rom: LutRom | Const, address: Value) -> Value:
    """Returns the word of a memory that is emitted beside `m`, a cycle after its address."""
    if isinstance(rom, Const):
        return rom
    word = Signal(len(rom.data), name=f"{name}_word")
    m.submodules[name] = Instance(rom.module, i_clk=ClockSignal(), i_rst=ResetSignal(), i_address=address, o_data=word)
    return word
