# SPDX-License-Identifier: Apache-2.0
"""Batch norm in eval mode, and the sums at which its sign changes, decided by integers alone.

A neuron's function of its sum is zero at one real number, the neuron's threshold::

    (mean - bias) - beta * sqrt(variance + epsilon) / gamma

Floating point rounds on the way there, each implementation at places of its own, so that at a sum this close to the threshold the
sign is that of the rounding. Parameters are binary fractions, so the threshold is a fraction plus or minus the root of one,
and `math.isqrt` finds the integers on either side of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, isqrt
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError
from bnn_hw.network.network import Sums

__all__ = ["BatchNorm"]

_MANTISSA_BITS: Final = 23  # of float32
_BEYOND: Final = 1 << 40  # any sum


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch norm in eval mode of a sum, ``gamma * (sum + bias - mean) / sqrt(variance + epsilon) + beta``.

    `bias`, `mean`, `variance`, `gamma`, `beta`: [outputs] float (Ioffe and Szegedy 2015). Shift-based batch norm (Hubara et al.
    2016, algorithm 3) has `slope`, [outputs] float, powers of two, in place of ``gamma / sqrt(variance + epsilon)``.
    """

    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float
    slope: np.ndarray | None = None

    def check(self, layer: str) -> None:
        """Raises `ArtefactError` naming layer and neuron where a value is not finite or a variance not positive."""
        for name in ("bias", "mean", "variance", "gamma", "beta"):
            values = getattr(self, name)
            defined = np.isfinite(values) & ((values > 0) if name == "variance" else True)
            if not defined.all():
                neuron = int(np.flatnonzero(~defined)[0])
                what = name if name == "bias" else f"batch norm {name}"
                rule = "positive and finite" if name == "variance" else "finite"
                raise ArtefactError(
                    f"layer {layer}, neuron {neuron}: {what} must be {rule}, not {values[neuron]}; train on, or remove the neuron"
                )

    def exact(self) -> Callable[[np.ndarray], np.ndarray]:
        """Returns a function of sums, [..., outputs] int64, to integers that are negative exactly where batch norm is."""
        direction, offset = np.zeros((2, len(self.gamma)), np.int64)
        for neuron, threshold in enumerate(self._thresholds):
            if threshold is None:  # a constant neuron
                offset[neuron] = 0 if self.beta[neuron] >= 0 else -1
            elif self._factor[neuron] > 0:  # fires from the threshold on
                direction[neuron], offset[neuron] = 1, max(-_BEYOND, min(-ceil(threshold), _BEYOND))
            else:
                direction[neuron], offset[neuron] = -1, max(-_BEYOND, min(floor(threshold), _BEYOND))
        return lambda sums: direction * sums + offset

    def near_ties(self, sums: Sums) -> int:
        """Returns how many pairs of a neuron and one of `sums` lie within an ulp of the neuron's threshold.

        The ulp is float32's at the greatest magnitude of 1, bias, mean and threshold. A neuron that is constant has none.
        """
        count = 0
        for neuron, threshold in enumerate(self._thresholds):
            if threshold is not None:
                nearest = min(abs(floor(threshold)), abs(ceil(threshold)))
                greatest = max(1, nearest, int(abs(self.bias[neuron])), int(abs(self.mean[neuron])))
                ulp = Fraction(2) ** (greatest.bit_length() - 1 - _MANTISSA_BITS)
                first = -((sums.low - ceil(threshold + -ulp)) // sums.unit)
                last = (floor(threshold + ulp) - sums.low) // sums.unit
                count += max(0, min(last, sums.count - 1) - max(first, 0) + 1)
        return count

    @property
    def _factor(self) -> np.ndarray:
        """What has the sign of the slope."""
        return self.gamma if self.slope is None else self.slope

    @cached_property
    def _thresholds(self) -> list["_Root | None"]:
        """The sum at which each neuron's function is zero, or None where its slope is zero."""
        return [self._threshold(neuron) for neuron in range(len(self.gamma))]

    def _threshold(self, neuron: int) -> "_Root | None":
        values = (self.bias, self.mean, self.variance, self._factor, self.beta)
        bias, mean, variance, factor, beta = (Fraction(float(of_neurons[neuron])) for of_neurons in values)
        if factor == 0:
            return None
        square = variance + Fraction(self.epsilon) if self.slope is None else 1
        return _Root(mean - bias, -1 if (beta > 0) == (factor > 0) else 1, (beta / factor) ** 2 * square)


@dataclass(frozen=True)
class _Root:
    """The real number ``rational + sign * sqrt(square)``."""

    rational: Fraction
    sign: int
    square: Fraction

    def __add__(self, other: Fraction) -> "_Root":
        return _Root(self.rational + other, self.sign, self.square)

    def __neg__(self) -> "_Root":
        return _Root(-self.rational, -self.sign, self.square)

    def __floor__(self) -> int:
        # Over one denominator it is an integer and the root of one: floor((a + y) / b) is floor((a + floor(y)) / b).
        denominator = self.rational.denominator * self.square.denominator
        square = self.square.numerator * self.square.denominator * self.rational.denominator**2
        root = isqrt(square)
        if self.sign < 0:
            root = -root if root**2 == square else -root - 1
        return (self.rational.numerator * self.square.denominator + root) // denominator

    def __ceil__(self) -> int:
        return -floor(-self)
