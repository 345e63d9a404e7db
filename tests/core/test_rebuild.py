# SPDX-License-Identifier: Apache-2.0
"""A build in a folder that has one: nothing that was made or changed there goes away unless that is asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bnn_hw.artefacts.manifest import MANIFEST, read_manifest
from bnn_hw.design.planner import find_plan
from bnn_hw.errors import ArtefactError
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.network.file import network_digest
from bnn_hw.network.network import Input, Network
from support.deployed import with_overlay
from support.strategies import random_network

_BOARD = BOARDS["pynq-z2"]
_ONE, _OTHER = (random_network(Input((12,), "bit"), (6, 3), seed=seed) for seed in (1, 2))


def _build(folder: Path, network: Network, **options: bool | Callable[[str], None]) -> Path:
    return build(network, _BOARD, find_plan(network, _BOARD, fps=1e5), folder, **{"verify": False, **options}).folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"hours: {name}")


def _refuse(step: str) -> None:
    raise AssertionError(f"{step} was begun")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("template") / "out", _ONE)


@pytest.fixture
def plain(template: Path, tmp_path: Path) -> Path:
    """A build to be altered."""
    return Path(shutil.copytree(template, tmp_path / "out"))


@pytest.fixture
def made(plain: Path) -> Path:
    """A build with what every later command makes."""
    folder = with_overlay(plain)
    _write(folder, "vivado/out/build.json", "vivado/work/run.dcp", "deploy/n.ipynb", "synth/synth.json", "simulated/x.so")
    return folder


def test_the_same_build_again_keeps_what_was_made_of_it(made: Path, tmp_path: Path) -> None:
    before, inode = _contents(made), (made / "vivado").stat().st_ino
    (made / "plan.json").unlink()  # and what was damaged is whole again
    next(made.glob("rtl/*.core")).rename(tmp_path / "moved.core")
    _build(made, _ONE)
    assert _contents(made) == before
    assert (made / "vivado").stat().st_ino == inode  # a Vivado that runs there goes on
    read_manifest(made)


def test_another_build_is_refused_before_anything_is_made_and_says_what_would_be_lost(made: Path) -> None:
    before = _contents(made)
    lost = r"vivado, bitstream, deploy, synth, which a new build would delete, since it differs in network_sha256"
    with pytest.raises(ArtefactError, match=rf"^{made} holds {lost}; give another --out, move what you need, or give --replace"):
        _build(made, _OTHER, on_step=_refuse)
    assert _contents(made) == before
    with pytest.raises(ArtefactError, match=r"since it differs in plan_sha256, cycles_per_image;"):
        build(_ONE, _BOARD, find_plan(_ONE, _BOARD, fps=5e6), made, verify=False, on_step=_refuse)
    with pytest.raises(ArtefactError, match=r"since it differs in tools;"):  # for verilator is among them
        _build(made, _ONE, verify=True, on_step=_refuse)


def test_what_cannot_be_known_before_is_refused_in_the_end(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _contents(made)
    monkeypatch.setattr("bnn_hw.flow.build._summary", lambda *arguments: "{}")
    with pytest.raises(ArtefactError, match=rf"^{made} holds vivado, .*, since it differs in files; "):
        _build(made, _ONE)
    assert _contents(made) == before
    assert [path.name for path in made.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("network", [_ONE, _OTHER], ids=["same", "other"])
def test_with_replace_nothing_stays_of_another_build(made: Path, network: Network) -> None:
    later = {path.name for path in made.iterdir()} - {path.split("/")[0] for path in read_manifest(made).files} - {MANIFEST}
    _write(made, "notes.txt", "rtl/extra/tb.v")
    _build(made, network, replace=True)
    assert read_manifest(made).network_sha256 == network_digest(network)
    assert not (made / "notes.txt").exists()
    assert {path.name for path in made.iterdir()} & later == (later if network is _ONE else set())
    assert len(later) == 5


@pytest.mark.parametrize("network", [_ONE, _OTHER], ids=["same", "other"])
@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (["notes.txt"], "notes.txt"),
        (["rtl/tb.v", ".git/HEAD"], r"\.git/HEAD, rtl/tb\.v"),
        ([f"{n}.txt" for n in range(7)], r"0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt and 2 more"),
        (["report/summary.json"], r"report/summary\.json"),
    ],
)
def test_files_of_ones_own_are_not_deleted(plain: Path, network: Network, names: list[str], lost: str) -> None:
    _write(plain, *names)
    with pytest.raises(ArtefactError, match=rf"^{plain} holds {lost}, which a new build would delete"):
        _build(plain, network, on_step=_refuse)
    assert all((plain / name).read_text() == f"hours: {name}" for name in names)


def test_an_edited_plan_and_what_is_soon_made_again_hold_nothing_up(plain: Path) -> None:
    folder = with_overlay(plain, simulated=True)
    _write(folder, "simulated/x.so", "synth.partial/yosys.log")
    (folder / "plan.json").write_text("{}")
    _build(folder, _OTHER)
    sealed = {"network.safetensors", "vectors.npz", "plan.json", "rtl", "report", MANIFEST}
    assert {path.name for path in folder.iterdir()} == sealed


def test_an_older_manifest_is_replaced_but_not_what_was_made_of_it(made: Path) -> None:
    description = json.loads((made / MANIFEST).read_text())
    (made / MANIFEST).write_text(json.dumps({**description, "version": 1, "top": "random"}))
    with pytest.raises(ArtefactError, match=r" holds vivado, .*, since it differs in top, version; "):
        _build(made, _ONE)
    for name in ("vivado", "bitstream", "deploy", "synth"):
        (made / name).rename(made.parent / name)
    _build(made, _ONE)
    read_manifest(made)


def test_an_interrupt_while_files_are_put_in_place_leaves_all_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, replace = _contents(made), Path.replace

    def interrupted(source: Path, target: Path) -> Path:
        if target.name == "plan.json":
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _build(made, _ONE)
    assert _contents(made) == before
