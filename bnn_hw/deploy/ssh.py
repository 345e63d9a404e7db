# SPDX-License-Identifier: Apache-2.0
"""A deployment on its way to a board, with the system's `ssh`."""

import io
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bnn_hw.deploy.board_folder import Deployment
from bnn_hw.errors import ToolError, UsageError

__all__ = ["install", "send"]

_OPTIONS: Final = ("-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10")  # an unreachable board is an error, not a wait
_UNREACHABLE: Final = 255  # the exit code of ssh where it, not the command, failed


def send(deployment: Deployment, host: str, ssh: Sequence[str] = ("ssh",)) -> str:
    """Copies a deployment to `host`, as ssh knows it, in place of what was there; returns its folder below the user's home.

    `ssh` is the command with options of the user's. Raises `ToolError` where it is missing, reaches no host or cannot write there.
    """
    if host.startswith("-") or not host.strip() or any(map(str.isspace, host)):
        raise UsageError(f"--to must be a host or user@host, not {host!r}")
    folder = f"bnn_hw/{deployment.name}"
    unpack = f"rm -rf {folder} && mkdir -p {folder} && tar -xf - -C {folder}"
    finished = subprocess.run(_command(ssh, host, unpack), input=_archive(deployment.folder), capture_output=True)
    _check(finished.returncode, host, f"copying failed: {_last_line(finished.stderr)}")
    return folder


def install(deployment: Deployment, host: str, ssh: Sequence[str] = ("ssh",)) -> None:
    """Runs the installer of what `send` copied, as root: sudo may ask for a password. What it prints goes to stderr."""
    folder = f"bnn_hw/{deployment.name}"
    terminal = ("-t",) if sys.stdin.isatty() else ()
    run = f'cd {folder} && set -o pipefail && $([ "$(id -u)" = 0 ] || echo sudo) bash install.sh 2>&1 | tee install.log'
    finished = subprocess.run(_command((*ssh, *terminal), host, f"bash -c {shlex.quote(run)}"), stdout=sys.stderr)
    log = f"~/{folder}/install.log"
    _check(finished.returncode, host, f"the installer failed with exit code {finished.returncode}; {log} there says why")


def _command(ssh: Sequence[str], host: str, command: str) -> list[str]:
    if shutil.which(ssh[0]) is None:
        raise ToolError(
            f"{ssh[0]}, which copies to the board, is not installed: apt install openssh-client; or copy the folder yourself"
        )
    return [*ssh, *_OPTIONS, "--", host, command]


def _archive(folder: Path) -> bytes:
    """Returns a tar archive of the folder's content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(folder, ".", filter=_anonymous)
    return content.getvalue()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _check(code: int, host: str, failure: str) -> None:
    if code == _UNREACHABLE:
        raise ToolError(f"ssh did not reach {host}: {failure}; see that `ssh {host}` works")
    if code:
        raise ToolError(f"{host}: {failure}")


def _last_line(printed: bytes) -> str:
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
