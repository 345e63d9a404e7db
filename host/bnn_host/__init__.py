# SPDX-License-Identifier: Apache-2.0
"""The board: drivers."""

from bnn_host.accelerator import Accelerator

__all__ = ["Accelerator"]
