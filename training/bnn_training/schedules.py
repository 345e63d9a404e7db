# SPDX-License-Identifier: Apache-2.0
"""Schedules by which the learning rate falls over a training."""

import math
from typing import Literal, TypeAlias

__all__ = ["ScheduleName", "learning_rate"]

ScheduleName: TypeAlias = Literal["cosine", "exponential", "halving"]


def learning_rate(schedule: ScheduleName, first: float, last: float, halve_every: int, epochs: int, progress: float) -> float:
    """Returns the learning rate after `progress` epochs of `epochs`; `progress` may be fractional.

    - ``cosine``: ``first * (1 + cos(pi * progress / epochs)) / 2``, in each step anew (Loshchilov and Hutter 2017, without
      restarts);
    - ``exponential``: ``first * (last / first)**(epoch / epochs)``, the same for all steps of an epoch 0, 1, ...
      (Courbariaux's code of BinaryConnect and BinaryNet);
    - ``halving``: ``first / 2**(epoch // halve_every)`` (Hubara's Torch7 code).
    """
    epoch = math.floor(progress)
    match schedule:
        case "cosine":
            return first * (1 + math.cos(math.pi * progress / epochs)) / 2
        case "exponential":
            return first * (last / first) ** (epoch / epochs)
        case "halving":
            return first * 0.5 ** (epoch // halve_every)
