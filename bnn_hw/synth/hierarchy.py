# SPDX-License-Identifier: Apache-2.0
"""The modules of a design: which yosys keeps apart, and whose cells belong to which layer."""

from collections import Counter
from collections.abc import Mapping

from bnn_hw.design.estimate import RESULT, SHELL
from bnn_hw.design.lower import Design
from bnn_hw.design.names import TOP, dot_module
from bnn_hw.design.units import MatVec

__all__ = ["cells_by_layer", "shared_modules", "unit_modules"]


def unit_modules(design: Design, top: str, accelerator: str) -> dict[str, str]:
    """Returns the module of each unit, by name, and the row of the report to which it belongs.

    `accelerator`: the accelerator's path under `top` (see `bnn_hw.design.names`).
    """
    return {f"{top}.{accelerator}.{unit.name}": unit.layer or RESULT for unit in design.units}


def shared_modules(design: Design, top: str) -> list[str]:
    """Returns the modules that the design holds more than one instance of: dot products."""
    instances = Counter[str]()
    for unit in design.units:
        if isinstance(unit, MatVec):
            instances[dot_module(unit.dot, design.plan.family, design.plan.levels)] += unit.pe
    return sorted(module.replace(TOP, top) for module, count in instances.items() if count > 1)


def cells_by_layer(
    modules: Mapping[str, Mapping[str, int]], top: str, rows: Mapping[str, str], design: Design
) -> dict[str, Counter[str]]:
    """Returns the cells of each layer, of `RESULT` and of `SHELL`, which has all the rest.

    `modules`: the cells that each module holds, other modules among them. `rows`: as `unit_modules` gives them.
    """
    cells = {name: Counter[str]() for name in (*(layer.name for layer in design.network.layers), RESULT, SHELL)}
    for kind, count in modules[top].items():
        cells[rows.get(kind, SHELL)].update(_cells(modules, kind, count))
    return cells


def _cells(modules: Mapping[str, Mapping[str, int]], kind: str, count: int) -> Counter[str]:
    """Returns the cells that `count` cells or modules of a kind are, all modules resolved."""
    if kind not in modules:
        return Counter({kind: count})
    total = Counter[str]()
    for inner, inner_count in modules[kind].items():
        total.update(_cells(modules, inner, count * inner_count))
    return total
