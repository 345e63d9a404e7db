# SPDX-License-Identifier: Apache-2.0
"""The training data in a network's provenance."""

from typing import Final

from bnn_hw.datasets.dataset import DataIdentity
from bnn_hw.network.network import Network

__all__ = ["DATA", "trained_on"]

DATA: Final = "data"  # the field of the provenance


def trained_on(network: Network) -> DataIdentity | None:
    """Returns which data a network was trained on, or None where its provenance does not say it, or not for these classes."""
    try:
        identity = DataIdentity.from_json(network.provenance.get(DATA))
    except ValueError:
        return None
    return identity if len(identity.class_names) == network.classes else None
