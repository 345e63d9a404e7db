# SPDX-License-Identifier: Apache-2.0
"""The design: an accelerator as data, between the plan and everything that executes it."""

from dataclasses import dataclass

from bnn_hw.design.plan import Plan, check_plan
from bnn_hw.design.stage import Stage, input_cycles, stages
from bnn_hw.network.network import Network

__all__ = ["Design", "lower"]


@dataclass(frozen=True, eq=False)
class Design:
    """The hardware of a network under a plan, made by `lower`: a stage for each layer, in order."""

    network: Network
    plan: Plan
    stages: tuple[Stage, ...]

    @property
    def cycles(self) -> int:
        """The initiation interval: cycles from one image to the next."""
        return max(*(stage.cycles for stage in self.stages), input_cycles(self.network), self.network.classes + 1)


def lower(network: Network, plan: Plan) -> Design:
    """Returns the hardware of `network` under `plan`. Raises `ArtefactError` naming the layer where they do not fit."""
    check_plan(network, plan)
    return Design(network, plan, tuple(stages(network, plan.layers, runtime_weights=plan.runtime_weights)))
