# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw board-sim`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnn_hw.artefacts.manifest import SIMULATED_FOLDER, Manifest, read_manifest
from bnn_hw.cli.show import console
from bnn_hw.tools import require

if TYPE_CHECKING:
    from bnn_rtl.live import LiveAccelerator

__all__ = ["board_sim"]


@click.command("board-sim")
@click.argument("build_folder", metavar="BUILD", type=click.Path(path_type=Path))
@click.option("--address", default="127.0.0.1", show_default=True, help="Of this machine; the port is PYNQ.remote's.")
@click.option("--fault", "faults", multiple=True, metavar="KIND[:N]", help="What is to go wrong, the N-th time that it can.")
@click.option("--memory-mib", type=click.IntRange(1, 2048), default=128, show_default=True, help="That can be allocated.")
def board_sim(build_folder: Path, address: str, faults: tuple[str, ...], memory_mib: int) -> None:
    """Simulate a board with a build, for PYNQ to connect to, until it is interrupted.

    The board is the build's Verilog behind a DMA, memory and PYNQ.remote's services. The build gets an overlay for it in
    BUILD/bitstream where it has none.

    \b
    bnn_hw board-sim build/mnist-pynq-z2
    PYNQ_REMOTE_DEVICES=127.0.0.1 python my_program.py     # in another terminal
    """
    for tool in ("verilator", "C++ compiler", "pynq"):
        require(tool)
    from bnn_host.board import require_remote
    from bnn_host.simulated.board import Board
    from bnn_host.simulated.faults import Fault, parse_fault
    from bnn_host.simulated.overlay import simulated_bitstream

    require_remote()
    from bnn_host.simulated.server import PORT, BoardServer

    planned = [parse_fault(fault) for fault in faults]
    manifest = read_manifest(build_folder)
    bitstream = simulated_bitstream(build_folder, manifest)

    def make_board(on_server_fault: Callable[[Fault], None]) -> Board:
        with console.status(f"compiling {manifest.name}"):
            new_accelerator = _accelerator(build_folder, manifest)
        return Board(
            manifest,
            bitstream,
            new_accelerator,
            memory_bytes=memory_mib << 20,
            faults=planned,
            on_server_fault=on_server_fault,
        )

    with BoardServer(make_board, address) as server:
        click.echo(f"{manifest.board} with {manifest.name} at {address}:{PORT}: set PYNQ_REMOTE_DEVICES={address}")
        server.wait()


def _accelerator(build: Path, manifest: Manifest) -> "Callable[[], LiveAccelerator]":
    """Returns what gives the build's accelerator as it is after configuration."""
    from bnn_rtl.live import LiveAccelerator, compiled

    library = compiled((build / "rtl" / f"{manifest.top}.v").read_text(), manifest.top, build / SIMULATED_FOLDER)
    return lambda: LiveAccelerator(library, manifest.ports["s_axi"]["address_bits"])
