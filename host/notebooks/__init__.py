# SPDX-License-Identifier: Apache-2.0
"""Notebooks for a board, as `pynq get-notebooks` delivers them."""
