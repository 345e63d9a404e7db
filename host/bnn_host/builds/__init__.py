# SPDX-License-Identifier: Apache-2.0
"""The builds that are installed on this board, a folder each beside this file.

PYNQ looks here for overlays too: `pynq.Overlay("mnist-pynq-z2/bitstream/mnist_0123abcd.bit")`.
"""

from pathlib import Path

from bnn_hw.artefacts.manifest import is_build
from bnn_hw.errors import ArtefactError

__all__ = ["find_build", "installed_builds"]


def installed_builds() -> dict[str, Path]:
    """Returns the folders of the installed builds by name."""
    return {folder.name: folder for folder in sorted(Path(__file__).parent.iterdir()) if is_build(folder)}


def find_build(name: str | None = None) -> Path:
    """Returns the folder of a build: of that path, else the installed one of that name; without a name, the only one installed.

    Raises `ArtefactError` with the installed ones.
    """
    installed = installed_builds()
    if name is None and len(installed) == 1:
        return next(iter(installed.values()))
    if name is not None and is_build(Path(name)):
        return Path(name)
    if name in installed:
        return installed[name]
    known = ", ".join(installed) or "none; `bnn_hw deploy` makes what installs one"
    raise ArtefactError(f"a build must be a build's folder or one of those installed here, not {name!r} (installed: {known})")
