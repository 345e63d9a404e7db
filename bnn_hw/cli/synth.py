# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw synth`."""

from pathlib import Path

import click

from bnn_hw.cli.parameters import FiniteFloat
from bnn_hw.cli.show import console, json_option, print_json, table
from bnn_hw.synth import LayerReport, Synthesis, check_synthesis, description, synthesize

__all__ = ["synth"]


@click.command()
@click.argument("build_folder", metavar="BUILD", type=click.Path(path_type=Path))
@click.option("--route/--no-route", default=True, help="Place and route, and write a bitstream, where open tools can.")
@click.option("--clock-mhz", type=FiniteFloat(min=0, min_open=True), help="The clock to reach; the board's without it.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Of place and route.")
@json_option
def synth(build_folder: Path, route: bool, clock_mhz: float | None, seed: int, as_json: bool) -> None:
    """Synthesize a build and show what each layer takes of the FPGA, beside the plan's estimate.

    Boards with an ECP5, iCE40 or Gowin FPGA get a bitstream too. All of it is written to BUILD/synth.

    \b
    bnn_hw synth build/mnist-pynq-z2
    bnn_hw synth build/mnist-tiny-icebreaker --seed 7
    """
    with console.status(f"synthesizing {build_folder}") as status:
        synthesis = synthesize(
            build_folder,
            route=route,
            clock_mhz=clock_mhz,
            seed=seed,
            on_step=lambda step: status.update(f"{build_folder}: {step}"),
        )
    (print_json(description(synthesis)) if as_json else _show(synthesis))
    check_synthesis(synthesis)


def _show(synthesis: Synthesis) -> None:
    levels = synthesis.longest is not None
    columns = ["layer", "LUT", "plan", "RAM", "FF", "BRAM", "plan", "DSP", "plan", *(["depth"] if levels else [])]
    total = LayerReport("total", synthesis.total, synthesis.estimate, synthesis.longest)
    rows = [_row(layer, levels) for layer in (*synthesis.layers, total)]
    table(f"{synthesis.folder.parent} on {synthesis.board.name}", columns, rows)
    table("", ("", ""), list(_facts(synthesis).items()))


def _row(layer: LayerReport, levels: bool) -> list[str]:
    usage, estimate = layer.usage, layer.estimate or {}
    planned = [f"{estimate[field]:,g}" if field in estimate else "" for field in ("luts", "block_rams", "dsps")]
    block_rams, dsps = f"{usage.block_rams:,g}", f"{usage.dsps:,g}"
    numbers = [f"{number:,}" for number in (usage.luts, usage.lut_ram, usage.flip_flops)]
    row = [layer.name, numbers[0], planned[0], *numbers[1:], block_rams, planned[1], dsps, planned[2]]
    return [*row, f"{layer.longest.levels if layer.longest else 0}"] if levels else row


def _facts(synthesis: Synthesis) -> dict[str, str]:
    board, total, path, route = synthesis.board, synthesis.total, synthesis.longest, synthesis.route
    facts = {
        board.name: f"{total.luts / board.luts:.1%} of {board.luts:,} LUT, {total.block_rams / board.block_rams:.1%} of "
        f"{board.block_rams} {board.family.block_ram}, {total.dsps / board.dsps:.1%} of {board.dsps:,} DSP"
    }
    if path:
        facts["longest path"] = f"{path.levels} LUTs from {path.start} to {path.end}"
    if synthesis.other_cells:
        facts["not counted"] = ", ".join(f"{count} {kind}" for kind, count in synthesis.other_cells.items())
    if route:
        facts["placed, flat"] = ", ".join(f"{used:,} of {there:,} {kind}" for kind, (used, there) in route.used.items())
        facts["speed"] = f"{route.fmax_mhz:.2f} MHz of {route.clock_mhz:g} MHz (seed {route.seed})"
        facts["bitstream"] = str(synthesis.folder / route.bitstream)
    return {**facts, "report": str(synthesis.folder / "synth.json")}
