# SPDX-License-Identifier: Apache-2.0
"""The manifest of a build: the contract between those who make a build and those who use it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.digests import file_digest, folder_digests
from bnn_hw.artefacts.strict_json import read_envelope
from bnn_hw.errors import ArtefactError

__all__ = [
    "LATER_FOLDERS",
    "MANIFEST",
    "SIMULATED_FOLDER",
    "Manifest",
    "is_build",
    "manifest_digest",
    "read_manifest",
    "seal",
]

MANIFEST: Final = "manifest.json"
_FORMAT: Final = "bnn_hw.build"
_VERSION: Final = 3
SIMULATED_FOLDER: Final = "simulated"  # what the Verilog was compiled to
LATER_FOLDERS: Final = ("vivado", "bitstream", "deploy", "synth", "synth.partial", SIMULATED_FOLDER)  # of later commands
_NOT_IN_FILES: Final = (MANIFEST, *LATER_FOLDERS)


@dataclass(frozen=True)
class Manifest:
    """What a build is. `files` gives the SHA-256 of every file by path from the build's folder, but not of the manifest
    and of what later commands write.
    """

    name: str
    top: str  # the Verilog module, with which the names of all others begin
    board: str
    part: str
    clock_mhz: int
    network_sha256: str  # the identity that the accelerator's registers carry, with the plan's
    plan_sha256: str
    cycles_per_image: int
    verified_images: int  # 0: not verified
    ports: Mapping[str, Any]
    tools: Mapping[str, str]
    files: Mapping[str, str]


def seal(folder: str | os.PathLike[str], **facts: Any) -> Manifest:
    """Writes the manifest of a finished build, last of all its files, and returns it."""
    folder = Path(folder)
    manifest = Manifest(**facts, files=folder_digests(folder, _NOT_IN_FILES))
    description = {"format": _FORMAT, "version": _VERSION, **asdict(manifest)}
    (folder / MANIFEST).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    return manifest


def is_build(folder: str | os.PathLike[str]) -> bool:
    """Returns whether `folder` holds a build, of whatever version."""
    folder = Path(folder)
    try:
        return read_envelope((folder / MANIFEST).read_text()).format == _FORMAT
    except (OSError, ValueError):
        return False


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Reads a build's manifest and checks every file against it.

    Raises `ArtefactError` when the folder is not a build, of another version, or altered.
    """
    folder = Path(folder)
    if not is_build(folder):
        raise ArtefactError(f"{folder} is not a build; `bnn_hw build` makes one")
    envelope = read_envelope((folder / MANIFEST).read_text())
    if envelope.version != _VERSION:
        raise ArtefactError(f"{folder}: the manifest must be of version {_VERSION}; build again with this bnn_hw")
    try:
        manifest = Manifest(**envelope.fields)
    except TypeError as error:
        raise ArtefactError(f"{folder / MANIFEST} does not have the fields of version {_VERSION}: {error}; build again") from error
    if not isinstance(manifest.files, dict) or not re.fullmatch(r"[a-z][a-z0-9_]*", str(manifest.top)):
        raise ArtefactError(f"{folder / MANIFEST}: files must be an object and top a module's name; build again")
    found = folder_digests(folder, _NOT_IN_FILES)
    wrong = sorted(name for name in found.keys() | manifest.files.keys() if found.get(name) != manifest.files.get(name))
    if wrong:
        raise ArtefactError(f"{folder}: {wrong[0]} is not as the manifest has it ({len(wrong)} of {len(found)} files); build again")
    return manifest


def manifest_digest(folder: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a build's manifest, by which what is made of a build names it."""
    folder = Path(folder)
    return file_digest(folder / MANIFEST)
