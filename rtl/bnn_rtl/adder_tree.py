# SPDX-License-Identifier: Apache-2.0
"""A pipelined tree of adders."""

from amaranth.hdl import Module, Shape, ShapeLike, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

__all__ = ["AdderTree", "sum_shape"]


def sum_shape(element: ShapeLike, count: int) -> Shape:
    """Returns the shape that holds every sum of `count` elements."""
    shape = Shape.cast(element)
    if shape.signed:
        return signed((count << (shape.width - 1)).bit_length() + 1)
    return unsigned((count * ((1 << shape.width) - 1)).bit_length())


class AdderTree(Component):
    """``o = sum(i)``, one sum a cycle.

    Latency: `latency` cycles, a register after every `levels` of two-operand adders and one at the end. The registers
    have no reset: what they hold counts only where a valid bit that travels beside them says so.

    i : [count] elements, the operands
    o : their sum, wide enough for all of them
    """

    def __init__(self, element: ShapeLike, count: int, levels: int = 3) -> None:
        self._levels, self._levels_a_stage = (count - 1).bit_length(), levels
        super().__init__({"i": In(data.ArrayLayout(element, count)), "o": Out(sum_shape(element, count))})

    @property
    def latency(self) -> int:
        """The number of cycles from `i` to `o`."""
        return max(1, -(-self._levels // self._levels_a_stage))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms = list(self.i)
        for level in range(1, self._levels + 1):
            odd = terms[len(terms) // 2 * 2 :]
            terms = [a + b for a, b in zip(terms[0::2], terms[1::2], strict=False)] + odd
            if level % self._levels_a_stage == 0 and level != self._levels:
                registers = [
                    Signal(term.shape(), name=f"stage{level}_{index}", reset_less=True) for index, term in enumerate(terms)
                ]
                m.d.sync += [register.eq(term) for register, term in zip(registers, terms, strict=True)]
                terms = registers
        total = Signal(self.o.shape(), reset_less=True)
        m.d.sync += total.eq(terms[0])
        m.d.comb += self.o.eq(total)
        return m
