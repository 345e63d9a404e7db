# SPDX-License-Identifier: Apache-2.0
"""IDX files, in which MNIST is published."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from bnn_hw.datasets.files import GET_WHOLE, check_sha256, read_file
from bnn_hw.errors import ArtefactError

__all__ = ["read_idx", "read_idx_labels"]

_BYTES, _INTEGERS = 0x08, 0x0C  # the header's codes of unsigned bytes and of integers of 4


def read_idx(path: str | os.PathLike[str], sha256: str | None = None, way_out: str = GET_WHOLE) -> np.ndarray:
    """Returns the array of an IDX file of unsigned bytes (LeCun's format), plain or gzipped.

    The result is uint8, of the shape in the file's header. Raises `ArtefactError` when the file is truncated, not an IDX
    file of unsigned bytes, or does not have that `sha256`; the message says what to do.
    """
    path = Path(path)
    raw = _decompressed(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _BYTES:
        raise ArtefactError(f"{path} must be an IDX file of unsigned bytes (it starts 00 00 08), not {raw[:4].hex(' ')}")
    array = _array(path, raw, np.dtype(np.uint8))
    if sha256 is not None:
        check_sha256(path, raw, sha256, way_out)
    return array


def read_idx_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the labels of an IDX file of unsigned bytes, or of QMNIST's, which are the first of several integers an image."""
    path = Path(path)
    raw = _decompressed(path)
    if raw[:4] == bytes((0, 0, _INTEGERS, 2)):
        return _array(path, raw, np.dtype(">i4"))[:, 0]
    return read_idx(path)


def _array(path: Path, raw: bytes, dtype: np.dtype) -> np.ndarray:
    header_bytes = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, header_bytes, 4))
    expected_bytes = header_bytes + math.prod(shape) * dtype.itemsize
    if len(raw) != expected_bytes:
        raise ArtefactError(f"{path} must hold {expected_bytes:,} bytes for shape {shape}, not {len(raw):,}; {GET_WHOLE}")
    return np.frombuffer(raw, dtype, offset=header_bytes).reshape(shape)


def _decompressed(path: Path) -> bytes:
    raw = read_file(path)
    try:
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ArtefactError(f"{path} is truncated or damaged: {error}; {GET_WHOLE}") from error
