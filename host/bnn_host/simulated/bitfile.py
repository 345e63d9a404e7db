# SPDX-License-Identifier: Apache-2.0
"""Bitstream files: Vivado's .bit, and the .bin that Linux's FPGA manager takes."""

from pathlib import Path
from typing import Final

import numpy as np

from bnn_hw.errors import ArtefactError

__all__ = ["bin_content", "bit_file"]

_HEAD: Final = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
_DATE, _TIME = "1970/01/01", "00:00:00"  # the same input gives the same bytes


def bit_file(design: str, part: str, content: bytes) -> bytes:
    """Returns a .bit file. `content` is whole 32-bit words."""
    assert len(content) % 4 == 0
    fields = b""
    for key, text in (("a", f"{design};UserID=0XFFFFFFFF;Version=0"), ("b", part), ("c", _DATE), ("d", _TIME)):
        value = text.encode("ascii") + b"\0"
        fields += key.encode() + len(value).to_bytes(2, "big") + value
    return _HEAD + fields + b"e" + len(content).to_bytes(4, "big") + content


def bin_content(path: Path) -> bytes:
    """Returns the content of a .bit file as a .bin has it, each word's bytes swapped. Raises `ArtefactError`."""
    content = path.read_bytes()
    at = len(_HEAD)
    while content[at : at + 1] in (b"a", b"b", b"c", b"d"):
        at += 3 + int.from_bytes(content[at + 1 : at + 3], "big")
    size = int.from_bytes(content[at + 1 : at + 5], "big")
    data = content[at + 5 :]
    if content[at : at + 1] != b"e" or len(data) != size or size % 4:
        raise ArtefactError(f"{path} must be a .bit file of Vivado's, whole; make it again with `bnn_hw bitstream`")
    return np.frombuffer(data, "<u4").byteswap().tobytes()
