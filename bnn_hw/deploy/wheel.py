# SPDX-License-Identifier: Apache-2.0
"""The wheel for a board: the core and the host code, in pure Python, for which numpy is enough.

It is made of the installed packages themselves, so no clone of the repository and no build backend is needed.
"""

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bnn_hw import __version__

__all__ = ["host_folder", "notebook", "write_board_wheel"]

_DIST_INFO: Final = f"bnn_hw-{__version__}.dist-info"
_METADATA: Final = f"""Metadata-Version: 2.1
Name: bnn_hw
Version: {__version__}
Summary: Binarized neural networks on FPGA boards: the core and the host code
License: Apache-2.0
Requires-Python: >=3.10
Requires-Dist: numpy>=1.21
"""
_WHEEL: Final = """Wheel-Version: 1.0
Generator: bnn_hw
Root-Is-Purelib: true
Tag: py3-none-any
"""
_ENTRY_POINTS: Final = """[pynq.notebooks]
bnn_hw = bnn_host.notebooks

[pynq.overlays]
bnn_hw = bnn_host.builds
"""  # as pyproject.toml has them


def write_board_wheel(folder: str | os.PathLike[str]) -> Path:
    """Writes the wheel into `folder` and returns its path. The same packages give the same bytes."""
    folder = Path(folder)
    contents = dict(sorted(_packages()))
    contents |= {f"{_DIST_INFO}/{name}": text.encode() for name, text in _descriptions().items()}
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{_DIST_INFO}/RECORD"] = "\n".join([*record, f"{_DIST_INFO}/RECORD,,", ""]).encode()
    path = folder / f"bnn_hw-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in contents.items():
            # The first time that a ZIP file can express; not compressed, because versions of zlib differ.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, content)
    return path


def host_folder() -> Path:
    """Returns the folder of the package `bnn_host`."""
    import bnn_host

    return Path(bnn_host.__path__[0])


def notebook() -> Path:
    """Returns the notebook, which lies in the package where that is installed, and beside it in a clone."""
    installed = host_folder() / "notebooks" / "classify.ipynb"
    return installed if installed.is_file() else host_folder().parent / "notebooks" / "classify.ipynb"


def _descriptions() -> dict[str, str]:
    return {"METADATA": _METADATA, "WHEEL": _WHEEL, "entry_points.txt": _ENTRY_POINTS}


def _packages() -> Iterator[tuple[str, bytes]]:
    """Yields name and content of each file of the packages."""
    core = Path(__file__).parents[1]
    folders = {"bnn_hw": core, "bnn_host": host_folder(), "bnn_host/notebooks": notebook().parent}
    for package, folder in folders.items():
        for path in folder.rglob("*"):
            name = path.relative_to(folder)
            if path.is_file() and not _left_out(name, package):
                yield f"{package}/{name.as_posix()}", path.read_bytes()


def _left_out(name: Path, package: str) -> bool:
    """Returns whether a file is no part of the packages: compiled, hidden, or of a build that is installed on this machine."""
    hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
    return hidden or (package == "bnn_host" and name.parts[0] == "builds" and len(name.parts) > 2)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
