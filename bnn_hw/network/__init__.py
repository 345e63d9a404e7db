# SPDX-License-Identifier: Apache-2.0
"""What a network computes: its layers, its file, the golden model, and how a trained layer is folded into integers."""
