# SPDX-License-Identifier: Apache-2.0
"""A design layer by layer: the units of each layer, seen as one stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bnn_hw.design.estimate import frame_resources, unit_resources
from bnn_hw.design.lower import Design
from bnn_hw.design.units import Argmax, Convert, MatVec, Pool, Slide, Unit, Window
from bnn_hw.fpga.family import SERIES_7, Family
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import Step

__all__ = ["Stage", "conversion_resources", "engine_resources", "stage_resources", "stages", "with_lut_bits"]


@dataclass(frozen=True)
class Stage:
    """A layer and its units, in the order of the data's way."""

    step: Step
    units: tuple[Unit, ...]

    @property
    def engine(self) -> MatVec | Pool:
        *_, engine = self.units
        assert isinstance(engine, MatVec | Pool)
        return engine

    @property
    def matvec(self) -> MatVec:
        assert isinstance(self.engine, MatVec)
        return self.engine

    @property
    def slide(self) -> Slide | None:
        return next((unit for unit in self.units if isinstance(unit, Slide)), None)

    @property
    def window(self) -> Window | None:
        return self.slide.window if self.slide else None

    @property
    def window_lanes(self) -> int:
        return min(self.simd, self.step.input.shape[-1])

    @property
    def conversions(self) -> tuple[tuple[int, int, int], ...]:
        """Count, lanes in and lanes out of each converter before the window or the engine."""
        converts = [unit for unit in self.units if isinstance(unit, Convert) and not unit.joins_pixels]
        return tuple((unit.count, unit.lanes_in, unit.lanes_out) for unit in converts)

    @property
    def pe(self) -> int:
        return self.engine.lanes if isinstance(self.engine, Pool) else self.engine.pe

    @property
    def simd(self) -> int:
        return self.engine.lanes if isinstance(self.engine, Pool) else self.engine.simd

    @property
    def lut_bits(self) -> int:
        return self.matvec.lut_bits

    @property
    def words(self) -> int:
        return 1 if isinstance(self.engine, Pool) else self.engine.weight_words

    @property
    def places(self) -> int:
        return self.engine.places

    @property
    def cycles(self) -> int:
        return max(unit.cycles for unit in self.units if not isinstance(unit, Convert))

    @property
    def reach(self) -> tuple[int, int]:
        return self.matvec.reach


def with_lut_bits(stage: Stage, lut_bits: int) -> Stage:
    """Returns a stage with so many weights of a cycle in look-up tables."""
    *before, engine = stage.units
    assert isinstance(engine, MatVec)
    return Stage(stage.step, (*before, replace(engine, lut_bits=lut_bits)))


def stages(design: Design) -> list[Stage]:
    """Returns the stages of a design, one a layer."""
    units = [unit for unit in design.units if not isinstance(unit, Argmax)]
    return [Stage(step, tuple(unit for unit in units if unit.layer == step.layer.name)) for step in design.network.steps]


def stage_resources(stage: Stage, family: Family, levels: int) -> Resources:
    """Returns the estimate for a layer."""
    return _total(stage.units, family, levels)


def engine_resources(stage: Stage, family: Family, levels: int) -> Resources:
    """Returns the estimate for a layer without the converters in front of it."""
    return _total([unit for unit in stage.units if not isinstance(unit, Convert) or unit.joins_pixels], family, levels)


def conversion_resources(conversion: tuple[int, int, int], bits: int) -> Resources:
    """Returns the estimate for a converter."""
    return frame_resources(Convert("converter", "layer", bits, *conversion, 1), SERIES_7)


def _total(units: Sequence[Unit], family: Family, levels: int) -> Resources:
    return sum((unit_resources(unit, family, levels) for unit in units), start=Resources())
