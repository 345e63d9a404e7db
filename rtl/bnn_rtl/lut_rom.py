# SPDX-License-Identifier: Apache-2.0
"""Constants in look-up tables."""

from collections.abc import Sequence

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.family import Family

__all__ = ["LutRom", "lut_rom", "read_rom"]

_LUT_WORDS = 64  # words that a look-up table of six inputs holds, one bit of each


class LutRom(Component):
    """``data = words[address]``, a cycle later: a read-only memory in look-up tables of six inputs (AMD UG474).

    Up to 32 words two bits share a LUT6_2; up to 64 a bit takes a LUT6; past them MUXF7 and MUXF8 join 2 and 4 of them,
    and look-up tables select among blocks of 256 words.

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
        if not (isinstance(platform, Family) and platform.lut_inputs == 6):
            m.submodules.memory = memory = Memory(shape=len(self.data), depth=len(self._words), init=self._words)
            port = memory.read_port()
            m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
            return m
        read = Signal(len(self.data))
        register = Signal(len(self.data), reset_less=True)
        m.d.sync += register.eq(read)
        m.d.comb += self.data.eq(register)
        tables = [self._column(bit) for bit in range(len(read))]
        if len(self._words) <= _LUT_WORDS // 2:
            for bit in range(0, len(read), 2):
                self._pair(m, bit, tables[bit : bit + 2], read)
        else:
            for bit, table in enumerate(tables):
                m.d.comb += read[bit].eq(self._tree(m, f"bit{bit}", table))
        return m

    def _column(self, bit: int) -> int:
        """Returns a bit of each word, word 0 lowest."""
        return sum((word >> bit & 1) << index for index, word in enumerate(self._words))

    def _pair(self, m: Module, bit: int, tables: list[int], read: Signal) -> None:
        """Reads one or two bits from one look-up table."""
        inputs = self._inputs(5)
        if len(tables) == 1:
            m.submodules[f"bit{bit}"] = Instance("LUT5", p_INIT=Const(tables[0], 32), **inputs, o_O=read[bit])
            return
        init = Const(tables[0] | tables[1] << 32, 64)
        outputs = {"o_O5": read[bit], "o_O6": read[bit + 1]}
        m.submodules[f"bit{bit}"] = Instance("LUT6_2", p_INIT=init, **inputs, i_I5=Const(1), **outputs)

    def _inputs(self, count: int) -> dict[str, Value]:
        return {f"i_I{index}": self.address[index] if index < len(self.address) else Const(0, 1) for index in range(count)}

    def _tree(self, m: Module, name: str, table: int) -> Value:
        """Reads a bit from as many look-up tables as its words take."""
        blocks = []
        for start in range(0, len(self._words), 4 * _LUT_WORDS):
            words = min(len(self._words) - start, 4 * _LUT_WORDS)
            count = 1 << (-(-words // _LUT_WORDS) - 1).bit_length()  # MUXF8 takes no look-up table, only a MUXF7
            luts = []
            for at in range(start, start + count * _LUT_WORDS, _LUT_WORDS):
                out = Signal(name=f"{name}_words{at}")
                init = Const(table >> at & (1 << _LUT_WORDS) - 1, _LUT_WORDS)
                m.submodules[f"{name}_lut{at}"] = Instance("LUT6", p_INIT=init, **self._inputs(6), o_O=out)
                luts.append(out)
            for kind, bit in (("MUXF7", 6), ("MUXF8", 7)):
                luts = self._join(m, f"{name}_{kind}_{start}", kind, luts, bit)
            blocks += luts
        selected = Signal(name=name)
        with m.Switch(self.address[8:]):
            for index, block in enumerate(blocks):
                with m.Case(index) if len(blocks) > 1 else m.Default():
                    m.d.comb += selected.eq(block)
        return selected

    def _join(self, m: Module, name: str, kind: str, inputs: list[Signal], bit: int) -> list[Signal]:
        """Returns of each two inputs the one that a bit of the address selects; a single one as it is."""
        if len(inputs) == 1:
            return inputs
        joined = []
        for index in range(0, len(inputs), 2):
            out = Signal(name=f"{name}_{index}")
            pins = {"i_I0": inputs[index], "i_I1": inputs[index + 1], "i_S": self.address[bit], "o_O": out}
            m.submodules[f"{name}_{index}_mux"] = Instance(kind, **pins)
            joined.append(out)
        return joined


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
