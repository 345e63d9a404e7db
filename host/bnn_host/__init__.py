# SPDX-License-Identifier: Apache-2.0
"""The board: drivers. The next releases fill it."""
