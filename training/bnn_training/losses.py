# SPDX-License-Identifier: Apache-2.0
"""The loss of the papers."""

import torch
from torch.nn import functional

__all__ = ["squared_hinge"]


def squared_hinge(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns the mean of ``max(0, 1 - t*y)^2`` over batch and classes, with t = +1 for the label's class, else -1.

    `scores`: [batch, classes] float32; `labels`: [batch] int64. The L2-SVM loss of BinaryConnect and BNN (Tang 2013).
    """
    targets = 2 * functional.one_hot(labels, scores.shape[1]).to(scores.dtype) - 1
    return functional.relu(1 - targets * scores).square().mean()
