# SPDX-License-Identifier: Apache-2.0
"""What hardware and drivers agree on: registers, frames and the system around the accelerator."""
