# SPDX-License-Identifier: Apache-2.0
"""Verilog from components: the same component gives the same bytes."""

import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Final, Protocol

from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Signature

from bnn_hw.design.names import TOP
from bnn_hw.fpga.family import SERIES_7, Family
from bnn_rtl.lut_rom import LutRom
from bnn_rtl.popcount import ONES

__all__ = ["Part", "emit_verilog"]

# A signal without bits, which yosys declares as [-1:0] though nothing uses it: two bits to all other tools.
_NO_BITS: Final = re.compile(r"^  (?:wire|reg) \[-1:0\] \S+ ?;\n", re.MULTILINE)


class Part(Protocol):
    """A component whose Verilog module, of the name `module` (see `bnn_hw.design.names`), all its instances share.

    With a family as the platform it may elaborate to the primitives of that family; without one it is what simulates
    fast. Both do the same in the same cycles.
    """

    module: str

    @property
    def signature(self) -> Signature: ...

    def elaborate(self, platform: object) -> Module: ...


def emit_verilog(component: Component, name: str, parts: Iterable[Part], family: Family = SERIES_7) -> str:
    """Returns the Verilog of `component` as module `name`, and after it one module for each different part.

    The names of all modules begin with `name`; `TOP` leaves it open. A part that is made of primitives of the family has that
    form for synthesis and the other one for all else.
    """
    modules = {part.module: part for part in parts}
    texts = [verilog.convert(component, name=TOP, emit_src=False)]
    for module, part in sorted(modules.items()):
        model = verilog.convert(part, name=module, emit_src=False)
        if isinstance(part, LutRom):
            primitive = part.primitives(family) or model
        else:
            primitive = verilog.convert(part, name=module, platform=family, emit_src=False)
        texts.append(model if model == primitive else _two_forms(part, model, primitive))
    if any(f"{ONES} " in text for text in texts):
        texts.append(f"`ifndef SYNTHESIS\n{files('bnn_rtl').joinpath('ones.v').read_text()}`endif\n")
    return _NO_BITS.sub("", "\n".join(texts)).replace(TOP, name)


def _two_forms(part: Part, model: str, primitive: str) -> str:
    """Returns both forms; a comment gives each input that is below a limit, where alone they are the same."""
    limits = {port: member.shape.stop for port, member in part.signature.members.items() if isinstance(member.shape, range)}
    comments = "".join(f"// {port} < {limit}\n" for port, limit in limits.items())
    return f"`ifdef SYNTHESIS\n{comments}{primitive}`else\n{model}`endif\n"
