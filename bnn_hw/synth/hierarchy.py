# SPDX-License-Identifier: Apache-2.0
"""The modules of a build's Verilog: which yosys keeps apart, and whose cells belong to which layer."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnn_hw.design.names import layer_of
from bnn_hw.errors import ArtefactError

__all__ = ["CellsByLayer", "cells_by_layer", "kept_modules"]


@dataclass(frozen=True)
class CellsByLayer:
    """How many cells of each kind each layer holds, the choice of the class (`result`) and all the rest (`shell`)."""

    layers: Mapping[str, Counter[str]]
    result: Counter[str]
    shell: Counter[str]

    @property
    def total(self) -> Counter[str]:
        """The cells of all."""
        return sum((*self.layers.values(), self.result, self.shell), start=Counter[str]())


def kept_modules(verilog: str, top: str) -> list[str]:
    """Returns the modules whose borders synthesis keeps: the parts of the accelerator, and what is held more than once.

    The modules of the hierarchy under `top` have their path as their name; the others are emitted beside it, some in two
    forms, of which that under SYNTHESIS counts.
    """
    verilog = re.sub(r"^`else\n.*?^`endif\n|^`ifndef SYNTHESIS\n.*?^`endif\n", "", verilog, flags=re.MULTILINE | re.DOTALL)
    modules = re.findall(r"^module \\?([^\s(]+)", verilog, re.MULTILINE)
    accelerator = next((module for module in modules if module.endswith(".accelerator")), None)
    if top not in modules or accelerator is None:
        raise ArtefactError(f"the Verilog must have a module {top} and an accelerator in it; build again with this bnn_hw")
    parts = [module for module in modules if module.rpartition(".")[0] == accelerator]
    beside = [module for module in modules if "." not in module and module != top]
    instances = Counter(re.findall(r"^ +\\?([^\s(]+) +\\?[^\s(]+ +\($", verilog, re.MULTILINE))
    return parts + [module for module in beside if instances[module] > 1]


def cells_by_layer(modules: Mapping[str, Mapping[str, int]], top: str, layers: Sequence[str]) -> CellsByLayer:
    """Returns the cells of a design by layer. `modules`: the cells that each module holds, other modules among them."""
    by_layer = {layer: Counter[str]() for layer in layers}
    result, shell = Counter[str](), Counter[str]()
    for kind, count in modules[top].items():
        cells = _cells(modules, kind, count)
        _, inside, part = kind.rpartition(".accelerator.")
        layer = layer_of(part) if inside else None
        (by_layer[layer] if layer else result if inside else shell).update(cells)
    return CellsByLayer(by_layer, result, shell)


def _cells(modules: Mapping[str, Mapping[str, int]], kind: str, count: int) -> Counter[str]:
    """Returns the cells that so many cells or modules of a kind are, all modules resolved."""
    if kind not in modules:
        return Counter({kind: count})
    total = Counter[str]()
    for inner, inner_count in modules[kind].items():
        total.update(_cells(modules, inner, count * inner_count))
    return total
