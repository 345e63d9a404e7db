# SPDX-License-Identifier: Apache-2.0
"""Schedules of the learning rate, by hand: at the beginning, in the middle and at the end."""

import math

import pytest

from bnn_training.schedules import ScheduleName, learning_rate


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        ("cosine", 0, 0.5),
        ("cosine", 2.5, 0.25 * (1 + math.sqrt(0.5))),
        ("cosine", 5, 0.25),
        ("cosine", 7.5, 0.25 * (1 - math.sqrt(0.5))),
        ("cosine", 10, 0),
        ("exponential", 0, 0.5),
        ("exponential", 0.99, 0.5),  # the same in all steps of an epoch
        ("exponential", 1, 0.5 / 100**0.1),
        ("exponential", 5, 0.05),
        ("exponential", 5.5, 0.05),
        ("exponential", 9, 0.005 * 100**0.1),
        ("exponential", 10, 0.005),
        ("halving", 0, 0.5),
        ("halving", 2.99, 0.5),
        ("halving", 3, 0.25),
        ("halving", 5.5, 0.25),
        ("halving", 6, 0.125),
        ("halving", 9, 0.0625),
    ],
)
def test_by_hand(schedule: ScheduleName, progress: float, expected: float) -> None:
    """From 0.5 to 0.005 in 10 epochs, or halved every 3."""
    assert learning_rate(schedule, 0.5, 0.005, 3, 10, progress) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_halving_is_exact() -> None:
    """The Torch7 recipes start at a power of two and stay at powers of two."""
    rates = [learning_rate("halving", 2**-6, 0, 20, 200, epoch) for epoch in range(200)]
    assert rates == [2.0 ** -(6 + epoch // 20) for epoch in range(200)]
