# SPDX-License-Identifier: Apache-2.0
"""A build in a folder that has one already: what later commands or people made there stays, or goes only when that is asked for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.digests import folder_digests
from bnn_hw.artefacts.folders import replace_folder
from bnn_hw.artefacts.manifest import LATER_FOLDERS, MANIFEST, SIMULATED_FOLDER, is_build
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, read_overlay
from bnn_hw.artefacts.strict_json import read_json
from bnn_hw.errors import ArtefactError

__all__ = ["check_rebuild", "put_in_place"]

_PLAN: Final = "plan.json"  # which is there to be edited and given back
_SOON_MADE: Final = (SIMULATED_FOLDER, "synth.partial")
_MOST_NAMED: Final = 5


def check_rebuild(folder: str | os.PathLike[str], facts: Mapping[str, Any], *, replace: bool) -> None:
    """Checks that a build whose manifest will have these facts may be made in `folder`.

    Raises `ArtefactError` where that is no folder for a build, and, without `replace`, where something would be lost.
    """
    folder = Path(folder)
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ArtefactError(f"{folder} must not be the folder that you are in, or one around it; give another --out")
    if is_build(folder):
        _check_losses(folder, facts, replace=replace)
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArtefactError(f"{folder} exists and is not a build, so it is left alone; give another --out or remove it yourself")


def put_in_place(partial: str | os.PathLike[str], folder: str | os.PathLike[str], *, replace: bool) -> None:
    """Moves the build in `partial`, which lies in a temporary folder, to `folder`.

    Where the build there has the same manifest, only its own files are written anew. Raises `ArtefactError`, without `replace`,
    where something would be lost.
    """
    partial = Path(partial)
    folder = Path(folder)
    if not is_build(folder):
        replace_folder(folder, partial)
        return
    losses = _check_losses(folder, _description(partial), replace=replace)
    if (partial / MANIFEST).read_bytes() != (folder / MANIFEST).read_bytes():
        replace_folder(folder, partial)
        return
    for name in losses:
        (folder / name).unlink()
    for name in folder_digests(partial):
        (folder / name).parent.mkdir(exist_ok=True)
        (partial / name).replace(folder / name)


def _check_losses(folder: Path, facts: Mapping[str, Any], *, replace: bool) -> list[str]:
    """Returns what a build with these facts would delete in `folder`; raises `ArtefactError` without `replace`, if there is any."""
    there = _description(folder)
    changed = [name for name, value in facts.items() if there.get(name) != value]
    sealed = there.get("files", {})
    losses = [
        name
        for name, digest in folder_digests(folder, (MANIFEST, *LATER_FOLDERS)).items()
        if name != _PLAN and digest != sealed.get(name)
    ]
    if changed:
        losses += [name for name in LATER_FOLDERS if (folder / name).exists() and not _is_soon_made(folder, name)]
    if losses and not replace:
        more = f" and {len(losses) - _MOST_NAMED} more" if len(losses) > _MOST_NAMED else ""
        difference = f", since it differs in {', '.join(changed)}" if changed else ""
        raise ArtefactError(
            f"{folder} holds {', '.join(losses[:_MOST_NAMED])}{more}, which a new build would delete{difference}; "
            "give another --out, move what you need, or give --replace to delete it"
        )
    return losses


def _description(folder: Path) -> dict[str, Any]:
    """Returns the manifest in a folder that `is_build`, of whatever version."""
    description: dict[str, Any] = read_json((folder / MANIFEST).read_text())
    return description


def _is_soon_made(folder: Path, name: str) -> bool:
    """Returns whether one of the later folders is made again in no time, as a simulated board's stand-in for a bitstream is."""
    try:
        return name in _SOON_MADE or (name == OVERLAY_FOLDER and read_overlay(folder).simulated)
    except ArtefactError:
        return False
