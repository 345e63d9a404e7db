# SPDX-License-Identifier: Apache-2.0
"""The overlay of a build for a simulated board: a stand-in for the bitstream, and the hardware handoff."""

import hashlib
from pathlib import Path

from bnn_host.simulated.bitfile import bin_content, bit_file
from bnn_host.simulated.hwh import hwh
from bnn_hw.artefacts.folders import partial_folder
from bnn_hw.artefacts.manifest import Manifest, manifest_digest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, read_overlay, seal_overlay
from bnn_hw.fpga.boards import find_board, needed_processor

__all__ = ["simulated_bitstream"]


def simulated_bitstream(build: Path, manifest: Manifest) -> bytes:
    """Returns the bitstream, as a .bin, that a simulated board takes for this build: that of the build's overlay.

    If the build has none, makes a stand-in. Raises `ArtefactError` where the board has no processor, or the overlay is
    another build's.
    """
    if not (build / OVERLAY_FOLDER).exists():
        _make_stand_in(build, manifest)
    read_overlay(build)
    return bin_content(build / OVERLAY_FOLDER / f"{manifest.top}.bit")


def _make_stand_in(build: Path, manifest: Manifest) -> None:
    board = find_board(manifest.board)
    processor = needed_processor(board, ", so no simulated board; build for one that has (`bnn_hw boards`)")
    handoff = hwh(board, processor, manifest.top, manifest.ports["s_axi"]["address_bits"])
    # A different one for each handoff, since PYNQ caches parsed handoffs by the digest of the .bit.
    content = hashlib.sha256(f"{manifest_digest(build)} {handoff}".encode()).digest()
    with partial_folder(build, OVERLAY_FOLDER) as partial:
        (partial / f"{manifest.top}.hwh").write_text(handoff)
        (partial / f"{manifest.top}.bit").write_bytes(bit_file(f"{manifest.top} (simulated)", manifest.part, content))
        seal_overlay(partial, build, manifest, clock_mhz=manifest.clock_mhz, simulated=True, facts={})
        try:
            partial.rename(build / OVERLAY_FOLDER)
        except OSError:
            if not (build / OVERLAY_FOLDER).exists():
                raise  # otherwise another process has made it meanwhile
