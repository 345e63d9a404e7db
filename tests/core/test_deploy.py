# SPDX-License-Identifier: Apache-2.0
"""Deployment: the folder's content, what is refused, and its installer in a Python environment like a board's."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.artefacts.overlay import read_overlay
from bnn_hw.deploy import board_folder as deploy_module
from bnn_hw.deploy import wheel as wheel_module
from bnn_hw.deploy.board_folder import deploy
from bnn_hw.deploy.wheel import write_board_wheel
from bnn_hw.errors import ArtefactError
from bnn_hw.vivado.project import write_project
from support.deployed import board_environment, small_build, with_overlay
from support.vivado_recorder import needs_tcl, run_scripts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build without an overlay, which tests copy."""
    return small_build(tmp_path_factory.mktemp("builds") / "small-pynq-z2")


@pytest.fixture
def build(sealed: Path, tmp_path: Path) -> Path:
    """A build with an overlay."""
    return with_overlay(Path(shutil.copytree(sealed, tmp_path / sealed.name)))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return board_environment(tmp_path_factory.mktemp("board"))


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bnn_hw", *map(str, arguments)], capture_output=True, text=True)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _install(folder: Path, board: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", folder / "install.sh", *arguments], env=board, capture_output=True, text=True)


def _python(board: dict[str, str], code: str) -> str:
    return subprocess.run(["python3", "-c", code], env=board, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


def test_folder_holds_the_build_and_all_that_a_board_needs(build: Path) -> None:
    (build / "synth").mkdir()
    (build / "synth" / "notes.txt").write_text("no part of the build")
    finished = _run("deploy", build, "--json")
    assert finished.returncode == 0, finished.stderr
    summary = json.loads(finished.stdout)
    folder = build / "deploy"
    assert (summary["folder"], summary["build"], summary["simulated"]) == (str(folder), "small-pynq-z2", False)
    assert (summary["host"], summary["installed"]) == (None, False)
    assert {path.name for path in folder.iterdir()} == {
        *("SHA256SUMS", "install.sh", "small-pynq-z2", "small-pynq-z2.ipynb", "bnn_hw-0.1.0-py3-none-any.whl")
    }
    copied = folder / "small-pynq-z2"
    assert read_manifest(copied) == read_manifest(build)
    assert read_overlay(copied) == read_overlay(build)
    assert {path.name for path in copied.iterdir()} == {path.name for path in build.iterdir()} - {"synth", "deploy"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in _contents(folder).items() if name != "SHA256SUMS"}
    assert summary["files"] == digests
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert dict(reversed(line.split("  ")) for line in lines) == digests
    assert 'build = find_build(\\"small-pynq-z2\\")' in (folder / "small-pynq-z2.ipynb").read_text()


def test_the_same_build_gives_the_same_bytes(build: Path) -> None:
    """Also in other processes, with another order of hashes."""
    first = _contents(deploy(build).folder)
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "bnn_hw", "deploy", build]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        assert _contents(build / "deploy") == first


def test_wheel_holds_no_compiled_hidden_or_installed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Path(shutil.copytree(wheel_module.host_folder(), tmp_path / "bnn_host"))
    shutil.copytree(wheel_module.notebook().parent, tmp_path / "notebooks")
    for name in ("__pycache__/a.pyc", ".hidden", ".folder/a.py", "builds/mnist-pynq-z2/manifest.json"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text("no part of the wheel")
    before = zipfile.ZipFile(write_board_wheel(tmp_path))
    monkeypatch.setattr(wheel_module, "host_folder", lambda: host)
    with before, zipfile.ZipFile(write_board_wheel(tmp_path)) as wheel:
        names = wheel.namelist()
        record = wheel.read("bnn_hw-0.1.0.dist-info/RECORD").decode().splitlines()
    assert names == before.namelist()
    assert [line.split(",")[0] for line in record] == names
    assert {"bnn_hw/artefacts/manifest.py", "bnn_host/builds/__init__.py", "bnn_host/notebooks/classify.ipynb"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "/." in name]
    assert {name.split("/")[0] for name in names} == {"bnn_hw", "bnn_host", "bnn_hw-0.1.0.dist-info"}


def test_wheel_and_package_have_the_same_entry_points_and_numpy(tmp_path: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(write_board_wheel(tmp_path)) as wheel:
        text = wheel.read("bnn_hw-0.1.0.dist-info/entry_points.txt").decode()
        metadata = wheel.read("bnn_hw-0.1.0.dist-info/METADATA").decode()
    expected = "\n".join(f"[{group}]\nbnn_hw = {points['bnn_hw']}\n" for group, points in project["entry-points"].items())
    assert text == expected
    assert re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE) == [d for d in project["dependencies"] if "numpy" in d]
    assert f"Requires-Python: {project['requires-python']}\n" in metadata


def test_installed_for_all_and_taken_away(build: Path, board: dict[str, str], tmp_path: Path) -> None:
    """Twice the same build, a second build, and back, with numpy as the only library."""
    other = build.rename(tmp_path / "other-pynq-z2")
    second = deploy(other).folder
    folder = deploy(Path(shutil.copytree(other, build, ignore=shutil.ignore_patterns("deploy")))).folder
    notebooks = Path(board["PYNQ_JUPYTER_NOTEBOOKS"]) / "bnn_hw"
    for deployed in (folder, folder, second):
        finished = _install(deployed, board)
        assert finished.returncode == 0, finished.stderr
    (notebooks / "small-pynq-z2.ipynb").write_text("changed")
    assert _install(folder, board).returncode == 0
    assert (notebooks / "small-pynq-z2.ipynb").read_text() == (folder / "small-pynq-z2.ipynb").read_text()
    kept = notebooks / "small-pynq-z2.ipynb.~1~"
    assert kept.read_text() == "changed"
    kept.unlink()
    assert {path.name for path in notebooks.iterdir()} == {"small-pynq-z2.ipynb", "other-pynq-z2.ipynb"}
    code = "from bnn_host.builds import find_build, installed_builds; from bnn_hw.artefacts.manifest import read_manifest;"
    assert _python(board, f"{code} print(*installed_builds())") == "other-pynq-z2 small-pynq-z2"
    assert _python(board, f"{code} print(read_manifest(find_build('small-pynq-z2')).board)") == "pynq-z2"

    command = ["python3", "-m", "bnn_host", "selftest", "small-pynq-z2"]
    driver = subprocess.run(command, env=board, cwd="/", capture_output=True, text=True)
    assert driver.returncode == 3
    assert re.match(r"error: pynq, which drives a board, cannot be imported: No module named 'pynq'; ", driver.stderr)

    assert _install(second, board, "--uninstall").returncode == 0
    assert _python(board, f"{code} print(find_build().name)") == "small-pynq-z2"
    assert _install(folder, board, "--uninstall").returncode == 0
    assert not notebooks.exists()
    packages = _python(board, "import sysconfig; print(sysconfig.get_path('purelib'))")
    assert not list(Path(packages).glob("bnn_h*"))
    again = _install(folder, board, "--uninstall")
    assert again.returncode == 1
    assert re.search(r"^error: nothing of bnn_hw is installed for .*/venv/bin/python3$", again.stderr, re.MULTILINE)


@pytest.mark.parametrize("file", ["small-pynq-z2/bitstream/SUFFIX.bit", "bnn_hw-0.1.0-py3-none-any.whl", "small-pynq-z2.ipynb"])
def test_installer_refuses_a_folder_that_is_altered(build: Path, board: dict[str, str], file: str) -> None:
    folder = deploy(build).folder
    altered = folder / file.replace("SUFFIX", read_manifest(build).top)
    altered.write_bytes(altered.read_bytes() + b"\0")
    finished = _install(folder, board)
    assert finished.returncode == 1
    assert re.search(r"^error: a file is altered or missing; copy the folder deploy again$", finished.stderr, re.MULTILINE)
    altered.unlink()
    assert _install(folder, board).returncode == 1
    assert not list(Path(board["PYNQ_JUPYTER_NOTEBOOKS"]).iterdir())


def test_installer_takes_one_option_and_one_build(build: Path, board: dict[str, str]) -> None:
    folder = deploy(build).folder
    wrong = _install(folder, board, "--remove")
    assert (wrong.returncode, wrong.stderr) == (1, "error: the one option is --uninstall, not --remove\n")
    shutil.copytree(folder / "small-pynq-z2", folder / "another")
    two = _install(folder, board)
    assert (two.returncode, two.stderr) == (1, f"error: {folder} must hold one build; copy the whole of the folder deploy again\n")


def _refused(build: Path, message: str, *arguments: str) -> None:
    finished = _run("deploy", build, *arguments)
    assert finished.returncode == 2, finished.stderr
    assert re.fullmatch(f"error: {message}\n", finished.stderr.replace(str(build), "BUILD")), finished.stderr
    assert not (build / "deploy").exists()
    assert not [path for path in build.parent.iterdir() if path.name.startswith(".")]


def test_a_missing_altered_or_foreign_overlay_is_refused(sealed: Path, build: Path) -> None:
    _refused(sealed, "BUILD has no bitstream; `bnn_hw bitstream BUILD` makes it, or `bnn_hw board-sim BUILD` simulates the board")
    top = read_manifest(build).top
    (build / "bitstream" / f"{top}.bit").write_text("another")
    _refused(build, rf"BUILD/bitstream/{top}\.bit is not as overlay\.json has it; make it again with `bnn_hw bitstream BUILD`")
    with_overlay(build)
    record = build / "bitstream" / "overlay.json"
    record.write_text(record.read_text().replace(read_overlay(build).manifest_sha256, "0" * 64))
    _refused(build, "BUILD/bitstream is the bitstream of another build; make it again with `bnn_hw bitstream BUILD`")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("name", "../small", "name must be a module's name"),
        ("name", 3, "name must be a module's name"),
        ("clock_mhz", "100", "clock_mhz must be a number above 0"),
        ("clock_mhz", 0, "clock_mhz must be a number above 0"),
        ("simulated", "no", "simulated must be true or false"),
        ("facts", [], "facts must be an object"),
        ("files", ["small.bit"], "files must be an object of strings"),
        ("files", {"small.bit": 1}, "files must be an object of strings"),
    ],
)
def test_a_record_has_fields_of_their_types(build: Path, field: str, value: object, rule: str) -> None:
    record = build / "bitstream" / "overlay.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), field: value}))
    with pytest.raises(ArtefactError, match=rf"^\S+/overlay\.json: {rule}; make it again with `bnn_hw bitstream \S+`$"):
        read_overlay(build)


@needs_tcl
@pytest.mark.parametrize("stand_in", [False, True])
def test_what_vivado_made_elsewhere_is_collected(sealed: Path, tmp_path: Path, stand_in: bool) -> None:
    build = Path(shutil.copytree(sealed, tmp_path / sealed.name))
    elsewhere = shutil.copytree(write_project(build, read_manifest(build)), tmp_path / "elsewhere")
    assert run_scripts(elsewhere).returncode == 0
    shutil.copytree(elsewhere / "out", build / "vivado" / "out")
    if stand_in:
        with_overlay(build, simulated=True)
        assert deploy(build, simulated=True).overlay.simulated  # which is asked for
    finished = _run("deploy", build, "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["simulated"] is False
    assert read_overlay(build).facts["vivado"] == "2020.2"
    made = read_overlay(build)
    (build / "vivado" / "out" / "timing.rpt").unlink()  # what has been collected is not looked at again
    assert deploy(build).overlay == made


def test_an_overlay_has_both_files(build: Path) -> None:
    top = read_manifest(build).top
    (build / "bitstream" / f"{top}.hwh").rename(build / "bitstream" / "design.hwh")
    record = build / "bitstream" / "overlay.json"
    record.write_text(record.read_text().replace(f"{top}.hwh", "design.hwh"))
    _refused(build, rf"BUILD/bitstream has no {top}\.hwh; make it again with `bnn_hw bitstream BUILD`")


def test_a_simulated_overlay_is_taken_when_asked_for(build: Path) -> None:
    with_overlay(build, simulated=True)
    _refused(
        build,
        "BUILD has the stand-in of a simulated board for a bitstream; `bnn_hw bitstream BUILD` makes a real one, "
        "and --simulated takes the stand-in all the same",
    )
    assert deploy(build, simulated=True).overlay.simulated


def test_an_altered_build_is_refused(build: Path) -> None:
    (build / "plan.json").write_text("{}")
    _refused(build, r"BUILD: plan\.json is not as the manifest has it \(1 of \d+ files\); build again")


def test_a_board_without_a_processor_is_refused(tmp_path: Path) -> None:
    build = small_build(tmp_path / "small-icebreaker", "icebreaker")
    _refused(build, "icebreaker has no processor, so no block design; `bnn_hw synth` makes its bitstream")


def test_the_folders_name_is_one_for_a_board(build: Path) -> None:
    renamed = build.rename(build.with_name("my build; now"))
    with pytest.raises(ArtefactError, match=r"^the build's folder must be named with letters, .*, not 'my build; now'; rename it$"):
        deploy(renamed)


@pytest.mark.parametrize("name", ["small-pynq-z2.ipynb", "of_ones_own.txt", "small-pynq-z2/plan.json", "SHA256SUMS"])
def test_what_was_changed_there_is_not_deleted(name: str, build: Path) -> None:
    """A notebook above all, which Jupyter saves with its results."""
    folder = deploy(build).folder
    made = _contents(folder)
    (folder / name).write_text("changed")
    message = (
        rf"^{folder}/(\S+) was added or changed since \(\d+ files\), and would be lost; move what you need, or give --replace$"
    )
    with pytest.raises(ArtefactError, match=message) as raised:
        deploy(build)
    assert name == "SHA256SUMS" or f"{folder / name} was" in str(raised.value)
    assert (folder / name).read_text() == "changed"
    finished = _run("deploy", build, "--replace")
    assert finished.returncode == 0, finished.stderr
    assert _contents(folder) == made


def test_failure_leaves_what_was_deployed(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _contents(deploy(build).folder)

    def fail(folder: Path) -> Path:
        raise OSError("no space")

    monkeypatch.setattr(deploy_module, "write_board_wheel", fail)
    with pytest.raises(OSError, match=r"^no space$"):
        deploy(build)
    assert _contents(build / "deploy") == before
    assert [path.name for path in build.parent.iterdir()] == [build.name]
