# SPDX-License-Identifier: Apache-2.0
"""The plan: how many outputs (PE) and inputs (SIMD) of each layer are computed in a cycle.

A layer takes ``ceil(outputs/PE) * ceil(inputs/SIMD)`` cycles an image; all layers work at once, so the slowest one sets
the initiation interval. A plan is found for a target, or for the fastest that a board has room for, and is JSON that
can be edited and given back.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bnn_hw.boards import Board
from bnn_hw.errors import ArtefactError
from bnn_hw.estimate import Resources, converter_resources, layer_resources
from bnn_hw.network import Layer, Network, Step, element_bits

__all__ = ["STREAM_BITS", "LayerPlan", "Plan", "find_plan", "input_cycles", "input_lanes", "layer_cycles", "load_plan", "plan_json"]

STREAM_BITS: Final = 64  # the width of the accelerator's input stream
_FORMAT: Final = "bnn_hw.plan"
_VERSION: Final = 1
_BUDGET: Final = 0.7  # the share of a board that a plan may fill by estimate; the rest is for the bus, DMA and routing


@dataclass(frozen=True)
class LayerPlan:
    """The parallelism of one layer."""

    name: str
    pe: int  # outputs a cycle
    simd: int  # inputs a cycle


@dataclass(frozen=True)
class Plan:
    """The parallelism of a network's layers, in order."""

    layers: tuple[LayerPlan, ...]

    def check(self, network: Network) -> "Plan":
        """Returns the plan if it is one for `network`; raises `ArtefactError` naming the layer if not."""
        names = [layer.name for layer in network.layers]
        if [layer.name for layer in self.layers] != names:
            raise ArtefactError(
                f"plan must have the layers {', '.join(names)}, not {', '.join(layer.name for layer in self.layers)}"
            )
        for layer, planned in zip(network.layers, self.layers, strict=True):
            outputs, inputs = layer.weights.shape
            if not (1 <= planned.pe <= outputs and 1 <= planned.simd <= inputs):
                raise ArtefactError(
                    f"plan, layer {layer.name}: pe must be in 1..{outputs} and simd in 1..{inputs}, "
                    f"not {planned.pe} and {planned.simd}"
                )
        return self

    def cycles(self, network: Network) -> int:
        """Returns the initiation interval: cycles from one image to the next."""
        layers = (layer_cycles(layer, planned) for layer, planned in zip(network.layers, self.layers, strict=True))
        return max(*layers, input_cycles(network), network.classes + 1)

    def resources(self, network: Network) -> Resources:
        """Returns the estimate for the whole accelerator."""
        total, lanes = Resources(0, 0, 0), input_lanes(network)
        for step, planned in zip(network.steps(), self.layers, strict=True):
            total += _with_converter(step, planned, lanes)
            lanes = planned.pe
        return total


def layer_cycles(layer: Layer, planned: LayerPlan) -> int:
    """Returns the cycles that a layer takes for an image."""
    outputs, inputs = layer.weights.shape
    return -(-outputs // planned.pe) * -(-inputs // planned.simd)


def input_cycles(network: Network) -> int:
    """Returns the words of `STREAM_BITS` bits that an image takes on the input stream, one a cycle."""
    return -(-network.input.signal.size // input_lanes(network))


def input_lanes(network: Network) -> int:
    """Returns the elements of an image in a word of the input stream."""
    return STREAM_BITS // element_bits(network.input.signal)


def find_plan(network: Network, board: Board, fps: float | None = None) -> Plan:
    """Returns the plan with the fewest LUTs that reaches `fps`, or without it the fastest that `board` has room for.

    Each layer takes the shape with the fewest LUTs, by estimate, of those tried; a plan has room when it fills at most
    70 % of the board. Raises `ArtefactError` when there is none, saying by how much and what is possible.
    """
    fastest = max(input_cycles(network), network.classes + 1)
    if fps is not None:
        if not fps > 0:
            raise ArtefactError(f"the rate must be above 0 images/s, not {fps}")
        cycles = int(board.clock_mhz * 1e6 / fps)
        if cycles < fastest:
            raise ArtefactError(
                f"{fps:,.0f} images/s at {board.clock_mhz} MHz leaves {cycles} cycles an image, but input and output streams "
                f"take {fastest}; at most {int(board.clock_mhz * 1e6 / fastest):,} images/s is possible"
            )
        plan = _cheapest(network, cycles)
        if not plan.resources(network).fits(board, _BUDGET):
            need = plan.resources(network)
            raise ArtefactError(
                f"{fps:,.0f} images/s take about {need.luts:,} LUT, {need.bram36:g} BRAM36 and {need.dsps:,} DSP; a plan may "
                f"fill {_BUDGET:.0%} of {board.name}, which has {board.luts:,}, {board.bram36} and {board.dsps:,}; "
                "ask for fewer images/s"
            )
        return plan
    for cycles in _targets(fastest, network):
        plan = _cheapest(network, cycles)
        if plan.resources(network).fits(board, _BUDGET):
            return plan
    least = plan.resources(network)
    raise ArtefactError(
        f"{network.name} does not fit {board.name} even at one weight a cycle: about {least.luts:,} LUT and "
        f"{least.bram36:g} BRAM36 of {board.luts:,} and {board.bram36}; take a larger board or a smaller network"
    )


def load_plan(path: Path, network: Network) -> Plan:
    """Reads a plan file; of each layer only name, pe and simd count. Raises `ArtefactError` for one that does not fit."""
    try:
        description: dict[str, Any] = json.loads(path.read_text())
        if (description["format"], description["version"]) != (_FORMAT, _VERSION):
            raise ArtefactError(f"{path}: format and version must be {_FORMAT} {_VERSION}")
        layers = tuple(LayerPlan(layer["name"], layer["pe"], layer["simd"]) for layer in description["layers"])
    except OSError as error:
        raise ArtefactError(f"plan {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{path} is no plan: {error!r}; start from the plan.json of a build") from error
    for layer in layers:
        if not (isinstance(layer.name, str) and type(layer.pe) is int and type(layer.simd) is int):
            raise ArtefactError(f"{path}, layer {layer.name!r}: pe and simd must be integers")
    return Plan(layers).check(network)


def plan_json(plan: Plan, network: Network) -> str:
    """Returns the plan as JSON, with what follows from it for the reader."""
    layers = []
    for step, planned in zip(network.steps(), plan.layers, strict=True):
        outputs, inputs = step.layer.weights.shape
        layers.append(
            {
                **vars(planned),
                "outputs": outputs,
                "inputs": inputs,
                "cycles": layer_cycles(step.layer, planned),
                "weight_bits": outputs * inputs,
                "estimate": vars(layer_resources(step, planned.pe, planned.simd)),
            }
        )
    description = {"format": _FORMAT, "version": _VERSION, "cycles_per_image": plan.cycles(network), "layers": layers}
    return json.dumps(description, indent=2) + "\n"


def _targets(fastest: int, network: Network) -> Iterator[int]:
    """Yields cycles an image worth trying, rising by about a fortieth, up to one weight a cycle."""
    slowest = max(layer.weights.size for layer in network.layers)
    cycles = fastest
    while cycles < slowest:
        yield cycles
        cycles += max(1, cycles // 40)
    yield max(slowest, fastest)


def _cheapest(network: Network, cycles: int) -> Plan:
    """Returns the plan with the fewest LUTs of those tried, layer by layer, that takes at most `cycles` an image."""
    layers: list[LayerPlan] = []
    lanes = input_lanes(network)
    for step in network.steps():
        layer = _cheapest_layer(step, cycles, lanes)
        layers.append(layer)
        lanes = layer.pe
    return Plan(tuple(layers))


def _cheapest_layer(step: Step, cycles: int, lanes: int) -> LayerPlan:
    outputs, inputs = step.layer.weights.shape

    def cost(candidate: LayerPlan) -> tuple[float, float, int]:
        resources = _with_converter(step, candidate, lanes)
        return resources.luts, resources.bram36, candidate.pe

    candidates = []
    for simd in _sizes(inputs):
        neuron_folds = cycles // -(-inputs // simd)
        if neuron_folds:
            candidates.append(LayerPlan(step.layer.name, -(-outputs // neuron_folds), simd))
    return min(candidates, key=cost)


def _with_converter(step: Step, planned: LayerPlan, lanes: int) -> Resources:
    """Returns the estimate for a layer and the converter from words of `lanes` elements before it."""
    converter = converter_resources(element_bits(step.input), lanes, planned.simd)
    return converter + layer_resources(step, planned.pe, planned.simd)


def _sizes(count: int) -> list[int]:
    """Returns each number of lanes that is the least for its number of words, and the powers of two."""
    least = {-(-count // words) for words in range(1, count + 1)}
    return sorted(least | {1 << power for power in range(count.bit_length())})
