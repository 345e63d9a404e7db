# SPDX-License-Identifier: Apache-2.0
"""`python -m bnn_hw`."""

from bnn_hw.cli import main

main()
