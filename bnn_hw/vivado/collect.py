# SPDX-License-Identifier: Apache-2.0
"""Vivado's results, checked and taken into the build as its overlay."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bnn_hw.artefacts.folders import partial_folder, replace_folder
from bnn_hw.artefacts.manifest import Manifest, manifest_digest, read_manifest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, Overlay, seal_overlay
from bnn_hw.errors import ArtefactError, ToolError
from bnn_hw.vivado.project import PROJECT_FOLDER
from bnn_hw.vivado.reports import Slack, read_power, read_slacks, read_utilization

__all__ = ["OUT_FOLDER", "collect_bitstream", "is_finished"]

OUT_FOLDER: Final = "out"
_RECORD: Final = "build.json"  # the file that Vivado's run writes last
_REPORTS: Final = ("timing.rpt", "utilization.rpt", "utilization_hierarchical.rpt", "power.rpt")


def is_finished(build: str | os.PathLike[str]) -> bool:
    """Returns whether a run of Vivado has come to its end in the build's own `vivado/out`, or was brought there from elsewhere."""
    build = Path(build)
    return (build / PROJECT_FOLDER / OUT_FOLDER / _RECORD).exists()


def collect_bitstream(build: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Overlay:
    """Takes bitstream, handoff and reports from `out`, the build's own `vivado/out` without it, and returns the overlay.

    `out` may be the folder around it too. The content of the build's folder `bitstream` is replaced after all checks. Raises
    `ArtefactError` when `out` is not whole or another build's, `ToolError` when the design is slower than its clock.
    """
    build = Path(build)
    out = None if out is None else Path(out)
    manifest = read_manifest(build)
    folder = build / PROJECT_FOLDER / OUT_FOLDER if out is None else out
    if not (folder / _RECORD).exists() and (folder / OUT_FOLDER / _RECORD).exists():
        folder = folder / OUT_FOLDER
    record = _read_record(build, folder)
    names = (f"{manifest.top}.bit", f"{manifest.top}.hwh", *_REPORTS)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ArtefactError(f"{folder} has no {missing[0]}; copy the whole folder {OUT_FOLDER} of Vivado's machine")
    slacks = read_slacks(folder / "timing.rpt")
    _check_timing(slacks, record, build, folder)
    facts = {
        "vivado": record["vivado"],
        "slack_ns": {column: slack.worst_ns for column, slack in slacks.items()},
        "utilization": read_utilization(folder / "utilization.rpt"),
        "power_w": read_power(folder / "power.rpt"),
    }
    return _take(build, manifest, [folder / name for name in names], record["clock_mhz"], facts)


def _read_record(build: Path, folder: Path) -> dict[str, Any]:
    """Returns the run's own record: which manifest it belongs to, Vivado's version and its clock."""
    path = folder / _RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        found = record["manifest_sha256"], str(record["vivado"]), float(record["clock_mhz"])
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{folder} has no {_RECORD}: no run of Vivado has come to its end there; see {build / PROJECT_FOLDER}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}; run Vivado again") from error
    if found[0] != manifest_digest(build):
        raise ArtefactError(f"{folder} is of another build than {build}; run Vivado on {build / PROJECT_FOLDER}")
    return record


def _check_timing(slacks: Mapping[str, Slack], record: Mapping[str, Any], build: Path, folder: Path) -> None:
    missed = [str(slack) for slack in slacks.values() if slack.worst_ns < 0]
    if missed:
        raise ToolError(
            f"{build} does not reach {record['clock_mhz']:g} MHz: it misses {'; '.join(missed)}; take a slower clock "
            f"(`bnn_hw bitstream --clock-mhz`), or build with fewer PE or SIMD or a smaller `levels` in plan.json "
            f"(`bnn_hw build --plan`); all paths are in {folder / 'timing.rpt'}"
        )


def _take(build: Path, manifest: Manifest, paths: list[Path], clock_mhz: float, facts: Mapping[str, Any]) -> Overlay:
    with partial_folder(build, OVERLAY_FOLDER) as partial:
        for path in paths:
            shutil.copyfile(path, partial / path.name)
        overlay = seal_overlay(partial, build, manifest, clock_mhz=clock_mhz, simulated=False, facts=facts)
        replace_folder(build / OVERLAY_FOLDER, partial)
    return overlay
