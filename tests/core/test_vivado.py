# SPDX-License-Identifier: Apache-2.0
"""The flow through Vivado, run in Tcl against a stand-in that knows Vivado's commands and IPs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.artefacts.overlay import read_overlay
from bnn_hw.contract.system import Segment, System, accelerator_vlnv, block_design
from bnn_hw.design.planner import find_plan
from bnn_hw.errors import ArtefactError, ToolError
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS, Board
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input
from bnn_hw.vivado import collect_bitstream, make_bitstream
from bnn_hw.vivado.project import write_project
from support.strategies import random_network
from support.vivado_recorder import Design, install_vivado, needs_tcl, read_design, run_scripts

_BOARDS = [board for board in BOARDS.values() if board.processor]
_NETWORK = random_network(Input((8, 3, 1), "uint8"), (6, 4), seed=3)


def _build(folder: Path, board: Board) -> Path:
    build(_NETWORK, board, find_plan(_NETWORK, board), folder, verify=False)
    return folder


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A build of the same small network for each board with a processor."""
    folder = tmp_path_factory.mktemp("builds")
    return {board.name: _build(folder / board.name, board) for board in _BOARDS}


@pytest.fixture
def built(builds: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a build, to be altered."""
    return Path(shutil.copytree(builds["pynq-z2"], tmp_path / "built"))


@needs_tcl
@pytest.mark.parametrize("board", _BOARDS, ids=lambda board: board.name)
def test_block_design_of_each_board(board: Board, builds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(builds[board.name], tmp_path / "built"))
    record = install_vivado(tmp_path / "bin", monkeypatch)
    overlay = make_bitstream(folder)
    assert read_overlay(folder) == overlay
    assert not overlay.simulated
    design, system = read_design(record), block_design(board, 8)
    assert design.projects == [("package", board.part), ("system", board.part)]
    top = read_manifest(folder).top
    _check_wiring(design, board, top)
    _check_addresses(design, system)
    _check_handoff(folder / "bitstream" / f"{overlay.name}.hwh", design, system)
    assert overlay.clock_mhz == pytest.approx(board.clock_mhz, rel=0.07)
    assert overlay.clock_mhz <= board.clock_mhz


_TWO_BUILDS = """\
proc fail {message} {puts "ERROR: $message"; exit 1}
foreach folder {one other} {
    cd $folder
    source settings.tcl
    file mkdir work
    source package_ip.tcl
    cd ..
}
create_project -force system work/system -part $part
set_property ip_repo_paths [list [file normalize one/work/ip] [file normalize other/work/ip]] [current_project]
update_ip_catalog
create_bd_design system
"""


@needs_tcl
def test_two_builds_are_two_ips_of_one_block_design(
    builds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = random_network(Input((8, 3, 1), "uint8"), (6, 4), seed=4)
    board = BOARDS["pynq-z2"]
    folders = [builds["pynq-z2"], build(other, board, find_plan(other, board), tmp_path / "other", verify=False).folder]
    vlnvs = [accelerator_vlnv(read_manifest(folder).top) for folder in folders]
    script = _TWO_BUILDS
    for name, folder, vlnv in zip(("one", "other"), folders, vlnvs, strict=True):
        copy = Path(shutil.copytree(folder, tmp_path / "builds" / name))
        shutil.copytree(write_project(copy, read_manifest(copy)), tmp_path / "design" / name)
        script += f"create_bd_cell -type ip -vlnv {vlnv} {name}\n"
    (tmp_path / "design" / "build.tcl").write_text(script)
    record = install_vivado(tmp_path / "bin", monkeypatch)
    finished = subprocess.run(
        ["vivado", "-mode", "batch", "-source", "build.tcl"], cwd=tmp_path / "design", capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout
    assert read_design(record).cells == dict(zip(("one", "other"), vlnvs, strict=True))


def _check_wiring(design: Design, board: Board, top: str) -> None:
    """Checks that all run on one clock and one reset, that each interface is connected once, and how the interrupts go."""
    assert board.processor is not None
    assert {name: vlnv.split(":")[2] for name, vlnv in design.cells.items()} == {
        "processor": board.processor.ip,
        "accelerator": top,
        "dma": "axi_dma",
        "registers": "smartconnect",
        "memory": "smartconnect",
        "resets": "proc_sys_reset",
        "interrupts": "axi_intc",
        "concat": "xlconcat",
    }
    assert design.cells["accelerator"] == accelerator_vlnv(top)
    assert design.cells["concat"] == "xilinx.com:ip:xlconcat:2.1"  # the newest of two
    zynq = board.processor.ip == "processing_system7"
    clock = "processor/FCLK_CLK0" if zynq else "processor/pl_clk0"
    clocks = {pin: driver for pin, driver in design.nets.items() if pin.lower().endswith("clk")}
    assert set(clocks.values()) == {clock}
    assert {pin.split("/")[0] for pin in clocks} == design.cells.keys() - {"concat"}
    resets = {pin: driver for pin, driver in design.nets.items() if pin.endswith(("resetn", "reset_in"))}
    assert {pin.split("/")[0] for pin in resets} == design.cells.keys() - {"concat", "processor"}
    interrupt = "processor/IRQ_F2P" if zynq else "processor/pl_ps_irq0"
    assert {pin: driver for pin, driver in design.nets.items() if pin not in clocks.keys() | resets.keys()} == {
        "concat/In0": "dma/mm2s_introut",
        "concat/In1": "dma/s2mm_introut",
        "interrupts/intr": "concat/dout",
        interrupt: "interrupts/irq",
    }
    ends = [end for pair in design.interfaces for end in pair]
    assert len(ends) == len(set(ends))
    assert {("dma/M_AXIS_MM2S", "accelerator/s_axis"), ("accelerator/m_axis", "dma/S_AXIS_S2MM")} < set(design.interfaces)
    assert design.config["dma"] | {"c_include_sg": "0", "c_sg_length_width": "26"} == design.config["dma"]


def _check_addresses(design: Design, system: System) -> None:
    (memory,) = {segment for space, segment in design.addresses if space.startswith("dma/")}
    expected = {
        ("processor/Data", "accelerator/s_axi/reg0"): system.accelerator,
        ("processor/Data", "dma/S_AXI_LITE/Reg"): system.dma,
        ("processor/Data", "interrupts/S_AXI/Reg"): system.interrupts,
        ("dma/Data_MM2S", memory): system.memory,
        ("dma/Data_S2MM", memory): system.memory,
    }
    assert {key: Segment(*place) for key, place in design.addresses.items()} == expected


def _check_handoff(path: Path, design: Design, system: System) -> None:
    """Checks that the .hwh that was taken is the design's, with the accelerator's registers where the driver finds them."""
    root = ElementTree.parse(path).getroot()
    assert {module.attrib["INSTANCE"] for module in root.iter("MODULE")} == design.cells.keys()
    (registers,) = (found.attrib for found in root.iter("MEMRANGE") if found.attrib["INSTANCE"] == "accelerator")
    assert int(registers["BASEVALUE"], 16) == system.accelerator.base
    assert int(registers["HIGHVALUE"], 16) == system.accelerator.base + system.accelerator.size - 1


@needs_tcl
@pytest.mark.parametrize(
    ("act", "message"),
    [
        ({"lacks": "xlconcat"}, ""),
        ({"infers": 0}, ""),
        ({"version": "2024.1.2"}, ""),
        ({"lacks": "axi_dma"}, "this Vivado has no IP for the cell dma of the block design"),
        ({"lacks": "xlconcat ilconcat"}, "this Vivado has no IP for the cell concat of the block design"),
        ({"version": "2019.2"}, r"Vivado must be of version 2020\.2 or newer, not 2019\.2"),
        ({"stop": "synth_1"}, r"synth_1 stopped at: synth_design ERROR; its log is work/system/system\.runs/synth_1/runme\.log"),
    ],
)
def test_other_vivados(act: dict[str, object], message: str, built: Path) -> None:
    folder = write_project(built, read_manifest(built))
    finished = run_scripts(folder, **act)
    if not message:
        assert finished.returncode == 0, finished.stdout
        assert finished.stdout.startswith("WNS 0.512 ns\nWHS 0.021 ns\nTPWS 0.000 ns\ndone; ")
        return
    assert finished.returncode == 1
    assert re.search(f"^ERROR: {message}$", finished.stdout, re.MULTILINE), finished.stdout


@needs_tcl
def test_the_folder_is_the_same_bytes_and_serves_on_another_machine(built: Path, tmp_path: Path) -> None:
    folder = write_project(built, read_manifest(built))
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    write_project(built, read_manifest(built))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert not any(str(tmp_path).encode() in content for content in first.values())
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    assert run_scripts(elsewhere).returncode == 0
    for out in (elsewhere, elsewhere / "out"):
        overlay = collect_bitstream(built, out)
        assert read_overlay(built) == overlay
    shutil.copytree(elsewhere / "out", built / "vivado" / "out")
    write_project(built, read_manifest(built))  # which leaves what Vivado made
    assert collect_bitstream(built) == overlay
    assert overlay.clock_mhz == 100
    assert overlay.facts == {
        "vivado": "2020.2",
        "slack_ns": {"WNS": 0.512, "WHS": 0.021, "TPWS": 0.0},
        "utilization": {"luts": 12873, "flip_flops": 14012, "block_rams": 3.5, "dsps": 2},
        "power_w": {"total": 1.734, "dynamic": 1.592, "static": 0.142},
    }


_PATH = r"from \S+/fc1/sum_reg\[3\]/C to \S+/fc1/fired_reg\[0\]/D"


@needs_tcl
@pytest.mark.parametrize(
    ("act", "message"),
    [
        ({"wns": "-0.312"}, rf"setup by 0\.312 ns in path group clk_fpga_0 {_PATH}"),
        ({"whs": "-0.004"}, rf"hold by 0\.004 ns in path group clk_fpga_0 {_PATH}"),
        ({"tpws": "-1.250"}, r"pulse width by 1\.250 ns in path group clk_fpga_0"),
    ],
)
def test_a_missed_clock_fails_and_leaves_the_bitstream_of_before(
    act: dict[str, object], message: str, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_vivado(tmp_path / "bin", monkeypatch)
    before = make_bitstream(built)
    install_vivado(tmp_path / "bin", monkeypatch, **act)
    with pytest.raises(ToolError, match=rf"built does not reach 100 MHz: it misses {message}; take a slower clock "):
        make_bitstream(built)
    assert read_overlay(built) == before
    shutil.rmtree(built / "bitstream")
    with pytest.raises(ToolError, match=rf" misses {message}; "):
        collect_bitstream(built)
    assert not (built / "bitstream").exists()


@needs_tcl
def test_what_a_finished_run_left_stays_when_another_is_begun(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it was brought from another machine and not collected yet."""
    folder = write_project(built, read_manifest(built))
    assert run_scripts(folder).returncode == 0
    finished = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    install_vivado(tmp_path / "bin", monkeypatch, stop="impl_1")
    for _ in range(2):  # a run that fails leaves nothing that would take its place
        with pytest.raises(ToolError, match=r"^vivado failed with exit code 1: "):
            make_bitstream(built)
        assert {path.name: path.read_bytes() for path in (folder / "out.before").iterdir()} == finished
    assert collect_bitstream(built, folder / "out.before") == read_overlay(built)


@needs_tcl
def test_a_failed_run_leaves_no_bitstream(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_vivado(tmp_path / "bin", monkeypatch, stop="impl_1")
    with pytest.raises(
        ToolError, match=r"^vivado failed with exit code 1: ERROR: impl_1 stopped at: .* \(all of it in .*failed\.log\)$"
    ):
        make_bitstream(built)
    assert not (built / "bitstream").exists()
    with pytest.raises(ArtefactError, match=r"vivado/out has no build\.json: no run of Vivado has come to its end there"):
        collect_bitstream(built)


@needs_tcl
def test_what_comes_back_must_be_whole_and_of_this_build(built: Path, builds: dict[str, Path], tmp_path: Path) -> None:
    folder = write_project(built, read_manifest(built))
    assert run_scripts(folder).returncode == 0
    with pytest.raises(ArtefactError, match=r"out is of another build than \S+/zc706; run Vivado on \S+/zc706/vivado$"):
        collect_bitstream(builds["zc706"], folder / "out")
    top = read_manifest(built).top
    damages = {
        "power.rpt": ("", r"^\S+/power\.rpt has no row 'Total On-Chip Power \(W\)': it is no report of Vivado's"),
        "utilization.rpt": ("| Slice LUTs | 3 |", r"^\S+/utilization\.rpt has no row 'Slice Registers' or 'CLB Registers': "),
        "timing.rpt": ("| Design Timing Summary\n", r"^\S+/timing\.rpt has no section 'Design Timing Summary': "),
        f"{top}.hwh": (None, rf"^\S+/out has no {top}\.hwh; copy the whole folder out"),
        f"{top}.bit": (None, rf"^\S+/out has no {top}\.bit; "),
        "build.json": ("{", r"^\S+/build\.json cannot be read: .*; run Vivado again$"),
    }
    for name, (text, message) in damages.items():
        if text is None:
            (folder / "out" / name).unlink()
        else:
            (folder / "out" / name).write_text(text)
        with pytest.raises((ArtefactError, ToolError), match=message):
            collect_bitstream(built)
        assert not (built / "bitstream").exists()


def test_without_vivado_the_error_says_how_another_machine_serves(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolError,
        match=r"^vivado, which makes the bitstreams of boards with a processor, is not installed: .*; or copy the folder "
        r"\S+/vivado to a machine that has it, run `vivado -mode batch -source build\.tcl` there, copy its folder out back into "
        r"\S+/vivado and run `bnn_hw bitstream \S+ --collect`$",
    ):
        make_bitstream(built)
    assert (built / "vivado" / "README.txt").exists()
    for printed, found in (("Vivado v2020.1 (64-bit)", r"Vivado v2020\.1 \(64-bit\)"), ("hello", "hello")):
        (tmp_path / "vivado").write_text(f"#!/bin/sh\necho '{printed}'\n")
        (tmp_path / "vivado").chmod(0o755)
        with pytest.raises(ToolError, match=rf"^vivado must be of version 2020\.2 or newer, not {found}: .*; or copy the folder "):
            make_bitstream(built)


def _bnn_hw(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bnn_hw", *map(str, arguments)], capture_output=True, text=True)


@needs_tcl
def test_command_line(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_vivado(tmp_path / "bin", monkeypatch)
    made = _bnn_hw("bitstream", built, "--clock-mhz", 80, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["clock_mhz"] == pytest.approx(1000 / 13)
    collected = _bnn_hw("bitstream", built, "--collect")
    assert collected.returncode == 0, collected.stderr
    assert re.search(r"clock +│ 76\.9231 MHz, slack WNS 0\.512 ns, WHS 0\.021 ns, TPWS 0 ns", collected.stdout)
    for arguments, code, message in (
        (("--collect", tmp_path), 2, r"\S+ has no build\.json"),
        (("--collect", "--clock-mhz", 80), 1, "--clock-mhz and --collect exclude each other"),
        (("--clock-mhz", 700), 1, "Invalid value for '--clock-mhz'"),
    ):
        refused = _bnn_hw("bitstream", built, *arguments)
        assert refused.returncode == code
        assert re.search(f"^(error|Error): {message}", refused.stderr, re.MULTILINE), refused.stderr


@needs_tcl
def test_build_makes_the_bitstream_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_vivado(tmp_path / "bin", monkeypatch)
    save_network(_NETWORK, tmp_path / "n.safetensors")
    command = ("build", "--model", tmp_path / "n.safetensors", "--no-verify", "--bitstream", "--json", "--out", tmp_path / "out")
    made = _bnn_hw(*command)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["bitstream"]["files"] == dict(read_overlay(tmp_path / "out").files)
    refused = _bnn_hw(*command[:-1], tmp_path / "serial", "--board", "icebreaker")
    assert refused.returncode == 2
    assert re.search(
        r"^error: icebreaker has no processor, so no block design; `bnn_hw synth` makes its bitstream$",
        refused.stderr,
        re.MULTILINE,
    )
    assert not (tmp_path / "serial").exists()
