# SPDX-License-Identifier: Apache-2.0
"""Constants that change from group to group."""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib.memory import Memory

__all__ = ["group_address", "group_memory"]


def group_memory(
    m: Module, name: str, shape: ShapeLike, rows: Sequence[object], advance: Value, attrs: Mapping[str, str] | None = None
) -> Any:
    """Returns the row of the present group, as read from a memory whose address runs ahead by its one cycle.

    `rows`: one of `shape` for each group, in turn; `advance`: high in the last cycle of a group; `attrs`: of the memory, for
    synthesis.
    """
    memory = m.submodules[name] = Memory(shape=shape, depth=len(rows), init=rows, attrs=attrs)
    port = memory.read_port()
    m.d.comb += port.addr.eq(group_address(m, len(rows), advance))
    return port.data


def group_address(m: Module, groups: int, advance: Value) -> Signal:
    """Returns the group of the next cycle: `groups` in turn, one on after each cycle with `advance`."""
    group = Signal(range(groups))
    after = Signal.like(group)
    m.d.comb += after.eq(Mux(advance, Mux(group == groups - 1, 0, group + 1), group))
    m.d.sync += group.eq(after)
    return after
