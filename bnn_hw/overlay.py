# SPDX-License-Identifier: Apache-2.0
"""The overlay of a build: bitstream and hardware handoff, in the build's folder `bitstream`, with their digests."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bnn_hw.errors import ArtefactError
from bnn_hw.manifest import MANIFEST, Manifest

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


def seal_overlay(build: Path, manifest: Manifest, *, clock_mhz: float, simulated: bool, facts: Mapping[str, Any]) -> Overlay:
    """Writes the record of an overlay whose files lie in the build's folder `bitstream`, last of all, and returns it."""
    folder = build / OVERLAY_FOLDER
    overlay = Overlay(manifest.top, _sha256(build / MANIFEST), float(clock_mhz), simulated, dict(facts), _digests(folder))
    description = {"format": _FORMAT, "version": _VERSION, **asdict(overlay)}
    (folder / _RECORD).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    return overlay


def read_overlay(build: Path) -> Overlay:
    """Reads the overlay of a build and checks it against the build's manifest and its own files.

    Raises `ArtefactError` where there is none, or where it is another build's or altered.
    """
    folder = build / OVERLAY_FOLDER
    try:
        description = json.loads((folder / _RECORD).read_text())
        if (description.pop("format"), description.pop("version")) != (_FORMAT, _VERSION):
            raise ArtefactError(
                f"{folder / _RECORD} must be of {_FORMAT} {_VERSION}; make it again with `bnn_hw bitstream {build}`"
            )
        overlay = Overlay(**description)
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{build} has no bitstream; `bnn_hw bitstream {build}` makes it, or `bnn_hw board-sim {build}` simulates the board"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{folder / _RECORD} cannot be read: {error}; make it again with `bnn_hw bitstream {build}`") from error
    if overlay.manifest_sha256 != _sha256(build / MANIFEST):
        raise ArtefactError(f"{folder} is the bitstream of another build; make it again with `bnn_hw bitstream {build}`")
    found = _digests(folder)
    wrong = sorted(name for name in found.keys() | overlay.files.keys() if found.get(name) != overlay.files.get(name))
    if wrong:
        raise ArtefactError(f"{folder / wrong[0]} is not as {_RECORD} has it; make it again with `bnn_hw bitstream {build}`")
    return overlay


def _digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _RECORD)
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
