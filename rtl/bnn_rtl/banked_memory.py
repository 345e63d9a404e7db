# SPDX-License-Identifier: Apache-2.0
"""Memories of two banks: one is in use while the other is written."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.memories import LANE_BITS, EngineMemory

__all__ = ["BankedMemory", "WeightsSignature", "read_latency"]

_WAYS_BITS = 4  # of the lanes that one register selects among, so that it lies behind two levels of look-up tables
_WAYS = 1 << _WAYS_BITS


class WeightsSignature(wiring.Signature):
    """What writes and reads back the bank that is not in use, as one master sees all memories.

    bank    : which bank is in use
    check   : the read ports are for reading back, not for the engines
    address : of a word in the window of all memories (see `bnn_hw.design.runtime_weights`)
    write   : the word is written; data: what to, a cycle after its address
    found   : with `check`, the word, `read_latency` cycles after its address; 0 where the memory does not have it
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "bank": Out(1),
                "check": Out(1),
                "address": Out(address_bits),
                "write": Out(1),
                "data": Out(LANE_BITS),
                "found": In(LANE_BITS),
            }
        )


def read_latency(memories: Sequence[EngineMemory]) -> int:
    """Returns the cycles that memories side by side take to read a word back."""
    return 2 + _stages(max(memory.lanes for memory in memories))


def _stages(lanes: int) -> int:
    """Returns how many registers lie behind one another where each selects one of `_WAYS`."""
    return max(1, -(-(lanes - 1).bit_length() // _WAYS_BITS))


class BankedMemory(Component):
    """``data = rows[address]`` of the bank in use, a cycle later; the other bank is written and read back in lanes of 32 bits.

    Each lane is a memory of its own, with the banks one behind the other, so that no depth is rounded up. Nothing here has a
    reset.

    address : the row
    data    : [width] its bits
    weights : the master of all memories

    `first`: the address of the memory's first word in the window. `words`: [lanes, depth] uint32, what both banks hold at
    first. `latency`: of reading back, for all memories the same.
    """

    def __init__(self, memory: EngineMemory, first: int, words: np.ndarray, latency: int, address_bits: int) -> None:
        self._memory, self._first, self._words = memory, first, words
        self._stages = latency - 2
        super().__init__(
            {
                "address": In(range(memory.depth)),
                "data": Out(memory.width),
                "weights": In(WeightsSignature(address_bits)),
            }
        )

    @property
    def rows(self) -> int:
        """The rows of a bank."""
        return self._memory.depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory, weights = self._memory, self.weights
        row = Signal(range(memory.depth), reset_less=True)
        lane = Signal(range(memory.lanes), reset_less=True)
        hit = Signal(reset_less=True)
        do_write = Signal(reset_less=True)
        hit_now = Signal()
        row_bits = memory.stride.bit_length() - 1
        row_now, lane_now = weights.address[:row_bits], weights.address[row_bits:] - (self._first >> row_bits)
        m.d.comb += hit_now.eq((lane_now >= 0) & (lane_now < memory.lanes) & (row_now < memory.depth))
        m.d.sync += [
            row.eq(row_now),
            lane.eq(lane_now),
            hit.eq(hit_now),
            do_write.eq(weights.write & hit_now),
        ]
        read_at = self._in_bank(Mux(weights.check, row, self.address), weights.bank ^ weights.check)
        write_at = self._in_bank(row, ~weights.bank)
        lanes = []
        for index, content in enumerate(self._words):
            width = memory.lane_width(index)
            init, style = [int(word) for word in (*content, *content)], "distributed" if memory.in_luts else "block"
            ram = Memory(shape=width, depth=2 * memory.depth, init=init, attrs={"ram_style": style})
            m.submodules[f"lane{index}"] = ram
            write_port, read_port = ram.write_port(), ram.read_port()
            m.d.comb += [
                write_port.addr.eq(write_at),
                write_port.data.eq(weights.data),
                write_port.en.eq(do_write & (lane == index)),
                read_port.addr.eq(read_at),
            ]
            lanes.append(read_port.data)
        m.d.comb += [self.data.eq(Cat(lanes)), weights.found.eq(self._selected(m, lanes, lane, hit))]
        return m

    def _in_bank(self, row: Value, bank: Value) -> Value:
        """Returns where a row of a bank lies in a lane."""
        depth = self._memory.depth
        if depth == self._memory.stride:
            return Cat(row, bank)
        return row + Mux(bank, depth, 0)

    def _selected(self, m: Module, lanes: Sequence[Value], lane: Value, hit: Value) -> Value:
        """Returns the word of a lane, some cycles after its row has been read, or 0 if it is no word of this memory."""
        hit, lane = _registered(m, "hit0", hit), _registered(m, "lane0", lane)
        for stage in range(self._stages):
            groups = [lanes[start : start + _WAYS] for start in range(0, len(lanes), _WAYS)]
            chosen = [Array(group)[lane[:_WAYS_BITS]] if len(group) > 1 else group[0] for group in groups]
            if stage == self._stages - 1:
                chosen = [Mux(hit, value, 0) for value in chosen]
            lanes = [_registered(m, f"lanes{stage}_{index}", value, LANE_BITS) for index, value in enumerate(chosen)]
            lane, hit = _registered(m, f"lane{stage + 1}", lane[_WAYS_BITS:]), _registered(m, f"hit{stage + 1}", hit)
        return lanes[0]


def _registered(m: Module, name: str, value: Value, width: int | None = None) -> Signal:
    """Returns a value a cycle later."""
    register = Signal(len(value) if width is None else width, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
