# SPDX-License-Identifier: Apache-2.0
"""Popcounts as a simulator computes them fast."""

from amaranth.hdl import Instance, Module, Signal, Value

from bnn_hw.design.names import module_beside

__all__ = ["ONES", "delayed", "popcount"]

ONES = module_beside("ones32")  # of ones.v
_WORD = 32  # bits that a processor adds at a time


def popcount(m: Module, bits: Value, name: str) -> Value:
    """Returns the number of ones, by the module of ones.v, which `emit_verilog` adds.

    Amaranth's Verilog would take such masks of words apart into their fields, ten times as much to compile.
    """
    counts = []
    for at in range(0, len(bits), _WORD):
        count = Signal(6, name=f"{name}{at}")
        m.submodules[f"{name}{at}_count"] = Instance(ONES, i_i=bits[at : at + _WORD], o_o=count)
        counts.append(count)
    return sum(counts[1:], counts[0])


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Returns a value a number of cycles later, through registers without a reset."""
    for cycle in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}{cycle}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value
