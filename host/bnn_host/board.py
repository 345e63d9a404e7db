# SPDX-License-Identifier: Apache-2.0
"""Which board: pynq's device, and the lock that one process at a time holds."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bnn_host.unreachable import UnreachableBoardError
from bnn_hw.errors import BoardError, ToolError

__all__ = ["board_name", "connected", "exclusive", "in_turn", "require_remote"]

_PAUSE_S: Final = 0.02
_REMOTE_PYNQ: Final = 4
_LOCK_FOLDERS: Final = (Path("/run/lock"), Path("/tmp"))  # not TMPDIR, which may differ between processes


@contextmanager
def connected(address: str | None, device: Any, timeout_s: float) -> Iterator[Any]:
    """Gives pynq's device: `device`, else the board at `address`, else the one that pynq finds.

    A device of PYNQ.remote is replaced by one whose calls have deadlines, and which is disconnected at the end. Raises
    `ToolError` if pynq is missing, `BoardError` if there is no board.
    """
    try:
        from pynq import Device
    except ImportError as error:
        raise ToolError(
            f"pynq, which drives a board, cannot be imported: {error}; on a board use the Python of its PYNQ image as root, "
            'elsewhere pip install "pynq>=3.0"'
        ) from error
    address = address or None
    if device is None and address is None:
        # pynq itself would connect to the board in this variable, with calls that have no deadline.
        address = os.environ.get("PYNQ_REMOTE_DEVICES", "").split(",")[0].strip() or None
    if device is None and address is None:
        try:
            device = Device.active_device
        except (RuntimeError, OSError) as error:
            raise BoardError(
                f"no board: {error}; run this on a board as root (sudo -i), or give the address of one that runs PYNQ.remote"
            ) from error
    if address is None and not device.has_capability("REMOTE"):
        yield device
        return
    require_remote()
    from bnn_host.remote import BoundedRemoteDevice

    remote = BoundedRemoteDevice(_resolved(address or device.ip_addr), timeout_s)
    try:
        yield remote
    finally:
        remote.disconnect()


def require_remote() -> None:
    """Raises `ToolError` where pynq is too old for PYNQ.remote, since 3.1 accepts no register of 2**31 and more."""
    found = version("pynq")
    if int(found.partition(".")[0]) < _REMOTE_PYNQ:
        raise ToolError(f'PYNQ.remote needs pynq {_REMOTE_PYNQ} or newer, not {found}: pip install "pynq>={_REMOTE_PYNQ}"')


def board_name(device: Any) -> str:
    """Returns a name of the board that is the same in every process."""
    return device.ip_addr if device.has_capability("REMOTE") else device.tag


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Holds the board of that name. Raises `BoardError` with the number of the process that holds it already.

    The lock is the kernel's, on a file, so it is released however its process ends.
    """
    lock = _open(name)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 32, 0).decode() or "unknown"
            way_out = "close its Accelerator" if holder == str(os.getpid()) else "close its Accelerator, or end it"
            which = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise BoardError(f"the board {name} is in use by {which}; {way_out}") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


@contextmanager
def in_turn(name: str, timeout_s: float) -> Iterator[None]:
    """Waits for the turn of this process. Raises `BoardError` when the turn does not come in time."""
    lock = _open(name)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BoardError(f"{_path(name)} has been locked by another process for {timeout_s:g} s; end it") from error
                time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(lock)


def _open(name: str) -> int:
    """Returns the open lock file of that name, which all users may open."""
    path, flags = _path(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)  # Linux may refuse O_CREAT for another user's file in such a folder
        except FileNotFoundError:
            lock = os.open(path, flags | os.O_CREAT, 0o666)
            os.fchmod(lock, 0o666)  # whatever the umask
            return lock
    except OSError as error:
        raise BoardError(f"the lock file {path} cannot be opened: {error}; remove it as its owner") from error


def _path(name: str) -> Path:
    folder = next((folder for folder in _LOCK_FOLDERS if os.access(folder, os.W_OK)), _LOCK_FOLDERS[-1])
    return folder / f"bnn_host-{re.sub('[^A-Za-z0-9_.-]', '-', name)}.lock"


def _resolved(address: str) -> str:
    """Returns the IP address of a board, so that all its names share one lock."""
    try:
        return socket.gethostbyname(address)
    except (OSError, UnicodeError) as error:  # UnicodeError for a name that is too long
        raise UnreachableBoardError(f"the board's address {address!r} is not known: {error}; give its IP address") from error
