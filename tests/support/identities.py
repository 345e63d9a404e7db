# SPDX-License-Identifier: Apache-2.0
"""Identities of data that were never there, for checkpoints and networks of tests."""

from bnn_hw.datasets import DataIdentity
from bnn_hw.datasets.pixels import PixelStatistics

__all__ = ["made_up_data"]


def made_up_data(name: str, classes: int) -> DataIdentity:
    """Returns the identity of data of that name with classes a, b, c, ..."""
    names = tuple("abcdefghijklmnopqrstuvwxyz"[:classes])
    return DataIdentity(name, "0123456789abcdef" * 4, names, PixelStatistics(0, 255, 99.5, 3, 12))
