# SPDX-License-Identifier: Apache-2.0
"""What several commands say of a model that the user names."""

from typing import Final

__all__ = ["MODEL_HELP"]

MODEL_HELP: Final = "A packaged network (see `bnn_hw models`), a network file, a checkpoint, or a folder of a build or training."
