# SPDX-License-Identifier: Apache-2.0
"""`bnn_hw models`, `boards` and `doctor`."""

from dataclasses import asdict
from typing import Any

import click

from bnn_hw.cli.show import json_option, percent, print_json, table, topology
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.models.packaged import packaged_models, packaged_network
from bnn_hw.network.file import network_bytes
from bnn_hw.network.network import Network
from bnn_hw.tools import TOOLS

__all__ = ["boards", "doctor", "models"]

_MODEL_LICENCE = "Apache-2.0"


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the packaged networks."""
    rows = [_describe(packaged_network(name)) for name in packaged_models()]
    if as_json:
        print_json(rows)
        return
    shown = [(row["name"], row["layers"], row["input"], percent(row["test_accuracy"]), f"{row['weight_bits']:,}") for row in rows]
    table(f"packaged networks, {_MODEL_LICENCE}", ("model", "layers", "input", "test accuracy", "weight bits"), shown)


def _describe(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "layers": topology(network),
        "input": network.input.dtype,
        "test_accuracy": network.provenance.get("test_accuracy"),
        "weight_bits": network.weight_bits,
        "file_bytes": len(network_bytes(network)),
        "licence": _MODEL_LICENCE,
    }


@click.command()
@json_option
def boards(as_json: bool) -> None:
    """List the boards."""
    if as_json:
        print_json([asdict(board) for board in BOARDS.values()])
        return
    rows = [
        (board.name, board.part, board.clock_mhz, f"{board.luts:,}", f"{board.block_rams} {board.family.block_ram}", board.dsps)
        for board in BOARDS.values()
    ]
    table("boards", ("board", "part", "MHz", "LUT", "block RAM", "DSP"), rows)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Name every outside tool: whether it is there, what it is for, how to get it."""
    found = [(tool, tool.find()) for tool in TOOLS]
    if as_json:
        print_json(
            [{"name": t.name, "version": v, "too_old": t.too_old, "purpose": t.purpose, "install": t.install} for t, v in found]
        )
        return
    rows = []
    for tool, version in found:
        shown = f"{version} (too old: {tool.minimum} or newer)" if tool.too_old else version or "absent"
        rows.append((tool.name, shown, tool.purpose, "" if version and not tool.too_old else tool.install))
    table("outside tools", ("tool", "version", "purpose", "get it with"), rows)
