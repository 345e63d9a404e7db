# SPDX-License-Identifier: Apache-2.0
"""IDX files, in which MNIST is published."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from bnn_hw.datasets.files import FETCH_AGAIN, check_sha256, read_file
from bnn_hw.errors import ArtefactError

__all__ = ["read_idx"]


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Returns the array of an IDX file of unsigned bytes (LeCun's format), plain or gzipped.

    The result is uint8, of the shape in the file's header. Raises `ArtefactError` when the file is truncated, no IDX
    file of unsigned bytes, or not the content that `sha256` names.
    """
    raw = _decompressed(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != 0x08:
        raise ArtefactError(f"{path} must be an IDX file of unsigned bytes (it starts 00 00 08), not {raw[:4].hex(' ')}")
    header_bytes = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, header_bytes, 4))
    expected_bytes = header_bytes + math.prod(shape)
    if len(raw) != expected_bytes:
        raise ArtefactError(f"{path} must hold {expected_bytes:,} bytes for shape {shape}, not {len(raw):,}; {FETCH_AGAIN}")
    if sha256 is not None:
        check_sha256(path, raw, sha256)
    return np.frombuffer(raw, np.uint8, offset=header_bytes).reshape(shape)


def _decompressed(path: Path) -> bytes:
    raw = read_file(path)
    try:
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ArtefactError(f"{path} is truncated or damaged: {error}; {FETCH_AGAIN}") from error
