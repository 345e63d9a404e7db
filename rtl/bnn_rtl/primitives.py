# SPDX-License-Identifier: Apache-2.0
"""Circuits of look-up tables and carry chains as the primitives of AMD's FPGAs."""

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value

from bnn_hw.fpga.circuit import LUT_INPUTS, ONE, ZERO, Chain, Circuit, Register, Table
from bnn_hw.fpga.family import Family

__all__ = ["add_circuit", "has_lut6"]

_CARRY4 = 4  # positions of a CARRY4


def has_lut6(platform: object) -> bool:
    """Returns whether a platform is a family with the primitives that `add_circuit` adds."""
    return isinstance(platform, Family) and platform.lut_inputs == LUT_INPUTS


def add_circuit(m: Module, circuit: Circuit, i: Value) -> Value:
    """Adds the cells of a circuit whose input is `i` to a module; returns its output."""
    bits: dict[int, Value] = {ZERO: Const(0, 1), ONE: Const(1, 1), **dict(enumerate(i))}
    for cell in circuit.cells:
        match cell:
            case Table():
                _add_table(m, cell, bits)
            case Chain():
                _add_chain(m, cell, bits)
            case Register(before, after, force, value):
                bits[after] = Signal(name=f"r{after}", reset_less=True)
                m.d.sync += bits[after].eq(bits[before] if force == ZERO else Mux(bits[force], value, bits[before]))
    return Cat(bits[bit] for bit in circuit.outputs)


def _add_table(m: Module, table: Table, bits: dict[int, Value]) -> None:
    for bit in table.outputs:
        bits[bit] = Signal(name=f"t{bit}")
    ports = {f"i_I{index}": Const(1, 1) for index in range(LUT_INPUTS)}
    ports |= {f"i_I{index}": bits[bit] for index, bit in enumerate(table.inputs)}
    names = ("o_O6", "o_O5") if len(table.outputs) == 2 else ("o_O",)
    ports |= {name: bits[bit] for name, bit in zip(names, table.outputs, strict=True)}
    kind = "LUT6_2" if len(table.outputs) == 2 else "LUT6"
    m.submodules[f"lut{table.outputs[0]}"] = Instance(kind, p_INIT=Const(table.init, 64), **ports)


def _add_chain(m: Module, chain: Chain, bits: dict[int, Value]) -> None:
    carry = Const(0, 1)
    for start in range(0, len(chain.outputs), _CARRY4):
        outputs = chain.outputs[start : start + _CARRY4]
        sums, carries = (Signal(_CARRY4, name=f"{name}{outputs[0]}") for name in ("s", "c"))
        operands = []
        for inputs in (chain.propagate, chain.generate):
            positions = inputs[start : start + _CARRY4]
            operands.append(Cat(*(bits[bit] for bit in positions), Const(0, _CARRY4 - len(positions))))
        m.submodules[f"carry{outputs[0]}"] = Instance(
            "CARRY4",
            i_CI=carry,
            i_CYINIT=Const(0, 1) if start else bits[chain.carry],
            i_S=operands[0],
            i_DI=operands[1],
            o_O=sums,
            o_CO=carries,
        )
        carry = carries[_CARRY4 - 1]
        bits.update(zip(outputs, sums, strict=False))
