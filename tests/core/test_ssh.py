# SPDX-License-Identifier: Apache-2.0
"""Deployment by ssh: to a server that runs here with a key of the test's, and what goes wrong on the way."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnn_hw.artefacts.manifest import read_manifest
from support.deployed import board_environment, small_build, with_overlay

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
_STARTS_WITHIN_S = 10


@dataclass(frozen=True)
class Server:
    """An ssh server, and the environment variables that its sessions have."""

    ssh: str  # the command that reaches it
    environment: dict[str, str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_overlay(small_build(tmp_path_factory.mktemp("builds") / "small-pynq-z2"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1; its sessions start in a folder of the test's and have a board's Python."""
    if _SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd and ssh-keygen are not installed: apt install openssh-server")
    folder = tmp_path_factory.mktemp("board")
    environment = board_environment(folder)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "session.sh").write_text(
        "".join(f"export {name}={value}\n" for name, value in environment.items()) + 'cd && exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    key = (folder / "user.pub").read_text()
    (folder / "authorized").write_text(f'command="sh {folder}/session.sh" {key}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PidFile": "none",
        "StrictModes": "no",  # the folder of a test lies below one that all can write
        "UsePAM": "no",
        "PasswordAuthentication": "no",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([_SSHD, "-D", "-e", "-f", folder / "config", "-p", str(port)], stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        known = f"-o UserKnownHostsFile={folder / 'known'} -o StrictHostKeyChecking=no -o BatchMode=yes"
        yield Server(f"ssh -F none -p {port} -i {folder / 'user'} {known}", environment)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.skip(f"sshd does not run here: {log.read_text().strip()}")


def _deploy(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120", **({"PATH": path} if path is not None else {})}
    command = [sys.executable, "-m", "bnn_hw", "deploy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)


def _refused(code: int, message: str, *arguments: object, path: str | None = None) -> None:
    finished = _deploy(*arguments, path=path)
    assert finished.returncode == code, finished.stderr
    assert re.search(f"^error: {message}$", finished.stderr, re.MULTILINE), finished.stderr
    assert "Traceback" not in finished.stderr


def test_copied_and_installed(build: Path, server: Server) -> None:
    """Twice, for the second time replaces the first."""
    home = Path(server.environment["HOME"])
    for _ in range(2):
        finished = _deploy(build, "--to", "127.0.0.1", "--ssh", server.ssh, "--json")
        assert finished.returncode == 0, finished.stderr
    summary = json.loads(finished.stdout)
    assert (summary["host"], summary["remote_folder"], summary["installed"]) == ("127.0.0.1", "bnn_hw/small-pynq-z2", True)
    copied = home / "bnn_hw" / "small-pynq-z2"
    assert {path.name for path in copied.iterdir()} == {path.name for path in (build / "deploy").iterdir()} | {"install.log"}
    assert re.search(r"^installed small-pynq-z2 in .*/bnn_host/builds, its notebook in ", finished.stderr, re.MULTILINE)
    assert re.search(r"^installed small-pynq-z2 in ", (copied / "install.log").read_text(), re.MULTILINE)
    code = "from bnn_host.builds import find_build; print(find_build())"
    found = subprocess.run(["python3", "-c", code], env=server.environment, cwd="/", capture_output=True, text=True, check=True)
    assert read_manifest(Path(found.stdout.strip())) == read_manifest(build)
    assert (home / "notebooks" / "bnn_hw" / "small-pynq-z2.ipynb").is_file()


def test_copied_only(build: Path, server: Server) -> None:
    home = Path(server.environment["HOME"])
    copied = home / "bnn_hw" / "small-pynq-z2"
    copied.mkdir(parents=True, exist_ok=True)
    (copied / "of_before.txt").write_text("goes away")
    finished = _deploy(build, "--to", "127.0.0.1", "--ssh", server.ssh, "--no-install")
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in copied.iterdir()} == {path.name for path in (build / "deploy").iterdir()}
    assert "sudo bash ~/bnn_hw/small-pynq-z2/install.sh" in finished.stdout


def test_an_installer_that_fails_names_its_log(build: Path, server: Server) -> None:
    numpy = next((Path(server.environment["HOME"]) / "venv").glob("lib/python3*/site-packages/numpy"))
    target = numpy.readlink()
    numpy.unlink()
    try:
        message = "127.0.0.1: the installer failed with exit code 1; ~/bnn_hw/small-pynq-z2/install.log there says why"
        _refused(3, re.escape(message), build, "--to", "127.0.0.1", "--ssh", server.ssh)
    finally:
        numpy.symlink_to(target)
    log = (Path(server.environment["HOME"]) / "bnn_hw" / "small-pynq-z2" / "install.log").read_text()
    assert re.search(r"^error: numpy must be there for .*/python3, as on PYNQ's images$", log, re.MULTILINE)


def test_a_board_that_cannot_be_written(build: Path, server: Server) -> None:
    folder = Path(server.environment["HOME"]) / "bnn_hw"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("no folder")
    try:
        _refused(
            3, r"127\.0\.0\.1: copying failed: .*(File exists|Not a directory).*", build, "--to", "127.0.0.1", "--ssh", server.ssh
        )
    finally:
        folder.unlink()


def test_a_key_that_the_board_does_not_know(build: Path, server: Server, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    ssh = re.sub(r"-i \S+", f"-i {tmp_path / 'key'} -o IdentitiesOnly=yes", server.ssh)
    reason = r"ssh did not reach 127\.0\.0\.1: copying failed: .*Permission denied.*; see that `ssh 127\.0\.0\.1` works"
    _refused(3, reason, build, "--to", "127.0.0.1", "--ssh", ssh)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: apt install openssh-client")
def test_no_board_there(build: Path) -> None:
    reason = r"ssh did not reach 127\.0\.0\.1: copying failed: .*port 1: Connection refused\s*; see that `ssh 127\.0\.0\.1` works"
    _refused(3, reason, build, "--to", "127.0.0.1", "--ssh", "ssh -F none -p 1")


def test_no_ssh(build: Path, tmp_path: Path) -> None:
    message = "ssh, which copies to the board, is not installed: apt install openssh-client; or copy the folder yourself"
    _refused(3, re.escape(message), build, "--to", "xilinx@pynq", path=str(tmp_path))


@pytest.mark.parametrize("host", ["-oProxyCommand=date", "", "xilinx@pynq reboot"])
def test_hosts_that_are_none(build: Path, host: str) -> None:
    _refused(1, re.escape(f"--to must be a host or user@host, not {host!r}"), build, f"--to={host}")
    _refused(1, "--ssh must be a command, not empty", build, "--to", "pynq", "--ssh", "")
