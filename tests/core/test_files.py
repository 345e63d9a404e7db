# SPDX-License-Identifier: Apache-2.0
"""Files that are there as a whole or not at all."""

from pathlib import Path

import pytest

from bnn_hw.artefacts.files import whole_file


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("first", "second"):
        with whole_file(path) as partial:
            partial.write_text(text)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
        assert path.read_text() == text
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "second"


def _interrupted(path: Path) -> None:
    with whole_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
