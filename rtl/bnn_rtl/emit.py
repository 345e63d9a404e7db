# SPDX-License-Identifier: Apache-2.0
"""Verilog from components: the same component gives the same bytes."""

from collections.abc import Iterable
from typing import Protocol

from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Signature

from bnn_hw.family import SERIES_7, Family

__all__ = ["Part", "emit_verilog"]


class Part(Protocol):
    """A component whose Verilog module, of the name `module`, all its instances share.

    With a family as the platform it may elaborate to the primitives of that family; without one it is what simulates
    fast. Both do the same in the same cycles.
    """

    module: str

    @property
    def signature(self) -> Signature: ...

    def elaborate(self, platform: object) -> Module: ...


def emit_verilog(component: Component, name: str, parts: Iterable[Part], family: Family = SERIES_7) -> str:
    """Returns the Verilog of `component` as module `name`, and after it one module for each different part.

    A part that is made of primitives of the family has that form for synthesis and the other one for all else.
    """
    modules = {part.module: part for part in parts}
    texts = [verilog.convert(component, name=name, emit_src=False)]
    for module, part in sorted(modules.items()):
        model, primitive = (verilog.convert(part, name=module, platform=platform, emit_src=False) for platform in (None, family))
        texts.append(model if model == primitive else _two_forms(part, model, primitive))
    return "\n".join(texts)


def _two_forms(part: Part, model: str, primitive: str) -> str:
    """Returns both forms; a comment gives each input that is below a limit, where alone they are the same."""
    limits = {port: member.shape.stop for port, member in part.signature.members.items() if isinstance(member.shape, range)}
    comments = "".join(f"// {port} < {limit}\n" for port, limit in limits.items())
    return f"`ifdef SYNTHESIS\n{comments}{primitive}`else\n{model}`endif\n"
