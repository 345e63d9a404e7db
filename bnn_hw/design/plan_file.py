# SPDX-License-Identifier: Apache-2.0
"""The file of a plan: JSON that a build writes, and that can be edited and given back."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bnn_hw.design.estimate import estimates
from bnn_hw.design.lower import Design
from bnn_hw.design.plan import LayerPlan, Plan, check_plan, weight_layers
from bnn_hw.design.units import MatVec
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import Board
from bnn_hw.fpga.memory_layout import ram_in_luts, rom_in_luts
from bnn_hw.network.network import Network

__all__ = ["load_plan", "plan_digest", "plan_json"]

_FORMAT: Final = "bnn_hw.plan"
_VERSION: Final = 1
_FIELDS: Final = ("format", "version", "family", "levels", "runtime_weights", "layers", "cycles_per_image", "estimates")
_LAYER_FIELDS: Final = ("name", "pe", "simd", "lut_bits", "outputs", "inputs", "cycles", "weight_bits", "planned")


def load_plan(path: Path, network: Network, board: Board, *, runtime_weights: bool = False) -> Plan:
    """Reads a plan file. Raises `ArtefactError` for one that does not fit the network or the board.

    Of each layer name, pe and simd count, and lut_bits where it is there and was not planned for another pe or simd; beside the
    layers family, levels and runtime_weights where they are. What is not there is chosen for the board. With `runtime_weights`
    the plan has them whatever the file says.
    """
    try:
        description: dict[str, Any] = json.loads(path.read_text())
        if (description["format"], description["version"]) != (_FORMAT, _VERSION):
            raise ArtefactError(f"{path}: format and version must be {_FORMAT} {_VERSION}")
        _check_fields(description, _FIELDS, str(path))
        family, levels = description.get("family", board.family.name), description.get("levels", board.levels)
        runtime = description.get("runtime_weights", False)
        layers = [_read_layer(layer, path) for layer in description["layers"]]
    except OSError as error:
        raise ArtefactError(f"plan {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a plan: {error!r}; start from the plan.json of a build") from error
    if family != board.family.name:
        raise ArtefactError(f"{path} is a plan for the family {family}, but {board.name} is of {board.family.name}; find a new one")
    if type(levels) is not int:
        raise ArtefactError(f"{path}: levels must be an integer")
    if type(runtime) is not bool:
        raise ArtefactError(f"{path}: runtime_weights must be true or false")
    plan = Plan(tuple(planned for planned, _ in layers), board.family, levels, runtime or runtime_weights)
    check_plan(network, plan)
    return replace(plan, layers=tuple(planned if placed else _placed(planned, plan, network) for planned, placed in layers))


def _check_fields(description: dict[str, Any], fields: Collection[str], where: str) -> None:
    unknown = description.keys() - fields
    if unknown:
        raise ArtefactError(f"{where}: fields must be among {', '.join(fields)}, not {min(unknown)}")


def _read_layer(description: dict[str, Any], path: Path) -> tuple[LayerPlan, bool]:
    """Returns a layer's plan, and whether it says where the weights lie: not by a number that was planned for another shape."""
    where = f"{path}, layer {description.get('name')!r}"
    _check_fields(description, _LAYER_FIELDS, where)
    name, pe, simd, lut_bits = description["name"], description["pe"], description["simd"], description.get("lut_bits")
    if not (isinstance(name, str) and type(pe) is int and type(simd) is int and type(lut_bits) in (int, type(None))):
        raise ArtefactError(f"{where}: pe, simd and lut_bits must be integers")
    planned = description.get("planned", {"pe": pe, "simd": simd, "lut_bits": lut_bits})
    stale = lut_bits == planned["lut_bits"] and (pe, simd) != (planned["pe"], planned["simd"])
    if lut_bits is None or stale:
        return LayerPlan(name, pe, simd), False
    return LayerPlan(name, pe, simd, lut_bits), True


def _placed(planned: LayerPlan, plan: Plan, network: Network) -> LayerPlan:
    """Returns a layer's plan with its weights where they cost less."""
    layer = next(layer for layer in weight_layers(network) if layer.name == planned.name)
    bits = planned.pe * planned.simd
    words = -(-len(layer.weights) // planned.pe) * -(-layer.weights[0].size // planned.simd)
    in_luts = rom_in_luts(plan.family, words, bits) if not plan.runtime_weights else ram_in_luts(plan.family, 2 * words, bits)
    return LayerPlan(planned.name, planned.pe, planned.simd, bits if in_luts else 0)


def plan_digest(plan: Plan) -> str:
    """Returns the plan's identity: the SHA-256 of what in it decides about the hardware, in hexadecimal."""
    fields: dict[str, Any] = {"family": plan.family.name, "levels": plan.levels, "layers": [vars(layer) for layer in plan.layers]}
    if plan.runtime_weights:
        fields["runtime_weights"] = True
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def plan_json(design: Design) -> str:
    """Returns the plan as JSON, with what follows from it for the reader. Poolings, which have no plan, are left out."""
    plan, amounts = design.plan, {name: vars(resources) for name, resources in estimates(design).items()}
    layers = []
    for planned, unit in zip(plan.layers, (unit for unit in design.units if isinstance(unit, MatVec)), strict=True):
        layers.append(
            {
                "name": planned.name,
                "pe": planned.pe,
                "simd": planned.simd,
                "lut_bits": planned.lut_bits,
                "outputs": unit.outputs,
                "inputs": unit.inputs,
                "cycles": design.layer_cycles(planned.name),
                "weight_bits": unit.weights.size,
                "planned": {"pe": planned.pe, "simd": planned.simd, "lut_bits": planned.lut_bits},
            }
        )
    description = {
        "format": _FORMAT,
        "version": _VERSION,
        "family": plan.family.name,
        "levels": plan.levels,
        "runtime_weights": plan.runtime_weights,
        "cycles_per_image": design.cycles,
        "layers": layers,
        "estimates": amounts,
    }
    return json.dumps(description, indent=2) + "\n"
