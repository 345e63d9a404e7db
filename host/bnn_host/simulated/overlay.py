# SPDX-License-Identifier: Apache-2.0
"""The overlay of a build for a simulated board: a stand-in for the bitstream, and the hardware handoff."""

import hashlib
from pathlib import Path

from bnn_host.simulated.bitfile import bin_content, bit_file
from bnn_host.simulated.hwh import hwh
from bnn_hw.boards import find_board
from bnn_hw.errors import ArtefactError
from bnn_hw.manifest import MANIFEST, Manifest
from bnn_hw.overlay import OVERLAY_FOLDER, read_overlay, seal_overlay

__all__ = ["simulated_bitstream"]


def simulated_bitstream(build: Path, manifest: Manifest) -> bytes:
    """Returns the bitstream, as a .bin, that a simulated board takes for this build: that of the build's overlay.

    Where the build has none, makes a stand-in. Raises `ArtefactError` where the board has no processor, or the overlay is
    another build's.
    """
    folder = build / OVERLAY_FOLDER
    bit = folder / f"{manifest.top}.bit"
    if not folder.exists():
        board = find_board(manifest.board)
        if board.processor is None:
            raise ArtefactError(f"{board.name} has no processor, so no simulated board; build for one that has (`bnn_hw boards`)")
        folder.mkdir()
        handoff = hwh(board, board.processor, manifest.ports["s_axi"]["address_bits"])
        (folder / f"{manifest.top}.hwh").write_text(handoff)
        # Of its own for each handoff, since PYNQ keeps what it has parsed by the digest of the .bit.
        content = hashlib.sha256((build / MANIFEST).read_bytes() + handoff.encode()).digest()
        bit.write_bytes(bit_file(f"{manifest.top} (simulated)", manifest.part, content))
        seal_overlay(build, manifest, clock_mhz=manifest.clock_mhz, simulated=True, facts={})
    read_overlay(build)
    return bin_content(bit)
