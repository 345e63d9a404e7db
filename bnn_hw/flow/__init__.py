# SPDX-License-Identifier: Apache-2.0
"""The way from a network to a sealed build, and its verification."""
