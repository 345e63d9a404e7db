# SPDX-License-Identifier: Apache-2.0
"""What is written and read again: a build's manifest, overlays, digests, and folders that are whole or not there."""
