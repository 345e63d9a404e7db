# SPDX-License-Identifier: Apache-2.0
"""The error of a board that does not answer, after which nothing more can be done with it."""

from bnn_hw.errors import BoardError

__all__ = ["UnreachableBoardError"]


class UnreachableBoardError(BoardError):
    """A board that does not answer."""
