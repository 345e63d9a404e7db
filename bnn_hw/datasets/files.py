# SPDX-License-Identifier: Apache-2.0
"""Files of data sets: found in the user's folder, read, checked against SHA-256, downloaded."""

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bnn_hw.artefacts.files import whole_file
from bnn_hw.datasets.elsewhere import what_is_there
from bnn_hw.errors import ArtefactError

__all__ = ["GET_WHOLE", "check_sha256", "download_file", "find_file", "read_file"]

GET_WHOLE: Final = "get a whole copy of it"  # the way out of every damaged file
_TIMEOUT_S: Final = 60


def find_file(folder: str | os.PathLike[str], dataset: str, names: Sequence[str], subfolders: Sequence[str] = ()) -> Path:
    """Returns the first file called one of `names` in `folder`, else in its subfolder `dataset`, else in `subfolders`.

    Raises `ArtefactError` when there is none.
    """
    folder = Path(folder)
    for place in (folder, folder / dataset, *(folder / subfolder for subfolder in subfolders)):
        for name in names:
            if (place / name).is_file():
                return place / name
    wanted = " or ".join(names)
    way_out = what_is_there(folder) or "name the folder with --data"
    raise ArtefactError(f"{folder} must hold {wanted} of {dataset}; {way_out}, or leave --data out to download")


def read_file(path: str | os.PathLike[str], sha256: str | None = None) -> bytes:
    """Returns the content of a file. Raises `ArtefactError` when it cannot be read, or does not have that `sha256`."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error}; {GET_WHOLE}") from error
    if sha256 is not None:
        check_sha256(path, content, sha256)
    return content


def check_sha256(what: object, content: bytes, sha256: str, way_out: str = GET_WHOLE) -> None:
    """Raises `ArtefactError`, whose message begins with `what`, when `content` has another SHA-256."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ArtefactError(f"{what} is not the publisher's own file: SHA-256 must be {sha256}, not {found}; {way_out}")


def download_file(path: str | os.PathLike[str], dataset: str, mirrors: Sequence[str], check: Callable[[Path], object]) -> None:
    """Downloads the file `path` of a data set from the first mirror whose copy passes `check`; then it gets its name.

    A mirror is a URL that ends in a slash; `check` raises `ArtefactError`, and so does this function when no mirror helps.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in mirrors:
        try:
            with whole_file(path) as partial:
                with urllib.request.urlopen(mirror + path.name, timeout=_TIMEOUT_S) as response:
                    partial.write_bytes(response.read())
                check(partial)
            return
        except (OSError, http.client.HTTPException, ArtefactError) as error:  # URLError is an OSError
            failures.append(f"{mirror}: {error}")
    raise ArtefactError(
        f"{path.name} of {dataset} cannot be downloaded ({'; '.join(failures)}); fetch it by hand and name its folder with --data"
    )
