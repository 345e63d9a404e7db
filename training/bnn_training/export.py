# SPDX-License-Identifier: Apache-2.0
"""The names of `bnn_training.folding` under which `bnn_hw.cli.train` imports them; goes when that says folding."""

from bnn_training.folding import Ties, folding_obstacle, test_accuracy

__all__ = ["Ties", "folding_obstacle", "test_accuracy"]
