# SPDX-License-Identifier: Apache-2.0
"""The plan: how many outputs (PE) and inputs (SIMD) of each layer are computed in a cycle.

A layer takes ``ceil(outputs/PE) * ceil(inputs/SIMD)`` cycles for each place of an image; all layers work at once, so the
slowest one sets the initiation interval. A plan is found for a target, or for the fastest that a board has room for, and
is JSON that can be edited and given back.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from bnn_hw.boards import Board
from bnn_hw.errors import ArtefactError
from bnn_hw.estimate import Resources, stage_resources
from bnn_hw.network import Conv, MaxPool, Network, Step, WeightLayer
from bnn_hw.stage import LayerPlan, Stage, divisors, engine_cycles, input_cycles, input_lanes, next_stage, stages

__all__ = ["LayerPlan", "Plan", "find_plan", "load_plan", "plan_json"]

_FORMAT: Final = "bnn_hw.plan"
_VERSION: Final = 1
_BUDGET: Final = 0.7  # the share of a board that a plan may fill by estimate; the rest is for the bus, DMA and routing


@dataclass(frozen=True)
class Plan:
    """The parallelism of a network's layers with weights, in order."""

    layers: tuple[LayerPlan, ...]

    def check(self, network: Network) -> "Plan":
        """Returns the plan if it is one for `network`; raises `ArtefactError` naming the layer if not."""
        planned_layers = _weight_layers(network)
        names = [layer.name for layer in planned_layers]
        if [layer.name for layer in self.layers] != names:
            raise ArtefactError(
                f"plan must have the layers {', '.join(names)}, not {', '.join(layer.name for layer in self.layers)}"
            )
        for layer, planned in zip(planned_layers, self.layers, strict=True):
            outputs, inputs = len(layer.weights), layer.weights[0].size
            if not (1 <= planned.pe <= outputs and 1 <= planned.simd <= inputs):
                raise ArtefactError(
                    f"plan, layer {layer.name}: pe must be in 1..{outputs} and simd in 1..{inputs}, "
                    f"not {planned.pe} and {planned.simd}"
                )
            channels = layer.weights.shape[-1]
            if isinstance(layer, Conv) and channels % planned.simd and planned.simd % channels:
                raise ArtefactError(
                    f"plan, layer {layer.name}: simd must divide the {channels} channels of a pixel or be a multiple of them, "
                    f"not {planned.simd}"
                )
        return self

    def stages(self, network: Network) -> list[Stage]:
        """Returns the stages of `network` under this plan."""
        return list(stages(network, self.layers))

    def cycles(self, network: Network) -> int:
        """Returns the initiation interval: cycles from one image to the next."""
        return max(*(stage.cycles for stage in self.stages(network)), input_cycles(network), network.classes + 1)

    def resources(self, network: Network) -> Resources:
        """Returns the estimate for the whole accelerator."""
        return sum((stage_resources(stage) for stage in self.stages(network)), start=Resources(0, 0, 0))


def find_plan(network: Network, board: Board, fps: float | None = None) -> Plan:
    """Returns the plan with the fewest LUTs that reaches `fps`, or without it the fastest that `board` has room for.

    Each layer takes the shape with the fewest LUTs, by estimate, of those tried; a plan has room when it fills at most
    70 % of the board. Raises `ArtefactError` when there is none, saying by how much and what is possible.
    """
    steps = list(network.steps())
    fastest = _fully_parallel(network).cycles(network)
    if fps is not None:
        if not fps > 0:
            raise ArtefactError(f"the rate must be above 0 images/s, not {fps}")
        cycles = int(board.clock_mhz * 1e6 / fps)
        if cycles < fastest:
            raise ArtefactError(
                f"{fps:,.0f} images/s at {board.clock_mhz} MHz leaves {cycles} cycles an image, but {_slowest(network)} "
                f"take {fastest}; at most {int(board.clock_mhz * 1e6 / fastest):,} images/s is possible"
            )
        plan = _cheapest(network, steps, cycles)
        if not plan.resources(network).fits(board, _BUDGET):
            raise ArtefactError(
                f"{fps:,.0f} images/s take {_need(plan, network, board)}; a plan may fill {_BUDGET:.0%} of a board: "
                "ask for fewer images/s"
            )
        return plan
    for cycles in _targets(fastest, network):
        plan = _cheapest(network, steps, cycles)
        if plan.resources(network).fits(board, _BUDGET):
            return plan
    raise ArtefactError(
        f"{network.name} does not fit {board.name} even at one weight a cycle: it takes {_need(plan, network, board)}; a plan may "
        f"fill {_BUDGET:.0%} of a board: take a larger board or a smaller network"
    )


def _need(plan: Plan, network: Network, board: Board) -> str:
    """Returns what a plan needs beside what the board has, and which layer takes most of what is short."""
    need = plan.resources(network)
    kinds = {"LUT": "luts", "BRAM36": "block_rams", "DSP": "dsps"}
    amounts = [f"about {getattr(need, field):,g} {kind} of {getattr(board, field):,}" for kind, field in kinds.items()]
    short = max(kinds.values(), key=lambda field: getattr(need, field) / getattr(board, field))
    most = max(plan.stages(network), key=lambda stage: getattr(stage_resources(stage), short))
    return f"{', '.join(amounts)} on {board.name}, layer {most.step.layer.name} the most"


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
    """Returns the plan as JSON, with what follows from it for the reader. Poolings, which have no plan, are left out."""
    layers = []
    for stage in plan.stages(network):
        layer = stage.step.layer
        if isinstance(layer, MaxPool):
            continue
        layers.append(
            {
                "name": layer.name,
                "pe": stage.pe,
                "simd": stage.simd,
                "outputs": len(layer.weights),
                "inputs": layer.weights[0].size,
                "cycles": stage.cycles,
                "weight_bits": layer.weights.size,
                "estimate": vars(stage_resources(stage)),
            }
        )
    description = {"format": _FORMAT, "version": _VERSION, "cycles_per_image": plan.cycles(network), "layers": layers}
    return json.dumps(description, indent=2) + "\n"


def _weight_layers(network: Network) -> list[WeightLayer]:
    return [layer for layer in network.layers if not isinstance(layer, MaxPool)]


def _fully_parallel(network: Network) -> Plan:
    """Returns the plan that computes a place in a cycle, if the window keeps up; no plan is faster."""
    layers = _weight_layers(network)
    return Plan(tuple(LayerPlan(layer.name, len(layer.weights), layer.weights[0].size) for layer in layers))


def _slowest(network: Network) -> str:
    """Returns what bounds the speed of a network, whatever its plan."""
    parallel = _fully_parallel(network)
    slowest = max(parallel.stages(network), key=lambda stage: stage.cycles)
    if slowest.cycles > max(input_cycles(network), network.classes + 1):
        return f"the pixels that the window of layer {slowest.step.layer.name} reads, one a cycle,"
    return "input and output streams"


def _targets(fastest: int, network: Network) -> Iterator[int]:
    """Yields cycles an image worth trying, rising by about a fortieth, up to one weight a cycle."""
    serial = Plan(tuple(LayerPlan(layer.name, 1, 1) for layer in _weight_layers(network)))
    slowest = serial.cycles(network)
    cycles = fastest
    while cycles < slowest:
        yield cycles
        cycles += max(1, cycles // 40)
    yield slowest


def _cheapest(network: Network, steps: Sequence[Step], cycles: int) -> Plan:
    """Returns the plan with the fewest LUTs of those tried, layer by layer, that takes at most `cycles` an image."""
    layers: list[LayerPlan] = []
    lanes = input_lanes(network)
    for index, step in enumerate(steps):
        if not isinstance(step.layer, MaxPool):
            poolings = takewhile(lambda after: isinstance(after.layer, MaxPool), steps[index + 1 :])
            stage, layer = _cheapest_stage(step, poolings, cycles, lanes, first=index == 0)
            layers.append(layer)
        else:
            stage = next_stage(step, lanes, None, first=index == 0)
        lanes = stage.pe
    return Plan(tuple(layers))


def _cheapest_stage(step: Step, poolings: Iterable[Step], cycles: int, lanes: int, *, first: bool) -> tuple[Stage, LayerPlan]:
    """Returns the cheapest stage of a layer; `poolings` are those right after it, which take its words as they come."""
    layer = step.layer
    assert not isinstance(layer, MaxPool)
    outputs = len(layer.weights)
    word_cycles = max((next_stage(pooling, outputs, None, first=False).cycles for pooling in poolings), default=1)
    least_pe = -(-outputs // max(1, cycles // word_cycles))
    places = next_stage(step, lanes, LayerPlan(layer.name, 1, 1), first=first).places
    candidates = []
    for simd in _simd_choices(layer):
        neuron_folds = cycles // (places * engine_cycles(layer, outputs, simd))
        if neuron_folds:
            planned = LayerPlan(layer.name, max(-(-outputs // neuron_folds), least_pe), simd)
            candidates.append((next_stage(step, lanes, planned, first=first), planned))

    def cost(candidate: tuple[Stage, LayerPlan]) -> tuple[bool, float, float, int]:
        resources = stage_resources(candidate[0])
        return candidate[0].cycles > cycles, resources.luts, resources.block_rams, candidate[0].pe

    return min(candidates, key=cost)


def _simd_choices(layer: WeightLayer) -> list[int]:
    """Returns the numbers of inputs a cycle that make sense for a layer.

    For a convolution the divisors of a pixel's channels and multiples of them, since its window reads pixel by pixel;
    else each number that is the least for its number of words, and the powers of two.
    """
    inputs = layer.weights[0].size
    if isinstance(layer, Conv):
        channels = layer.weights.shape[3]
        return sorted({*divisors(channels), *(channels * pixels for pixels in _least(inputs // channels))})
    return sorted({*_least(inputs), *(1 << power for power in range(inputs.bit_length()))})


def _least(count: int) -> set[int]:
    """Returns each number of lanes that is the least for its number of words."""
    return {-(-count // words) for words in range(1, count + 1)}
