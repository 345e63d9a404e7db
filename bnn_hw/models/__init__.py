# SPDX-License-Identifier: Apache-2.0
"""The packaged networks and test images, and what finds them."""
