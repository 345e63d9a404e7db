# SPDX-License-Identifier: Apache-2.0
"""The hardware: Amaranth components, their Verilog, and its simulation."""
