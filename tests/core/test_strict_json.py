# SPDX-License-Identifier: Apache-2.0
"""Strict JSON: what is refused, and that every artefact is read by it."""

from pathlib import Path

import pytest

from bnn_hw.artefacts.manifest import MANIFEST, is_build
from bnn_hw.artefacts.strict_json import Envelope, read_envelope, read_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": [1e999]}', "1e999 is no JSON number"),
        ('{"a": {"b": 1, "b": 1}}', r"the keys \['b', 'b'\] must differ"),
        ("[]", "it must be a JSON object"),
        ("[" * 100_000, "maximum recursion depth .*"),
        ("{", "Expecting .*"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_envelope(text)


def test_an_envelope() -> None:
    assert read_envelope('{"format": "x", "version": 2, "a": 1.5}') == Envelope("x", 2, {"a": 1.5})
    assert read_envelope("{}") == Envelope(None, None, {})
    assert read_json('[1, "a", null]') == [1, "a", None]


def test_a_manifest_with_a_key_twice_is_none(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format": "bnn_hw.build"}')
    assert is_build(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": "bnn_hw.build", "format": "bnn_hw.build"}')
    assert not is_build(tmp_path)
