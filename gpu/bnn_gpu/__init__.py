# SPDX-License-Identifier: Apache-2.0
"""The GPU path: CUDA kernels. The next releases fill it."""
