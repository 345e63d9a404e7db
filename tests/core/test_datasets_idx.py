# SPDX-License-Identifier: Apache-2.0
"""IDX files, right and wrong."""

import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_hw.datasets import read_idx
from bnn_hw.errors import ArtefactError
from support.dataset_files import idx, write

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for shape in ((24,), (4, 6), (2, 3, 4), (2, 3, 2, 2), (0, 3)):
        array = IMAGES.reshape(-1)[: int(np.prod(shape))].reshape(shape)
        found = read_idx(write(tmp_path, "file-idx", compress(idx(array))))
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)


def test_idx_digest_is_of_the_plain_content(tmp_path: Path) -> None:
    plain = idx(IMAGES)
    digest = hashlib.sha256(plain).hexdigest()
    for content in (plain, gzip.compress(plain, 1), gzip.compress(plain, 9)):
        assert np.array_equal(read_idx(write(tmp_path, "file-idx", content), digest), IMAGES)


PLAIN = idx(IMAGES)
ZIPPED = gzip.compress(PLAIN)
NO_IDX = r" must be an IDX file of unsigned bytes \(it starts 00 00 08\), not "
WRONG_SIZE = r" must hold {} bytes for shape {}, not {}; get a whole copy of it"
BROKEN = r" (?:cannot be read: .*; get a whole copy of it|is truncated.*; get a whole copy of it)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", NO_IDX),
        (b"\0\0\x08", NO_IDX + "00 00 08"),
        (b"\0\0\x0d\x03" + PLAIN[4:], NO_IDX + "00 00 0d 03"),
        (b"\x01" + PLAIN[1:], NO_IDX + "01 00 08 03"),
        (b"<!DOCTYPE html>", NO_IDX + "3c 21 44 4f"),
        (PLAIN[:-1], WRONG_SIZE.format(40, r"\(2, 3, 4\)", 39)),
        (PLAIN + b"\0", WRONG_SIZE.format(40, r"\(2, 3, 4\)", 41)),
        (PLAIN[:9], WRONG_SIZE.format(16, r"\(2, 0, 0\)", 9)),
        (bytes([0, 0, 8, 1]) + b"\xff" * 4, WRONG_SIZE.format("4,294,967,303", r"\(4294967295,\)", 8)),
        (
            bytes([0, 0, 8, 4]) + b"\0\x01\0\0" * 4,
            r" must hold 18,446,744,073,709,551,636 bytes for shape .*, not 20; get a whole copy of it",
        ),
        (bytes([0, 0, 8, 255]), r" must hold 1,024 bytes for shape .*, not 4; get a whole copy of it"),
        (ZIPPED[:-12], BROKEN),
        (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], BROKEN),
        (ZIPPED[:3], BROKEN),
        (ZIPPED[:12] + bytes(byte ^ 255 for byte in ZIPPED[12:24]) + ZIPPED[24:], BROKEN),
        (ZIPPED + b"junk", BROKEN),
        (gzip.compress(b"other"), NO_IDX + "6f 74 68 65"),
    ],
    ids=range(17),
)
def test_idx_refuses(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, "file-idx", content)
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))}{message}$"):
        read_idx(path)


def test_idx_altered(tmp_path: Path) -> None:
    path = write(tmp_path, "file-idx", PLAIN[:-1] + b"\xff")
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(path))} .*SHA-256.*{hashlib.sha256(PLAIN).hexdigest()}.*"):
        read_idx(path, hashlib.sha256(PLAIN).hexdigest())


def test_idx_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))} cannot be read: .*; get a whole copy of it$"):
            read_idx(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(zipped=st.booleans(), flips=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 255)), min_size=1, max_size=3))
def test_idx_of_flipped_bytes(zipped: bool, flips: list[tuple[int, int]], tmp_path: Path) -> None:
    """Only the same array or `ArtefactError` comes out."""
    content = bytearray(gzip.compress(PLAIN, mtime=0) if zipped else PLAIN)
    for at, mask in flips:
        content[at % len(content)] ^= mask
    try:
        found = read_idx(write(tmp_path, "file-idx", bytes(content)), hashlib.sha256(PLAIN).hexdigest())
    except ArtefactError:
        return
    assert np.array_equal(found, IMAGES)
