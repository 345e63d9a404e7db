# SPDX-License-Identifier: Apache-2.0
"""What a board gets of a build, and how it gets there."""
