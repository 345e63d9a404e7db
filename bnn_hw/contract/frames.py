# SPDX-License-Identifier: Apache-2.0
"""The frames on a board's serial port, as RTL and host both know them; byte by byte in docs/uart.md."""

import binascii
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bnn_hw.contract.streams import image_bytes
from bnn_hw.errors import ArtefactError
from bnn_hw.network.file import network_digest
from bnn_hw.network.network import Network, element_bits
from bnn_hw.network.packing import packed_bytes

__all__ = [
    "CRC_BYTES",
    "DTYPES",
    "HEADER_BYTES",
    "IDENTITY_BYTES",
    "START",
    "VERSION",
    "Answer",
    "Fault",
    "Identity",
    "Request",
    "frame",
    "frame_crc",
    "header",
    "silence_bits",
]

VERSION: Final = 1
START: Final = 0xA5
HEADER_BYTES: Final = 4  # START, type, length
CRC_BYTES: Final = 2
DTYPES: Final = ("bit", "uint8", "int8")  # each stands for its index
_MAX_PAYLOAD_BYTES: Final = (1 << 16) - 1
_DIGEST_BYTES: Final = 32
IDENTITY_BYTES: Final = 1 + 1 + 4 + 2 + _DIGEST_BYTES


class Request(IntEnum):
    """Types of frames to the board."""

    IDENTIFY = 0x01  # no payload
    CLASSIFY = 0x02  # an image


class Answer(IntEnum):
    """Types of frames from the board."""

    IDENTITY = 0x81  # Identity
    RESULT = 0x82  # the int32 scores, class 0 first, then the int32 class
    FAULT = 0xFF  # one byte, a Fault


class Fault(IntEnum):
    """Why a request has no other answer."""

    UNKNOWN_TYPE = 1
    WRONG_LENGTH = 2
    WRONG_CRC = 3
    SILENCE = 4  # the request stopped within
    FRAMING = 5  # a byte had no stop bit
    OVERRUN = 6  # the accelerator had not taken the image's bytes when the next ones came


@dataclass(frozen=True)
class Identity:
    """What a board carries. `digest`: the network's SHA-256, as `network_digest` gives it."""

    dtype: str
    elements: int  # of an image
    classes: int
    digest: str

    @classmethod
    def of(cls, network: Network) -> "Identity":
        """Returns what a board with this network says. Raises `ArtefactError` where a frame cannot hold image or scores."""
        identity = cls(network.input.dtype, network.input.signal.size, network.classes, network_digest(network))
        for what, count in (("image", identity.image_bytes), ("result", identity.result_bytes)):
            if count > _MAX_PAYLOAD_BYTES:
                raise ArtefactError(
                    f"network {network.name}: a frame holds {_MAX_PAYLOAD_BYTES:,} bytes, but its {what} has {count:,}; "
                    "use a board with a processor"
                )
        assert identity.image_bytes == packed_bytes(network.input.signal.size * element_bits(network.input.signal))
        return identity

    @classmethod
    def from_payload(cls, payload: bytes) -> "Identity":
        """Reads an identity. Raises `ArtefactError` where it is not one of this version."""
        if not payload or payload[0] != VERSION:
            raise ArtefactError(f"the board's protocol must be version {VERSION}, not {payload[0] if payload else 'nothing'}")
        if len(payload) != IDENTITY_BYTES or payload[1] >= len(DTYPES):
            raise ArtefactError(f"the board's identity must be {IDENTITY_BYTES} bytes of version {VERSION}, not {payload.hex(' ')}")
        elements, classes = int.from_bytes(payload[2:6], "little"), int.from_bytes(payload[6:8], "little")
        return cls(DTYPES[payload[1]], elements, classes, payload[8:].hex())

    @property
    def payload(self) -> bytes:
        """The identity as the board sends it."""
        fields = (VERSION, 1), (DTYPES.index(self.dtype), 1), (self.elements, 4), (self.classes, 2)
        return b"".join(value.to_bytes(count, "little") for value, count in fields) + bytes.fromhex(self.digest)

    @property
    def image_bytes(self) -> int:
        """The bytes of an image: its bits, bit 0 of byte 0 first, or a byte an element."""
        return image_bytes(self.dtype, self.elements)

    @property
    def result_bytes(self) -> int:
        """The bytes of an image's scores and class."""
        return 4 * (self.classes + 1)


def frame_crc(content: bytes) -> int:
    """Returns the CRC-16/XMODEM of type, length and payload."""
    return binascii.crc_hqx(content, 0)


def header(kind: int, payload_bytes: int) -> bytes:
    """Returns what a frame begins with."""
    return bytes([START, kind]) + payload_bytes.to_bytes(2, "little")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Returns a whole frame."""
    content = header(kind, len(payload)) + payload
    return content + frame_crc(content[1:]).to_bytes(CRC_BYTES, "big")


def silence_bits(baud: int) -> int:
    """Returns after how many bit times without a byte a board gives a request up: a power of two.

    At least 16 bytes, and at least 10 ms, because USB adapters and their drivers pause within a frame.
    """
    least = max(160, -(-baud // 100))
    return 1 << (least - 1).bit_length()
