# SPDX-License-Identifier: Apache-2.0
"""Vivado's reports: tables with empty columns, several path groups, the worst of several paths."""

from pathlib import Path

import pytest

from bnn_hw.errors import ToolError
from bnn_hw.vivado.reports import Slack, read_power, read_slacks, read_utilization

_RULE = "-" * 96
_SETUP_HOLD = (
    "    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints"
    "      WHS(ns)      THS(ns)  THS Failing Endpoints  THS Total Endpoints"
)
_PULSE = "     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints  "
_DASHES = _SETUP_HOLD.replace("(ns)", "----")


def _numbers(wns: str, whs: str, tpws: str | None = None) -> str:
    setup, hold = (f"{slack:>11}  {'0.000':>11}  {0:>21}  {9:>19}" for slack in (wns, whs))
    pulse = "" if tpws is None else f"  {'2.225':>11}  {tpws:>11}  {0:>22}  {3:>20}  "
    return f"{setup}  {hold}{pulse}"


def _section(title: str, *lines: str) -> str:
    return "\n".join([_RULE, f"| {title}", f"| {'-' * len(title)}", _RULE, "", *lines, "", ""])


def _path(slack: str, source: str, kind: str = "Setup") -> str:
    clocked = " " * 28 + "(rising edge-triggered cell FDRE clocked by clk  {rise@0.000ns fall@2.500ns period=5.000ns})"
    return "\n".join(
        [
            f"Slack (VIOLATED) :        {slack}ns  (required time - arrival time)",
            f"  Source:                 {source}/C",
            clocked,
            f"  Destination:            {source}/D",
            clocked,
            "  Path Group:             clk",
            f"  Path Type:              {kind} (Max at Slow Process Corner)",
            "",
        ]
    )


def _timing(folder: Path, wns: str = "-0.333", *paths: str) -> Path:
    """Returns a report with a clock that has only pulse widths, one that has all, and a path between two of them."""
    only_pulses = f"{'pll':<14}{'':>{len(_SETUP_HOLD)}}{'47.845':>13}{'-0.500':>13}{1:>24}{3:>22}  "
    text = [
        _section("Timer Settings", "  Enable Multi Corner Analysis : Yes"),
        _section(
            "Design Timing Summary", _SETUP_HOLD + _PULSE, _DASHES, _numbers(wns, "0.021", "-0.500"), "Not all constraints are met."
        ),
        _section("Clock Summary", "Clock  Waveform(ns)"),
        _section(
            "Intra Clock Table",
            f"{'Clock':<14}{_SETUP_HOLD}{_PULSE}",
            f"{'clk':<14}{_numbers('0.100', '0.082', '0.000')}",
            only_pulses,
        ),
        _section(
            "Inter Clock Table",
            f"{'From Clock    To Clock':<28}{_SETUP_HOLD}  ",
            f"{'clk           pll':<28}{_numbers(wns, '0.021')}  ",
        ),
        _section("Other Path Groups Table", f"{'Path Group    From Clock    To Clock':<42}{_SETUP_HOLD}  "),
        _section("Timing Details", *paths),
    ]
    (folder / "timing.rpt").write_text("\n".join(text))
    return folder / "timing.rpt"


def test_the_group_and_the_path_are_those_of_the_worst_slack(tmp_path: Path) -> None:
    paths = _path("-0.100", "a"), _path("-0.333", "b"), _path("-0.200", "c"), _path("-0.900", "d", "Hold")
    slacks = read_slacks(_timing(tmp_path, "-0.333", *paths))
    assert slacks == {
        "WNS": Slack("setup", -0.333, "clk to pll", ("b/C", "b/D")),
        "WHS": Slack("hold", 0.021, "clk to pll", ("d/C", "d/D")),
        "TPWS": Slack("pulse width", -0.5, "pll"),
    }
    assert str(slacks["WNS"]) == "setup by 0.333 ns in path group clk to pll from b/C to b/D"
    assert str(slacks["TPWS"]) == "pulse width by 0.500 ns in path group pll"


def test_a_design_without_a_timed_path_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^\S+/timing\.rpt has no WNS: no path of the design is timed; run Vivado again$"):
        read_slacks(_timing(tmp_path, "NA"))


@pytest.mark.parametrize(("site", "mark", "prohibited"), [("Slice", "", ""), ("Slice", "*", ""), ("CLB", "*", "          0 |")])
def test_utilization_of_each_family_and_version(site: str, mark: str, prohibited: str, tmp_path: Path) -> None:
    report = tmp_path / "utilization.rpt"
    rows = [
        ("LUT as Memory", "44"),
        (f"{site} LUTs{mark}", "8517"),
        (f"{site} Registers", "9101"),
        ("Block RAM Tile", "0.5"),
        ("DSPs", "2"),
    ]
    report.write_text("\n".join(f"| {name:<26} | {used:>5} |     0 |{prohibited}     53200 |  1.00 |" for name, used in rows))
    assert read_utilization(report) == {"luts": 8517, "flip_flops": 9101, "block_rams": 0.5, "dsps": 2}
    report.write_text("| LUT as Memory | 44 |")
    with pytest.raises(ToolError, match=r"^\S+/utilization\.rpt has no row 'Slice LUTs' or 'CLB LUTs': "):
        read_utilization(report)


def test_power(tmp_path: Path) -> None:
    report = tmp_path / "power.rpt"
    report.write_text(
        "| Total On-Chip Power (W)  | 1.734        |\n| Dynamic (W)              | 1.592        |\n"
        "| Device Static (W)        | 0.142        |\n"
    )
    assert read_power(report) == {"total": 1.734, "dynamic": 1.592, "static": 0.142}
