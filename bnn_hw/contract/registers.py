# SPDX-License-Identifier: Apache-2.0
"""The accelerator's registers on AXI-Lite, 32 bits each, as RTL and driver both know them."""

from enum import IntEnum, IntFlag
from typing import Final

__all__ = ["ADDRESS_BITS", "COUNTER", "DIGEST_WORDS", "MAGIC", "VERSION", "Control", "Register", "Status"]

MAGIC: Final = 0x424E_4E31  # "BNN1"
VERSION: Final = 2
ADDRESS_BITS: Final = 8  # of the registers; the memories of run-time weights lie behind them
DIGEST_WORDS: Final = 8
COUNTER: Final = 1 << 32  # at which counters begin anew


class Register(IntEnum):
    """Byte offsets. Writable are CONTROL, STATUS, PACKET_IMAGES and, with run-time weights, WEIGHTS_CRC and NEXT_DIGEST;
    the others are read-only, and other offsets read 0.
    """

    MAGIC = 0x00  # MAGIC
    VERSION = 0x04  # VERSION of this map
    CONTROL = 0x08  # write: Control; reads 0
    STATUS = 0x0C  # Status; write 1 to clear an error flag
    PACKET_IMAGES = 0x10  # images that a packet must have; 0 takes packets of any length
    IMAGES_IN = 0x14  # images received since reset
    IMAGES_OUT = 0x18  # images whose class has been sent since reset
    CYCLES = 0x1C  # cycles since reset, modulo 2**32
    INPUT_STALLS = 0x20  # cycles in which an image was being received, there was room for a word, and none came
    OUTPUT_STALLS = 0x24  # cycles in which a result waited for the slave
    WORDS_IN = 0x28  # words received since reset
    WORDS_OUT = 0x2C  # words sent since reset
    WEIGHTS_CRC = 0x30  # write: CRC-32 that the weights in the bank that is not in use must have
    FOUND_CRC = 0x34  # CRC-32 that the last swap read back
    DIGEST = 0x40  # first of DIGEST_WORDS words: the SHA-256 of the network in use, first byte in the lowest bits
    PLAN_DIGEST = 0x60  # first of DIGEST_WORDS words: the plan's SHA-256, likewise
    NEXT_DIGEST = 0x80  # first of DIGEST_WORDS words, write: what DIGEST is to be after the next swap


class Control(IntFlag):
    """Bits of CONTROL."""

    RESET = 1  # resets the accelerator, its streams, counters, PACKET_IMAGES and STATUS, but not which weights are in use
    SWAP = 2  # between two images: reads the other bank of weights back, and takes it in use if it has WEIGHTS_CRC


class Status(IntFlag):
    """Bits of STATUS. An error flag stays until it is cleared; the image after the packet at fault is right again."""

    BUSY = 1  # an image is being received or computed
    EARLY_LAST = 2  # TLAST within an image, or before PACKET_IMAGES images; a cut image was filled with zeros
    MISSING_LAST = 4  # no TLAST with the last of PACKET_IMAGES images; the packet was ended there
    NULL_BYTE = 8  # TKEEP was 0 for a byte of an image; the byte was taken as 0
    SWAPPING = 16  # a swap has begun and not ended
    SWAP_FAILED = 32  # the bank had another CRC than WEIGHTS_CRC; the weights in use are those of before
    RUNTIME_WEIGHTS = 64  # the build has two banks of weights
