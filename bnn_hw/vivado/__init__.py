# SPDX-License-Identifier: Apache-2.0
"""The bitstream of a build for a board with a processor, by AMD's Vivado, here or on another machine."""

from bnn_hw.vivado.collect import collect_bitstream, is_finished
from bnn_hw.vivado.run import make_bitstream

__all__ = ["collect_bitstream", "is_finished", "make_bitstream"]
