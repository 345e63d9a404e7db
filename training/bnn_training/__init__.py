# SPDX-License-Identifier: Apache-2.0
"""Training: binarized networks in PyTorch, and their export to integers."""
