# SPDX-License-Identifier: Apache-2.0
"""The figures in Vivado's reports: timing, utilization, power."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnn_hw.errors import ToolError

__all__ = ["Slack", "read_power", "read_slacks", "read_utilization"]

_SLACKS: Final = {"WNS": "setup", "WHS": "hold", "TPWS": "pulse width"}  # timing summary columns, and their kinds
_TABLES: Final = ("Intra Clock Table", "Inter Clock Table", "Other Path Groups Table")  # a row for each path group
_SITES: Final = {  # rows of the utilization report, 7 series and UltraScale+
    "luts": ("Slice LUTs", "CLB LUTs"),
    "flip_flops": ("Slice Registers", "CLB Registers"),
    "block_rams": ("Block RAM Tile",),
    "dsps": ("DSPs",),
}
_POWER: Final = {"total": "Total On-Chip Power (W)", "dynamic": "Dynamic (W)", "static": "Device Static (W)"}
_COLUMN: Final = re.compile(r"(\w+)\(ns\)|\w+ (?:Failing|Total) Endpoints")
_PATH: Final = re.compile(
    r"^Slack \(VIOLATED\) : +(?P<slack>-[\d.]+)ns.*\n"
    r" +Source: +(?P<source>\S+)\n(?: {10,}\S.*\n)*"
    r" +Destination: +(?P<destination>\S+)\n(?: {10,}\S.*\n)*"
    r" +Path Group: .*\n +Path Type: +(?P<kind>\w+) ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Slack:
    """The worst slack of one kind, in ns: 0 or more is met. Of pulse widths it is the sum of all that are missed."""

    kind: str  # setup, hold or pulse width
    worst_ns: float
    group: str  # the path group that has it: a clock, or the two clocks between which the path goes
    path: tuple[str, str] | None = None  # source and destination of the path that misses it, where the report has it

    def __str__(self) -> str:
        path = f" from {self.path[0]} to {self.path[1]}" if self.path else ""
        return f"{self.kind} by {-self.worst_ns:.3f} ns in path group {self.group}{path}"


def read_slacks(report: str | os.PathLike[str]) -> dict[str, Slack]:
    """Returns the slacks WNS, WHS and TPWS of a timing summary. Raises `ToolError` when it does not have them."""
    report = Path(report)
    text = report.read_text()
    design = dict(pair for _, row in _rows(report, text, "Design Timing Summary") for pair in row.items())
    groups = [(name, row) for table in _TABLES for name, row in _rows(report, text, table)]
    slacks = {}
    for column, kind in _SLACKS.items():
        if column not in design:  # NA: nothing is timed
            raise ToolError(f"{report} has no {column}: no path of the design is timed; run Vivado again")
        there = [(row[column], name) for name, row in groups if column in row]
        slacks[column] = Slack(kind, design[column], min(there)[1] if there else "unknown", _violated_path(text, kind))
    return slacks


def read_utilization(report: str | os.PathLike[str]) -> dict[str, float]:
    """Returns how much of each kind a design takes. Raises `ToolError` when the report does not say."""
    report = Path(report)
    return {kind: _cell(report, *names) for kind, names in _SITES.items()}


def read_power(report: str | os.PathLike[str]) -> dict[str, float]:
    """Returns the power that Vivado estimates, in W. Raises `ToolError` when the report does not say."""
    report = Path(report)
    return {kind: _cell(report, name) for kind, name in _POWER.items()}


def _rows(report: Path, text: str, title: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the rows of a table of a timing summary: the names that begin it, and its slacks by column.

    A number ends where the header of its column ends; a column may be empty or NA.
    """
    section = re.search(rf"^\| {title}\n\| -+\n-+\n(.*?)(?=^-{{90,}}$)", text, re.MULTILINE | re.DOTALL)
    if not section:
        raise ToolError(f"{report} has no section {title!r}: it is no timing summary of Vivado's, or it is cut off")
    header, *lines = [line for line in section[1].splitlines() if line.strip()]
    columns = list(_COLUMN.finditer(header))
    for line in lines:
        cells = {column[1]: re.search(r"(?<!\S)-?\d+\.\d+$", line[: column.end()]) for column in columns if column[1]}
        numbers = {name: float(cell[0]) for name, cell in cells.items() if cell}
        if numbers:
            names = dict.fromkeys(line[: max(0, columns[0].start() - 4)].split())
            yield " to ".join(names), numbers


def _violated_path(text: str, kind: str) -> tuple[str, str] | None:
    """Returns source and destination of the path of a kind that misses it the most."""
    paths = [path for path in _PATH.finditer(text) if path["kind"].lower() == kind]
    worst = min(paths, key=lambda path: float(path["slack"]), default=None)
    return (worst["source"], worst["destination"]) if worst else None


def _cell(report: Path, *names: str) -> float:
    """Returns the first number of the row that has one of these names."""
    alternatives = "|".join(map(re.escape, names))
    found = re.search(rf"^\| *(?:{alternatives})\*? *\| *([\d.]+)", report.read_text(), re.MULTILINE)
    if not found:
        raise ToolError(f"{report} has no row {' or '.join(map(repr, names))}: it is no report of Vivado's, or it is cut off")
    return float(found[1])
