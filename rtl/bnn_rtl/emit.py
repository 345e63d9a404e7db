# SPDX-License-Identifier: Apache-2.0
"""Verilog from components: the same component gives the same bytes."""

from collections.abc import Iterable

from amaranth.back import verilog
from amaranth.lib.wiring import Component

from bnn_rtl.dot_product import DotProduct

__all__ = ["emit_verilog"]


def emit_verilog(component: Component, name: str, dots: Iterable[DotProduct]) -> str:
    """Returns the Verilog of `component` as module `name`, and after it one module for each different dot product."""
    modules = {dot.module: dot for dot in dots}
    parts = [(name, component), *sorted(modules.items())]
    return "\n".join(verilog.convert(part, name=module, emit_src=False) for module, part in parts)
