# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw bitstream`."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, Overlay
from bnn_hw.cli.parameters import FiniteFloat
from bnn_hw.cli.show import console, json_option, print_json, table
from bnn_hw.errors import UsageError
from bnn_hw.vivado import collect_bitstream, make_bitstream

__all__ = ["bitstream", "show_bitstream"]

_OWN: Final = "BUILD/vivado/out"


@click.command()
@click.argument("build_folder", metavar="BUILD", type=click.Path(path_type=Path))
@click.option("--clock-mhz", type=FiniteFloat(min=1, max=500), help="The clock of the accelerator; the board's without it.")
@click.option(
    "--collect",
    "out",
    is_flag=False,
    flag_value=_OWN,
    metavar="[DIR]",
    help=f"Run nothing, take what Vivado made on another machine: the folder out; {_OWN} where none is named.",
)
@json_option
def bitstream(build_folder: Path, clock_mhz: float | None, out: str | None, as_json: bool) -> None:
    """Make the bitstream of a board with a processor by Vivado, and take it with its reports into BUILD/bitstream.

    Fails where the clock is missed. Without Vivado it writes BUILD/vivado, which another machine can run.

    \b
    bnn_hw bitstream build/mnist-pynq-z2
    bnn_hw bitstream build/mnist-pynq-z2 --clock-mhz 80
    bnn_hw bitstream build/mnist-pynq-z2 --collect
    """
    if out is not None and clock_mhz is not None:
        raise UsageError("--clock-mhz and --collect exclude each other: what is collected has its clock")
    if out is not None:
        overlay = collect_bitstream(build_folder, None if out == _OWN else Path(out))
    else:
        with console.status(f"bitstream of {build_folder}") as status:
            overlay = make_bitstream(
                build_folder, clock_mhz=clock_mhz, on_step=lambda step: status.update(f"{build_folder}: {step}")
            )
    (print_json(asdict(overlay)) if as_json else show_bitstream(build_folder, overlay))


def show_bitstream(build_folder: Path, overlay: Overlay) -> None:
    """Prints what a bitstream takes and how much slack it has."""
    facts = overlay.facts
    used = facts["utilization"]
    rows = {
        "Vivado": facts["vivado"],
        "clock": f"{overlay.clock_mhz:g} MHz, slack {', '.join(f'{name} {ns:g} ns' for name, ns in facts['slack_ns'].items())}",
        "takes": f"{used['luts']:,g} LUT, {used['flip_flops']:,g} FF, {used['block_rams']:,g} block RAM, {used['dsps']:,g} DSP",
        "power": f"{facts['power_w']['total']:g} W estimated, {facts['power_w']['dynamic']:g} W of it dynamic",
        "bitstream": str(build_folder / OVERLAY_FOLDER / f"{overlay.name}.bit"),
    }
    table(str(build_folder), ("", ""), list(rows.items()))
