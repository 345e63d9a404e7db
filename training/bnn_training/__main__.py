# SPDX-License-Identifier: Apache-2.0
"""`python -m bnn_training` is `bnn_hw train`, for `torchrun --nproc-per-node N -m bnn_training`."""

from bnn_hw.cli import main
from bnn_hw.cli.train import train

if __name__ == "__main__":
    main(train)
