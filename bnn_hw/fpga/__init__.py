# SPDX-License-Identifier: Apache-2.0
"""What hardware is made of: FPGA families, boards, and circuits of look-up tables with their cost."""
