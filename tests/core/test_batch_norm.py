# SPDX-License-Identifier: Apache-2.0
"""Batch norm decided by integers: against fractions of a hundred digits, and by hand where floats decide otherwise."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.network.batch_norm import BatchNorm
from bnn_hw.network.network import Sums

DIGITS = 150


def one(
    *,
    bias: float = 0,
    mean: float = 0,
    variance: float = 1,
    gamma: float = 1,
    beta: float = 0,
    epsilon: float = 0,
    slope: float | None = None,
) -> BatchNorm:
    """Returns the batch norm of a single neuron."""
    values = (np.array([value], np.float32) for value in (bias, mean, variance, gamma, beta))
    return BatchNorm(*values, epsilon, None if slope is None else np.array([slope], np.float32))


def fires(norm: BatchNorm, sums: Sums) -> list[bool]:
    """Returns whether a single neuron fires at each sum."""
    column = sums.low + sums.unit * np.arange(sums.count)[:, None]
    return (norm.exact()(column)[:, 0] >= 0).tolist()


def naive_value(norm: BatchNorm, total: int) -> Decimal:
    """Returns what the formula gives with many digits."""
    bias, mean, variance, gamma, beta = (Decimal(float(a[0])) for a in (norm.bias, norm.mean, norm.variance, norm.gamma, norm.beta))
    slope = gamma / (variance + Decimal(norm.epsilon)).sqrt() if norm.slope is None else Decimal(float(norm.slope[0]))
    return (total + bias - mean) * slope + beta


floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-30, -1e-30, 1e-45, 2.0**100]),
    st.floats(-300, 300, width=32),
    st.integers(-50, 50).map(float),
)


@settings(deadline=None, max_examples=300)
@given(
    parameters=st.tuples(floats, floats, floats, floats),
    variance=st.one_of(st.sampled_from([0.25, 1.0, 2.0, 3.75, 1e-10]), st.floats(2.0**-20, 5000, width=32)),
    epsilon=st.sampled_from([0.0, 1e-4, 0.25]),
    slope=st.one_of(st.none(), st.sampled_from([0.0, 1.0, -1.0, 0.25, -8.0, 2.0**-100, -(2.0**-149)])),
)
def test_a_neuron_fires_where_the_formula_is_not_negative(
    parameters: tuple[float, float, float, float], variance: float, epsilon: float, slope: float | None
) -> None:
    bias, mean, gamma, beta = parameters
    norm = one(bias=bias, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon, slope=slope)
    sums = Sums.of(40, "bit")
    with localcontext() as context:
        context.prec = DIGITS
        values = [naive_value(norm, total) for total in range(-40, 41, 2)]
    for fired, value in zip(fires(norm, sums), values, strict=True):
        if abs(value) > Decimal(10) ** (30 - DIGITS):  # what is nearer to zero may be a zero that 150 digits do not show
            assert fired == (value > 0)


def test_ties_by_hand() -> None:
    """The function is exactly zero at the sum 3, with a root that is a fraction; and floats round it below zero."""
    norm = one(mean=10, variance=2, epsilon=0.25, gamma=1.5, beta=7)  # (3 - 10) / 1.5 * 1.5 + 7
    assert fires(norm, Sums.of(5, "bit")) == [False, False, False, False, True, True]  # -5, -3, ... 5
    falling = one(mean=10, variance=2, epsilon=0.25, gamma=-1.5, beta=-7)
    assert fires(falling, Sums.of(5, "bit")) == [True, True, True, True, True, False]
    for gamma in (1, -1):  # a threshold of 5 less the root of 2
        fired = fires(one(mean=5, variance=2, gamma=gamma, beta=gamma), Sums.of(6, "bit", zeros=True))
        assert fired == [(total > 3) == (gamma > 0) for total in range(-6, 7)]
    assert fires(one(mean=3), Sums.of(3, "bit")) == [False, False, False, True]
    assert fires(one(bias=1e-30, mean=3), Sums.of(3, "bit")) == [False, False, False, True]
    assert fires(one(bias=-1e-30, mean=3), Sums.of(3, "bit")) == [False] * 4  # where 3 - 1e-30 is 3 to floats


def test_constant_neurons_by_hand() -> None:
    for beta, constant in ((0, True), (-0.0, True), (1, True), (-1e-45, False)):
        assert fires(one(gamma=0, beta=beta), Sums.of(3, "bit")) == [constant] * 4
    for beta, constant in ((1, True), (-1, False)):  # the threshold is past all integers of 64 bits
        for gamma in (1e-40, -1e-40):
            assert fires(one(gamma=gamma, beta=beta), Sums.of(3, "int8")) == [constant] * Sums.of(3, "int8").count


@pytest.mark.parametrize("slope", [1.0, -1.0, 0.25, -0.5, 8.0])
def test_shift_based_batch_norm_by_hand(slope: float) -> None:
    """A beta of six slopes puts the threshold at -6, whatever gamma and variance are."""
    norm = one(gamma=-3 * slope, variance=3, beta=6 * slope, slope=slope)
    assert fires(norm, Sums.of(10, "bit")) == [(total >= -6) if slope > 0 else (total <= -6) for total in range(-10, 11, 2)]
    assert norm.near_ties(Sums.of(10, "bit")) == 1


def naive_near_ties(norm: BatchNorm, sums: Sums) -> int:
    """Counts the sums within an ulp of the threshold, in floats of 53 bits."""
    bias, mean, variance, gamma, beta = (float(a[0]) for a in (norm.bias, norm.mean, norm.variance, norm.gamma, norm.beta))
    threshold = mean - bias - beta * math.sqrt(variance + norm.epsilon) / gamma
    ulp = float(np.spacing(np.float32(max(1, abs(bias), abs(mean), abs(threshold)))))
    return sum(abs(sums.low + sums.unit * position - threshold) <= ulp for position in range(sums.count))


@pytest.mark.parametrize("offset", [0, 0.5, 0.99, 1.01, 3])
@pytest.mark.parametrize("mean", [-7000.0, 3.0, 5.0, 2049.0])
def test_sums_near_a_threshold(mean: float, offset: float) -> None:
    """The threshold lies so many ulps beside a sum that can or cannot be reached: -7000 is past all of them, and even ones are."""
    ulp = float(np.spacing(np.float32(mean)))
    sums = Sums.of(4095, "bit")
    norm = one(mean=mean, beta=-abs(ulp) * offset, gamma=2, variance=4)  # the slope is 1
    expected = int(offset < 1 and abs(mean) <= 4095)
    assert norm.near_ties(sums) == expected == naive_near_ties(norm, sums)
    assert norm.near_ties(Sums.of(4096, "bit")) == 0  # whose sums are even


def test_many_sums_lie_near_a_threshold_where_float32_does_not_hold_integers() -> None:
    norm = one(mean=2.0**27, variance=4, gamma=2)  # the ulp is 16
    sums = Sums.of(1 << 20, "int8")
    assert sums.low == -(2**27)
    assert norm.near_ties(sums) == 17  # from the greatest sum down
    assert one(mean=2.0**26).near_ties(sums) == 17  # 8 on either side


def test_constant_neurons_have_no_near_ties() -> None:
    assert one(gamma=0, beta=0).near_ties(Sums.of(3, "bit")) == 0


def test_near_ties_of_several_neurons_add_up() -> None:
    columns = np.array([[0, 3, 1, 1, 0], [0, 4, 1, 1, 0], [0, 1, 1, 2, 0], [0, 0.5, 1, 1, 0.5]], np.float32).T
    norm = BatchNorm(*columns, epsilon=1e-4)
    assert norm.near_ties(Sums.of(3, "bit")) == 2
    assert norm.near_ties(Sums.of(4, "bit")) == 1
    assert norm.near_ties(Sums.of(4, "bit", zeros=True)) == 3
