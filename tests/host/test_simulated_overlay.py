# SPDX-License-Identifier: Apache-2.0
"""The stand-in for a bitstream: whole or not there, whatever happens while it is made."""

from pathlib import Path
from typing import Any

import pytest

from bnn_host.simulated import overlay as module
from bnn_host.simulated.overlay import simulated_bitstream
from bnn_hw.artefacts.manifest import Manifest, read_manifest
from bnn_hw.artefacts.overlay import Overlay, read_overlay, seal_overlay
from support.deployed import small_build


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return small_build(tmp_path / "small-pynq-z2")


def test_an_interrupt_leaves_nothing(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **facts: Any) -> Overlay:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "seal_overlay", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulated_bitstream(build, read_manifest(build))
    assert not (build / "bitstream").exists()
    assert [path.name for path in build.parent.iterdir()] == [build.name]
    monkeypatch.undo()
    simulated_bitstream(build, read_manifest(build))
    assert read_overlay(build).simulated


def test_two_at_once_have_the_same(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second makes its own while the first is about to end."""
    contents = []

    def seal(folder: Path, of: Path, manifest: Manifest, **facts: Any) -> Overlay:
        monkeypatch.undo()
        contents.append(simulated_bitstream(build, manifest))
        return seal_overlay(folder, of, manifest, **facts)

    monkeypatch.setattr(module, "seal_overlay", seal)
    contents.append(simulated_bitstream(build, read_manifest(build)))
    assert contents[0] == contents[1]
    assert read_overlay(build).simulated
