# SPDX-License-Identifier: Apache-2.0
"""The overlay of a build: bitstream and hardware handoff, in the build's folder `bitstream`, with their digests."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.digests import folder_digests
from bnn_hw.artefacts.manifest import Manifest, manifest_digest
from bnn_hw.artefacts.strict_json import read_envelope
from bnn_hw.errors import ArtefactError

__all__ = ["OVERLAY_FOLDER", "Overlay", "read_overlay", "seal_overlay"]

OVERLAY_FOLDER: Final = "bitstream"
_RECORD: Final = "overlay.json"
_FORMAT: Final = "bnn_hw.overlay"
_VERSION: Final = 1


@dataclass(frozen=True)
class Overlay:
    """What an overlay is. `files` gives the SHA-256 of every file in its folder but the record itself."""

    name: str  # stem of the .bit and the .hwh
    manifest_sha256: str  # of the build's manifest.json
    clock_mhz: float  # of the programmable logic, at which the timing was checked
    simulated: bool  # whether the .bit is the stand-in of a simulated board
    facts: Mapping[str, Any]  # of the implementation: slack, utilization, power, tool version
    files: Mapping[str, str]


def seal_overlay(
    folder: str | os.PathLike[str],
    build: str | os.PathLike[str],
    manifest: Manifest,
    *,
    clock_mhz: float,
    simulated: bool,
    facts: Mapping[str, Any],
) -> Overlay:
    """Writes the record of an overlay of a build whose files lie in `folder`, last of all, and returns it."""
    folder = Path(folder)
    build = Path(build)
    files = folder_digests(folder, [_RECORD])
    overlay = Overlay(manifest.top, manifest_digest(build), float(clock_mhz), simulated, dict(facts), files)
    description = {"format": _FORMAT, "version": _VERSION, **asdict(overlay)}
    (folder / _RECORD).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    return overlay


def read_overlay(build: str | os.PathLike[str]) -> Overlay:
    """Reads the overlay of a build and checks it against the build's manifest and its own files.

    Raises `ArtefactError` where there is none, or where it is another build's or altered.
    """
    build = Path(build)
    folder = build / OVERLAY_FOLDER
    try:
        envelope = read_envelope((folder / _RECORD).read_text())
        if (envelope.format, envelope.version) != (_FORMAT, _VERSION):
            raise ArtefactError(
                f"{folder / _RECORD} must be of {_FORMAT} {_VERSION}; make it again with `bnn_hw bitstream {build}`"
            )
        overlay = Overlay(**envelope.fields)
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{build} has no bitstream; `bnn_hw bitstream {build}` makes it, or `bnn_hw board-sim {build}` simulates the board"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise ArtefactError(f"{folder / _RECORD} cannot be read: {error}; make it again with `bnn_hw bitstream {build}`") from error
    _check_fields(overlay, folder, build)
    if overlay.manifest_sha256 != manifest_digest(build):
        raise ArtefactError(f"{folder} is the bitstream of another build; make it again with `bnn_hw bitstream {build}`")
    found = folder_digests(folder, [_RECORD])
    wrong = sorted(name for name in found.keys() | overlay.files.keys() if found.get(name) != overlay.files.get(name))
    if wrong:
        raise ArtefactError(f"{folder / wrong[0]} is not as {_RECORD} has it; make it again with `bnn_hw bitstream {build}`")
    return overlay


def _check_fields(overlay: Overlay, folder: Path, build: Path) -> None:
    """Raises `ArtefactError` where a field of a record that was read is not what `Overlay` says."""
    name, clock_mhz, files = overlay.name, overlay.clock_mhz, overlay.files
    rules = {
        "name must be a module's name": isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name),
        "clock_mhz must be a number above 0": isinstance(clock_mhz, int | float) and 0 < clock_mhz < math.inf,
        "simulated must be true or false": isinstance(overlay.simulated, bool),
        "facts must be an object": isinstance(overlay.facts, dict),
        "files must be an object of strings": isinstance(files, dict) and all(isinstance(text, str) for text in files.values()),
    }
    for rule, holds in rules.items():
        if not holds:
            raise ArtefactError(f"{folder / _RECORD}: {rule}; make it again with `bnn_hw bitstream {build}`")
