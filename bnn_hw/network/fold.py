# SPDX-License-Identifier: Apache-2.0
"""Folding: bias, batch norm and sign become an integer threshold; a batch norm of scores an integer scale and offset.

A threshold is found by evaluating the trained layer's own function, in its own arithmetic, not by solving for it.
That function is monotone in the sum, since subtracting, multiplying by a constant and adding are monotone also after
rounding; so a bisection over the reachable sums finds the one place where the sign changes, and agrees with the
function at every one of them. `bnn_hw.network.batch_norm` has that function without rounding, to be folded in its place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import DenseRelu, Scores, Sums

__all__ = ["FoldedNeurons", "fold_neurons", "fold_relu", "fold_scores"]

_INT32_MAX = (1 << 31) - 1
_MAX_SCALE = (1 << 17) - 1  # of a layer of 8-bit outputs
_MAX_SHIFT = 31


@dataclass(frozen=True, eq=False)
class FoldedNeurons:
    """The neurons of a layer as integers.

    `weights`: [outputs, ...] bool; `thresholds`: [outputs] int32; `falling`: [outputs] bool, where the trained function
    falls, so that the neuron's weights are inverted and a maximum of its sums has become the AND of its bits.
    """

    weights: np.ndarray
    thresholds: np.ndarray
    falling: np.ndarray


def fold_neurons(name: str, weights: np.ndarray, function: Callable[[np.ndarray], np.ndarray], sums: Sums) -> FoldedNeurons:
    """Returns the neurons that fire exactly where ``function(sum(w * x)) >= 0``.

    `weights`: [outputs, ...] bool; `sums`: those that a neuron can come to. `function` maps sums [1, outputs] int64 to the
    values whose sign the trained layer takes, of the same shape, and is monotone in each neuron's sum. A falling
    function inverts the neuron's weights, a constant one makes a constant neuron. Raises `ArtefactError` naming layer
    and neuron where the function gives NaN.
    """

    def fires(positions: np.ndarray) -> np.ndarray:
        values = function((sums.low + sums.unit * positions)[None])[0]
        if np.isnan(values).any():
            raise ArtefactError(
                f"layer {name}, neuron {int(np.flatnonzero(np.isnan(values))[0])}: the activation is NaN; train again"
            )
        return values >= 0

    outputs, last = len(weights), sums.count - 1
    at_low, at_high = fires(np.zeros(outputs, np.int64)), fires(np.full(outputs, last, np.int64))
    first_changed = _bisect(fires, at_low, last)
    rising, falling = ~at_low & at_high, at_low & ~at_high
    # Position p of the sum is threshold `always + p`. A falling neuron fires while its position is below
    # first_changed, so with inverted weights, which mirror the position to last - p, from last - first_changed + 1 on.
    thresholds = np.select(
        [rising, falling, at_low],
        [sums.always + first_changed, sums.always + last - first_changed + 1, sums.always],
        default=sums.never,
    )
    inverted = falling.reshape(-1, *[1] * (weights.ndim - 1))
    return FoldedNeurons(weights ^ inverted, thresholds.astype(np.int32), falling)


def fold_relu(name: str, weights: np.ndarray, slope: np.ndarray, intercept: np.ndarray, sums: Sums) -> DenseRelu:
    """Returns the integer layer nearest to ``clamp(round(slope * sum + intercept), 0, 255)``.

    `weights`: [outputs, inputs] bool; `slope` and `intercept`: [outputs] float64; `sums`: those that a neuron can come to.
    All neurons share one shift, the greatest with which scales fit in 18 bits, as the multipliers of FPGAs take them, and
    offsets in 32. Raises `ArtefactError` for values that are not finite.
    """
    _check_finite(name, "neuron", slope, intercept)

    def scaled(shift: int) -> tuple[np.ndarray, np.ndarray]:
        return np.rint(np.ldexp(slope, shift)), np.rint(np.ldexp(intercept + 0.5, shift))  # 0.5 makes rounding of a floor

    def fits(shift: int) -> bool:
        scale, offset = scaled(shift)
        return bool((np.abs(scale) <= _MAX_SCALE).all() and (np.abs(offset) <= _INT32_MAX).all())

    shift = next((shift for shift in range(_MAX_SHIFT, -1, -1) if fits(shift)), None)
    if shift is None:
        raise ArtefactError(f"layer {name}: slopes up to {np.abs(slope).max():g} are too steep for 8 bits; train again")
    scale, offset = scaled(shift)
    return DenseRelu(name, weights, scale.astype(np.int32), offset.astype(np.int32), shift)


def fold_scores(name: str, weights: np.ndarray, slope: np.ndarray, intercept: np.ndarray, sums: Sums) -> Scores:
    """Returns the integer score layer for the real scores ``slope * sum + intercept``.

    `weights`: [classes, inputs] bool; `slope` and `intercept`: [classes] float64; `sums`: those that a class can come to.
    All classes share one factor, a power of two, the greatest with which every reachable score fits in int32; so the
    winner agrees up to a rounding of at most half a unit in scale and offset. Raises `ArtefactError` for values that are
    not finite.
    """
    _check_finite(name, "class", slope, intercept)
    reach = -sums.low

    def scaled(exponent: int) -> tuple[np.ndarray, np.ndarray]:
        return np.rint(np.ldexp(slope, exponent)), np.rint(np.ldexp(intercept, exponent))

    def fits(exponent: int) -> bool:
        scale, offset = scaled(exponent)
        return bool((np.abs(scale) * reach + np.abs(offset) <= _INT32_MAX).all())

    greatest = float((np.abs(slope) * reach + np.abs(intercept)).max())
    exponent = 31 - int(np.frexp(greatest)[1]) if greatest > 0 else 0
    while not fits(exponent):  # rounding up may cost one more bit
        exponent -= 1
    scale, offset = scaled(exponent)
    return Scores(name, weights, scale.astype(np.int32), offset.astype(np.int32))


def _check_finite(name: str, output: str, slope: np.ndarray, intercept: np.ndarray) -> None:
    for what, values in (("slope", slope), ("intercept", intercept)):
        if not np.isfinite(values).all():
            index = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ArtefactError(f"layer {name}, {output} {index}: the {what} must be finite, not {values[index]}")


def _bisect(fires: Callable[[np.ndarray], np.ndarray], at_low: np.ndarray, last: int) -> np.ndarray:
    """Returns for each neuron the least position 1..last whose firing differs from position 0's (last if none does)."""
    below, above = np.zeros(len(at_low), np.int64), np.full(len(at_low), last, np.int64)
    while (above - below > 1).any():
        middle = (below + above) // 2
        changed = fires(middle) != at_low
        above, below = np.where(changed, middle, above), np.where(changed, below, middle)
    return above
