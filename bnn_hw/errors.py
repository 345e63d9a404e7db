# SPDX-License-Identifier: Apache-2.0
"""The errors that bnn_hw raises for its users: one base class, and one exit code a family.

Each message names the rule, the value that broke it and the way out. The command line catches `BnnHwError` once and
leaves with its `exit_code`; anything else that escapes is a bug of bnn_hw.
"""

__all__ = ["ArtefactError", "BnnHwError", "BoardError", "MismatchError", "ToolError", "UsageError"]


class BnnHwError(Exception):
    """The base of every error that a user can cause or mend."""

    exit_code = 1


class UsageError(BnnHwError):
    """An option or argument that means nothing here."""

    exit_code = 1


class ArtefactError(BnnHwError):
    """A network, board, data set, plan or build that cannot be used."""

    exit_code = 2


class BoardError(ArtefactError):
    """A board that is absent, in use, silent or at fault, or that carries something else than it must."""


class ToolError(BnnHwError):
    """An outside tool or package that is missing, too old, or that failed."""

    exit_code = 3


class MismatchError(BnnHwError):
    """Two executors of one network that disagree."""

    exit_code = 4
