# SPDX-License-Identifier: Apache-2.0
"""Area and speed of the packaged networks beside published overlays: the tables of docs/performance.md.

``python rtl/benchmark.py`` builds each case, verifies it bit for bit, synthesizes it and prints the tables in Markdown;
``python rtl/benchmark.py --case mnist-512`` does one case, ``--curve`` the curve of cycles against area. ``--out DIR`` says
where the builds go; those that are there and belong to the same plan are taken as they are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.design.estimate import design_resources
from bnn_hw.design.lower import Design, lower
from bnn_hw.design.plan import Plan
from bnn_hw.design.plan_file import load_plan, plan_json
from bnn_hw.design.planner import find_plan
from bnn_hw.errors import ArtefactError, BnnHwError
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS, Board
from bnn_hw.models.packaged import packaged_network
from bnn_hw.network.network import Network
from bnn_hw.synth import Synthesis, synthesize

_PLANS: Final = Path(__file__).parent / "plans"
_CURVE_BOARD: Final = "pynq-z2"
_CURVE: Final = (841, 512, 400, 320, 289, 260, 230, 200, 190, 180, 170, 160)


@dataclass(frozen=True)
class Case:
    """A network on a board: with a plan of a file, for a rate, or the fastest; and what was published for the same task.

    The published figures and their sources are in docs/performance.md.
    """

    name: str
    model: str
    board: str
    plan: str = ""
    cycles: int = 0
    published: str = ""


CASES: Final = (
    Case("mnist-512", "mnist", "pynq-z2", plan="mnist-bnn-pynq.json", published="BNN-PYNQ LFC: 841 cycles, 28,360 LUT, 110 BRAM36"),
    Case("mnist-152", "mnist", "pynq-z2", plan="mnist-152.json", published="BNN-PYNQ LFC: 841 cycles, 28,360 LUT, 110 BRAM36"),
    Case("mnist-200", "mnist", "pynq-z2", cycles=200, published="BNN-PYNQ LFC: 841 cycles, 28,360 LUT, 110 BRAM36"),
    Case("mnist-small-16", "mnist-small", "zc706", cycles=16, published="FINN SFC-max: 16 cycles, 91,131 LUT, 4.5 BRAM36"),
    Case("mnist-128", "mnist", "zc706", cycles=128, published="FINN LFC-max: 128 cycles, 82,988 LUT, 396 BRAM36"),
    Case(
        "cifar10-32768",
        "cifar10",
        "pynq-z2",
        plan="cifar10-bnn-pynq.json",
        published="BNN-PYNQ CNV: 32,787 cycles, 26,072 LUT, 124 BRAM36",
    ),
    Case("cifar10-fit", "cifar10", "pynq-z2", published="BNN-PYNQ CNV: 32,787 cycles, 26,072 LUT, 124 BRAM36"),
    Case("cifar10-9130", "cifar10", "zc706", cycles=9130, published="FINN CNV-max: 9,130 cycles, 46,253 LUT, 186 BRAM36"),
    Case("ulx3s", "mnist-small", "ulx3s-85f", plan="mnist-small-ulx3s.json"),
    Case("icebreaker", "mnist-tiny", "icebreaker", plan="mnist-tiny-icebreaker.json"),
    Case("tangnano9k", "mnist-tiny", "tangnano9k", plan="mnist-tiny-tangnano9k.json"),
)


def plan_of(case: Case, network: Network, board: Board) -> Plan:
    """Returns the plan of a case."""
    if case.plan:
        return load_plan(_PLANS / case.plan, network, board)
    return find_plan(network, board, board.clock_mhz * 1e6 / case.cycles if case.cycles else None)


def synthesized(case: Case, out: Path) -> tuple[Design, Synthesis, int]:
    """Returns a case's design, its synthesis, and how many images were verified; builds it unless it is there."""
    network, board = packaged_network(case.model), BOARDS[case.board]
    design, folder = lower(network, plan_of(case, network, board)), out / case.name
    try:
        same = (folder / "plan.json").read_text() == plan_json(design)
    except OSError:
        same = False
    if not same:
        build(network, board, design.plan, folder, replace=True)  # the synthesis there is one of ours
    return design, synthesize(folder), read_manifest(folder).verified_images


def row(case: Case, out: Path) -> str:
    """Returns a case's line of the table."""
    design, synthesis, images = synthesized(case, out)
    total, estimate, board = synthesis.total, synthesis.estimate, synthesis.board
    cycles = design.cycles
    errors = f"{estimate['luts'] / total.luts - 1:+.1%}, {estimate['block_rams'] - total.block_rams:+g}"
    depth = f"{synthesis.longest.levels} levels" if synthesis.longest else ""
    if synthesis.route:
        depth = f"{synthesis.route.fmax_mhz:.1f} MHz routed, {synthesis.route.clock_mhz:g} asked"
    fps = board.clock_mhz * 1e6 / cycles
    cells = (
        f"`{case.name}`",
        f"{design.network.name}, {board.name}",
        f"{cycles:,}",
        f"{fps:,.0f}",
        f"{total.luts:,}",
        f"{total.flip_flops:,}",
        f"{total.block_rams:g}",
        f"{total.dsps:g}",
        errors,
        depth,
        f"{images}",
        case.published,
    )
    return f"| {' | '.join(cells)} |"


def curve(board: Board) -> list[str]:
    """Returns the lines of the curve of cycles against area of `mnist`, by estimate."""
    network, lines = packaged_network("mnist"), []
    for cycles in _CURVE:
        try:
            design = lower(network, find_plan(network, board, board.clock_mhz * 1e6 / cycles))
        except ArtefactError as error:
            lines.append(f"| {cycles} | {error} | | | |")
            continue
        need = design_resources(design)
        in_luts = sum(stage.lut_bits * stage.words for stage in design.stages)
        lines.append(f"| {cycles} | {design.cycles} | {need.luts:,} | {need.block_rams:g} | {in_luts / network.weight_bits:.0%} |")
    return lines


@click.command()
@click.option("--case", "names", multiple=True, type=click.Choice([case.name for case in CASES]), help="Only these cases.")
@click.option("--curve", "curve_only", is_flag=True, help="The curve of cycles against area of mnist on pynq-z2, by estimate.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmark"), show_default=True)
def main(names: tuple[str, ...], curve_only: bool, out: Path) -> None:
    """Print the tables of docs/performance.md."""
    if curve_only:
        click.echo("| cycles asked | cycles | LUT | BRAM36 | weights in LUTs |\n|---|---|---|---|---|")
        click.echo("\n".join(curve(BOARDS[_CURVE_BOARD])))
        return
    click.echo(
        "| case | network, board | cycles | images/s | LUT | FF | block RAM | DSP | plan's error: LUT, block RAM | depth | "
        f"images verified | published |\n|{'---|' * 12}"
    )
    for case in CASES:
        if not names or case.name in names:
            try:
                click.echo(row(case, out))
            except BnnHwError as error:
                click.echo(f"| `{case.name}` | {error} |")


if __name__ == "__main__":
    main()
