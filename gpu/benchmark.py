# SPDX-License-Identifier: Apache-2.0
"""The GPU benchmark, ``bnn_hw bench gpu``, as a script: ``python gpu/benchmark.py --quick``."""

import sys

from bnn_hw.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench", "gpu"]
    main()
