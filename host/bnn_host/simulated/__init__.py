# SPDX-License-Identifier: Apache-2.0
"""A simulated board: the board's interface to PYNQ, with the Verilog of a build behind it."""
