# SPDX-License-Identifier: Apache-2.0
"""Deployment: what a board needs of a build, in the build's folder `deploy`.

```
deploy/
  <build>/            the build with its overlay, as the driver takes it
  <build>.ipynb       the notebook
  bnn_hw-….whl        core and host code
  install.sh          puts all of it where PYNQ and its users look
  SHA256SUMS          which the installer checks first
```
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnn_hw.artefacts.digests import folder_digests
from bnn_hw.artefacts.folders import partial_folder, replace_folder
from bnn_hw.artefacts.manifest import MANIFEST, Manifest, read_manifest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, Overlay, read_overlay
from bnn_hw.contract.system import block_design
from bnn_hw.deploy.wheel import host_folder, notebook, write_board_wheel
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import find_board
from bnn_hw.vivado import collect_bitstream, is_finished

__all__ = ["DEPLOY_FOLDER", "Deployment", "deploy"]

DEPLOY_FOLDER: Final = "deploy"
_DIGESTS: Final = "SHA256SUMS"


@dataclass(frozen=True)
class Deployment:
    """A folder to install on a board. `files` gives the SHA-256 of each file but the list of them."""

    folder: Path
    name: str  # of the build on the board
    overlay: Overlay
    files: Mapping[str, str]


def deploy(build: str | os.PathLike[str], *, simulated: bool = False, replace: bool = False) -> Deployment:
    """Makes the build's folder `deploy`, in place of one that is there. The same build gives the same bytes.

    What Vivado made on another machine is collected first, where the build has no real bitstream yet. Raises `ArtefactError`
    where it has none, or another build's, or, unless `simulated`, that of a simulated board, and as `collect_bitstream` does;
    and, unless `replace`, where something in the folder was added or changed, such as the notebook.
    """
    build = Path(build)
    manifest = read_manifest(build)
    block_design(find_board(manifest.board), manifest.ports["s_axi"]["address_bits"])  # refuses a board without a processor
    overlay = _overlay(build, simulated)
    name = build.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ArtefactError(f"the build's folder must be named with letters, digits, '.', '_' and '-', not {name!r}; rename it")
    if not replace:
        _check_unchanged(build / DEPLOY_FOLDER)
    with partial_folder(build, DEPLOY_FOLDER) as partial:
        files = _fill(partial, build, manifest, name)
        replace_folder(build / DEPLOY_FOLDER, partial)
    return Deployment(build / DEPLOY_FOLDER, name, overlay, files)


def _check_unchanged(folder: Path) -> None:
    """Raises `ArtefactError` where a deployment holds a file that is not as it was made."""
    listed = (folder / _DIGESTS).read_text().splitlines() if (folder / _DIGESTS).exists() else []
    made = {file: digest for digest, _, file in (line.partition("  ") for line in listed)}
    changed = [file for file, digest in folder_digests(folder, [_DIGESTS]).items() if made.get(file) != digest]
    if changed:
        raise ArtefactError(
            f"{folder / changed[0]} was added or changed since ({len(changed)} files), and would be lost; move what you need, "
            "or give --replace"
        )


def _fill(folder: Path, build: Path, manifest: Manifest, name: str) -> dict[str, str]:
    """Makes the folder; returns the SHA-256 of each file but the list of them."""
    _copy_build(build, manifest, folder / name)
    write_board_wheel(folder)
    (folder / f"{name}.ipynb").write_text(_notebook_for(name))
    shutil.copyfile(host_folder() / "install.sh", folder / "install.sh")
    files = folder_digests(folder)
    (folder / _DIGESTS).write_text("".join(f"{digest}  {file}\n" for file, digest in files.items()))
    return files


def _overlay(build: Path, simulated: bool) -> Overlay:
    stand_in = (build / OVERLAY_FOLDER).exists() and read_overlay(build).simulated
    if is_finished(build) and not simulated and (stand_in or not (build / OVERLAY_FOLDER).exists()):
        collect_bitstream(build)
    overlay = read_overlay(build)
    missing = [file for file in (f"{overlay.name}.bit", f"{overlay.name}.hwh") if file not in overlay.files]
    if missing:
        raise ArtefactError(f"{build / OVERLAY_FOLDER} has no {missing[0]}; make it again with `bnn_hw bitstream {build}`")
    if overlay.simulated and not simulated:
        raise ArtefactError(
            f"{build} has the stand-in of a simulated board for a bitstream; `bnn_hw bitstream {build}` makes a real one, "
            "and --simulated takes the stand-in all the same"
        )
    return overlay


def _copy_build(build: Path, manifest: Manifest, target: Path) -> None:
    """Copies what is sealed, and the overlay."""
    for file in (MANIFEST, *manifest.files):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(build / file, target / file)
    shutil.copytree(build / OVERLAY_FOLDER, target / OVERLAY_FOLDER, copy_function=shutil.copyfile)


def _notebook_for(name: str) -> str:
    """Returns the notebook as it names the build."""
    content = json.loads(notebook().read_text())
    for cell in content["cells"]:
        cell["source"] = [line.replace("find_build()", f'find_build("{name}")') for line in cell["source"]]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
