# SPDX-License-Identifier: Apache-2.0
"""A simulated board: what PYNQ sees of a board, with the Verilog of a build behind it."""
