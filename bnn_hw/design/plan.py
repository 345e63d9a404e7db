# SPDX-License-Identifier: Apache-2.0
"""The plan: how many outputs (PE) and inputs (SIMD) of each layer are computed in a cycle, and where its weights are held.

A layer takes ``ceil(outputs/PE) * ceil(inputs/SIMD)`` cycles for each place of an image; all layers work at once, so the
slowest one sets the initiation interval. `bnn_hw.design.planner` finds plans; `bnn_hw.design.plan_file` reads and writes them.
"""

from dataclasses import dataclass

from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.family import SERIES_7, Family
from bnn_hw.network.network import Network, WeightLayer, pixel_channels, weight_layer

__all__ = ["LayerPlan", "Plan", "check_plan", "weight_layers"]


@dataclass(frozen=True)
class LayerPlan:
    """The parallelism of one layer."""

    name: str
    pe: int  # outputs a cycle
    simd: int  # inputs a cycle
    lut_bits: int = 0  # of the pe*simd weights of a cycle, those that are held in look-up tables, not in block RAM


@dataclass(frozen=True)
class Plan:
    """The parallelism of a network's layers with weights, in order, and what it is made of.

    `levels`: the most levels of logic between two registers of a dot product: look-up tables, or adders where the
    family's have less than 6 inputs. `runtime_weights`: whether the weights can be replaced (see
    `bnn_hw.design.runtime_weights`).
    """

    layers: tuple[LayerPlan, ...]
    family: Family = SERIES_7
    levels: int = 8
    runtime_weights: bool = False


def check_plan(network: Network, plan: Plan) -> None:
    """Raises `ArtefactError`, naming the layer, where the plan is not one for `network`."""
    planned_layers = weight_layers(network)
    names = [layer.name for layer in planned_layers]
    if [layer.name for layer in plan.layers] != names:
        raise ArtefactError(f"plan must have the layers {', '.join(names)}, not {', '.join(layer.name for layer in plan.layers)}")
    if plan.levels < 2:
        raise ArtefactError(f"plan: levels must be 2 or more, not {plan.levels}")
    for layer, planned in zip(planned_layers, plan.layers, strict=True):
        _check_layer(layer, planned)


def _check_layer(layer: WeightLayer, planned: LayerPlan) -> None:
    outputs, inputs = len(layer.weights), layer.weights[0].size
    if not (1 <= planned.pe <= outputs and 1 <= planned.simd <= inputs):
        raise ArtefactError(
            f"plan, layer {layer.name}: pe must be in 1..{outputs} and simd in 1..{inputs}, not {planned.pe} and {planned.simd}"
        )
    channels = pixel_channels(layer)
    if channels and channels % planned.simd and planned.simd % channels:
        raise ArtefactError(
            f"plan, layer {layer.name}: simd must divide the {channels} channels of a pixel or be a multiple of them, "
            f"not {planned.simd}"
        )
    if not 0 <= planned.lut_bits <= planned.pe * planned.simd:
        raise ArtefactError(
            f"plan, layer {layer.name}: lut_bits must be in 0..{planned.pe * planned.simd}, the weights of a cycle, "
            f"not {planned.lut_bits}"
        )


def weight_layers(network: Network) -> list[WeightLayer]:
    """Returns the layers that have a plan."""
    return [layer for layer in map(weight_layer, network.layers) if layer]
