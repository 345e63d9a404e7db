# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw deploy`."""

import shlex
from pathlib import Path

import click

from bnn_hw.cli.show import console, json_option, print_json, table
from bnn_hw.deploy.board_folder import Deployment
from bnn_hw.deploy.board_folder import deploy as make_deployment
from bnn_hw.deploy.ssh import install, send
from bnn_hw.errors import UsageError

__all__ = ["deploy"]


@click.command()
@click.argument("build_folder", metavar="BUILD", type=click.Path(path_type=Path))
@click.option("--to", "host", metavar="USER@BOARD", help="Copy it to the board by ssh and install it there.")
@click.option("--ssh", "ssh_text", default="ssh", show_default=True, help='The ssh command with its options: "ssh -p 2222 -i KEY".')
@click.option("--install/--no-install", "installed", default=True, help="Run the installer on the board, or only copy.")
@click.option("--simulated", is_flag=True, help="Take the stand-in for a bitstream that `bnn_hw board-sim` makes, too.")
@click.option("--replace", is_flag=True, help="Delete what was changed in BUILD/deploy, such as the notebook.")
@json_option
def deploy(
    build_folder: Path, host: str | None, ssh_text: str, installed: bool, simulated: bool, replace: bool, as_json: bool
) -> None:
    """Make the folder that a PYNQ board needs of a build, and bring it there.

    BUILD/deploy holds the build with its overlay, a wheel, a notebook and the installer. `bnn_hw bitstream` makes the overlay;
    what Vivado made on another machine, in BUILD/vivado/out, is collected.

    \b
    bnn_hw deploy build/mnist-pynq-z2
    bnn_hw deploy build/mnist-pynq-z2 --to xilinx@pynq
    bnn_hw deploy build/mnist-pynq-z2 --to xilinx@192.168.2.99 --ssh "ssh -p 2222" --no-install
    """
    ssh = _words(ssh_text)
    with console.status(f"deploying {build_folder}"):
        deployment = make_deployment(build_folder, simulated=simulated, replace=replace)
    # Without the status line, since ssh and sudo may ask for passwords.
    remote = send(deployment, host, ssh) if host is not None else None
    if host is not None and installed:
        install(deployment, host, ssh)
    (print_json(_summary(deployment, host, remote, installed)) if as_json else _show(deployment, host, remote, installed))


def _words(command: str) -> list[str]:
    """Returns the words of a shell's command."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--ssh must be a command, not {command!r}: {error}") from error
    if not words:
        raise UsageError("--ssh must be a command, not empty")
    return words


def _summary(deployment: Deployment, host: str | None, remote: str | None, installed: bool) -> dict[str, object]:
    return {
        "folder": str(deployment.folder),
        "build": deployment.name,
        "simulated": deployment.overlay.simulated,
        "host": host,
        "remote_folder": remote,
        "installed": host is not None and installed,
        "files": dict(deployment.files),
    }


def _show(deployment: Deployment, host: str | None, remote: str | None, installed: bool) -> None:
    facts = {"folder": str(deployment.folder), "overlay": f"{deployment.overlay.name}.bit and .hwh"}
    if deployment.overlay.simulated:
        facts["overlay"] += ", of a simulated board"
    if host is None:
        facts["next"] = "copy the folder to the board and run `sudo bash install.sh` in it, or give --to"
    elif installed:
        facts["board"] = f"{host}: installed; notebook bnn_hw/{deployment.name}.ipynb in Jupyter"
    else:
        facts["board"] = f"{host}: copied; run `sudo bash ~/{remote}/install.sh` there"
    table(deployment.name, ("", ""), list(facts.items()))
