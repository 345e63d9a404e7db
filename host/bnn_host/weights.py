# SPDX-License-Identifier: Apache-2.0
"""Other weights in an accelerator that was built for it: written, read back by the hardware, and taken between two images."""

import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from bnn_host.dma import poll
from bnn_host.register_access import Registers
from bnn_hw.artefacts.manifest import Manifest
from bnn_hw.contract.registers import Control, Register, Status
from bnn_hw.design.plan_file import load_plan
from bnn_hw.design.runtime_weights import check_same_shape, memory_words
from bnn_hw.errors import ArtefactError, BoardError
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.file import load_network, network_digest
from bnn_hw.network.network import Network

__all__ = ["Replacement", "replacement", "swap"]


@dataclass(frozen=True, eq=False)
class Replacement:
    """A network and the content that the window of weights at `offset` must hold for it."""

    network: Network
    digest: str
    offset: int
    content: bytes


def replacement(build: Path, manifest: Manifest, network: Network | Path) -> Replacement:
    """Returns the weights with which `network`, given itself or as a file, replaces the build's.

    Raises `ArtefactError` where the build has no run-time weights or the network another shape.
    """
    window = manifest.ports["s_axi"].get("weights")
    if not window:
        raise ArtefactError(
            f"{build} has its weights in the bitstream; `bnn_hw build --runtime-weights` makes one that takes others"
        )
    built = load_network(build / "network.safetensors")
    other = network if isinstance(network, Network) else load_network(network)
    check_same_shape(built, other)
    plan = load_plan(build / "plan.json", built, find_board(manifest.board))
    content = memory_words(other, plan).astype("<u4", copy=False).tobytes()
    assert len(content) == 4 * window["words"]
    return Replacement(other, network_digest(other), window["offset"], content)


def swap(registers: Registers, new: Replacement, timeout_s: float) -> None:
    """Puts other weights into use. No image may be in transfer.

    Raises `BoardError` if the hardware reads back something else, which leaves the weights in use unchanged, or does not
    end in time.
    """
    registers.write_words(new.offset, new.content)
    crc = zlib.crc32(new.content)
    registers.write(Register.WEIGHTS_CRC, crc)
    registers.write_digest(Register.NEXT_DIGEST, new.digest)
    registers.write(Register.STATUS, Status.SWAP_FAILED)  # from an earlier swap
    registers.write(Register.CONTROL, Control.SWAP)
    if not poll(lambda: not registers.status() & Status.SWAPPING, time.monotonic() + timeout_s):
        raise BoardError(f"the swap of weights does not end within {timeout_s:g} s")
    if registers.status() & Status.SWAP_FAILED:
        found = registers.read(Register.FOUND_CRC)
        raise BoardError(
            f"the weights on the board must have CRC-32 {crc:#010x}, not {found:#010x}: they were damaged on the way, and those of "
            "before stay in use; load them again"
        )
    digest = registers.digest(Register.DIGEST)
    if digest != new.digest:
        raise BoardError(f"after the swap the accelerator must carry {new.digest}, not {digest}; load the weights again")
