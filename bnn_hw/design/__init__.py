# SPDX-License-Identifier: Apache-2.0
"""From a network to hardware as data: the plan, the search for one, and the design with its cost."""
