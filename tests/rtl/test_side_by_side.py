# SPDX-License-Identifier: Apache-2.0
"""Builds in one design, as files of one project: each must compute its own function, in Verilator, Icarus and FuseSoC."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.contract.streams import stream_words
from bnn_hw.contract.system import accelerator_vlnv
from bnn_hw.design.plan import Plan
from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.network import golden
from bnn_hw.network.network import Input, Network
from bnn_hw.tools import cxx_compiler, program, run_tool, verilator
from bnn_rtl.simulation import compile_harness
from support.cocotb_run import fresh_seed
from support.strategies import WindowShape, random_conv_network, random_inputs, random_network, random_plan

_IMAGES: Final = 40
_MOST_CYCLES: Final = 100_000
_CLOCK: Final = "module clock;\n  reg clk = 0;\n  always #5 clk = !clk;\n  bench bench(.clk(clk));\nendmodule\n"
_HARNESS: Final = """\
#include "Vtestbench.h"
#include "verilated.h"
int main() { Vtestbench bench; while (!Verilated::gotFinish()) { bench.clk ^= 1; bench.eval(); } }
"""
_BUILD: Final = """
  reg [63:0] words{n} [0:{words} - 1];
  reg [31:0] expected{n} [0:{results} - 1];
  reg [31:0] sent{n} = 0, received{n} = 0, wrong{n} = 0;
  wire ready{n}, valid{n};
  wire [31:0] result{n};
  initial begin
    $readmemh("words{n}.hex", words{n});
    $readmemh("expected{n}.hex", expected{n});
  end
  {top} build{n} (
    .aclk(clk), .aresetn(running),
    .s_axis_tdata(words{n}[sent{n}]), .s_axis_tkeep(8'hff), .s_axis_tlast(sent{n} == {words} - 1),
    .s_axis_tvalid(running && sent{n} < {words}), .s_axis_tready(ready{n}),
    .m_axis_tdata(result{n}), .m_axis_tkeep(), .m_axis_tlast(), .m_axis_tvalid(valid{n}), .m_axis_tready(1'b1),
    .s_axi_awaddr(8'd0), .s_axi_awprot(3'd0), .s_axi_awvalid(1'b0), .s_axi_awready(),
    .s_axi_wdata(32'd0), .s_axi_wstrb(4'd0), .s_axi_wvalid(1'b0), .s_axi_wready(),
    .s_axi_bresp(), .s_axi_bvalid(), .s_axi_bready(1'b1),
    .s_axi_araddr(8'd0), .s_axi_arprot(3'd0), .s_axi_arvalid(1'b0), .s_axi_arready(),
    .s_axi_rdata(), .s_axi_rresp(), .s_axi_rvalid(), .s_axi_rready(1'b1)
  );
  always @(posedge clk) if (running) begin
    if (ready{n} && sent{n} < {words}) sent{n} <= sent{n} + 1;
    if (valid{n}) begin
      received{n} <= received{n} + 1;
      if (result{n} !== expected{n}[received{n}]) wrong{n} <= wrong{n} + 1;
    end
  end
"""
_BENCH: Final = """\
module bench(input clk);
  reg [31:0] cycle = 0;
  wire running = cycle > 3;
{builds}
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (cycle == {cycles} || ({done})) begin
      $display("RESULT {format}", {values});
      $finish;
    end
  end
endmodule
"""
_PROJECT: Final = """\
CAPI=2:
name: test:side_by_side:bench:1.0
filesets:
  bench:
    files: [bench.v, clock.v]
    file_type: verilogSource
    depend: [{cores}]
  images:
    files: [{images}]
    file_type: user
targets:
  default: &default
    filesets: [bench, images]
    toplevel: clock
  sim:
    <<: *default
    flow: sim
    flow_options:
      tool: icarus
"""


@dataclass(frozen=True)
class _Built:
    """A build, images for it as words of its stream, and what it must send for them."""

    folder: Path
    top: str
    words: np.ndarray  # [words] uint64
    results: np.ndarray  # [results] uint32, scores and class of each image

    @property
    def verilog(self) -> Path:
        return self.folder / "rtl" / f"{self.top}.v"


def _built(folder: Path, network: Network, plan: Plan, seed: int) -> _Built:
    build(network, BOARDS["pynq-z2"], plan, folder, verify=False)
    images = random_inputs(network, _IMAGES, seed)
    scores = golden.scores(network, images)
    results = np.concatenate([scores, scores.argmax(axis=1, keepdims=True)], axis=1)
    top = read_manifest(folder).top
    return _Built(folder, top, stream_words(images).reshape(-1), results.reshape(-1).astype("<i4").view("<u4"))


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[_Built]:
    """Builds of one name: two networks of one shape, another plan of the first one, and a network with windows."""
    seed = fresh_seed()
    networks = [random_network(Input((40,), "bit"), (24, 10, 3), seed + index) for index in range(2)]
    windows = (WindowShape((3, 3), (1, 1), 4, (1, 1, 1, 1), 0), WindowShape((2, 2), (2, 2)))
    convolutional = random_conv_network(Input((6, 5, 2), "bit"), windows, (3,), seed)
    board = BOARDS["pynq-z2"]
    plans = [(network, find_plan(network, board, 2e5)) for network in (*networks, convolutional)]
    plans += [(networks[0], random_plan(networks[0], seed, max_products=40))]
    folder = tmp_path_factory.mktemp("builds")
    return [_built(folder / str(index), network, plan, seed + index) for index, (network, plan) in enumerate(plans)]


@pytest.fixture
def bench(builds: Sequence[_Built], tmp_path: Path) -> Path:
    """A folder with a design that holds all builds, sends each its images and counts what is wrong of the results."""
    texts = []
    for n, made in enumerate(builds):
        (tmp_path / f"words{n}.hex").write_text("".join(f"{word:016x}\n" for word in made.words))
        (tmp_path / f"expected{n}.hex").write_text("".join(f"{word:08x}\n" for word in made.results))
        texts.append(_BUILD.format(n=n, top=made.top, words=len(made.words), results=len(made.results)))
    values = {
        "builds": "".join(texts),
        "cycles": _MOST_CYCLES,
        "done": " && ".join(f"received{n} == {len(made.results)}" for n, made in enumerate(builds)),
        "format": " ".join("%0d/%0d" for _ in builds),
        "values": ", ".join(f"wrong{n}, received{n}" for n in range(len(builds))),
    }
    (tmp_path / "bench.v").write_text(_BENCH.format(**values))
    return tmp_path


def _check(printed: str, builds: Sequence[_Built]) -> None:
    """Checks that every build sent as many results as it should, and none wrong."""
    found = re.search(r"^RESULT (.*)$", printed, re.MULTILINE)
    assert found is not None, printed
    assert found[1].split() == [f"0/{len(made.results)}" for made in builds]


def _run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    finished = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stdout[-4000:]
    return finished.stdout


def _modules(verilog: str) -> set[str]:
    return set(re.findall(r"^module \\?([^\s(]+)", verilog, re.MULTILINE))


def test_no_two_builds_have_a_module_of_one_name(builds: Sequence[_Built]) -> None:
    found = [_modules(made.verilog.read_text()) for made in builds]
    for made, modules in zip(builds, found, strict=True):
        assert len(modules) > 10
        assert all(module == made.top or module.startswith((f"{made.top}.", f"{made.top}__")) for module in modules)
    assert len(reduce(set[str].union, found)) == sum(map(len, found))


def test_verilator(builds: Sequence[_Built], bench: Path) -> None:
    for made in builds:
        shutil.copy(made.verilog, bench)
    (bench / "harness.cpp").write_text(_HARNESS)
    compile_harness(bench, cxx_compiler(), top="bench", optimized=False)
    _check(run_tool([bench / "harness"], bench, bench / "harness.log"), builds)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog: apt install iverilog")
def test_icarus(builds: Sequence[_Built], bench: Path) -> None:
    (bench / "clock.v").write_text(_CLOCK)
    sources = [made.verilog for made in builds]
    _run(["iverilog", "-g2005", "-s", "clock", "-o", "design", "bench.v", "clock.v", *sources], bench)
    _check(_run(["vvp", "-n", "design"], bench), builds)


def _fusesoc(folder: Path, builds: Sequence[_Built], target: str, core: str) -> str:
    tools = f"{verilator() / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PATH": tools}
    roots = [part for made in builds for part in ("--cores-root", str(made.folder / "rtl"))]
    command = [program("fusesoc"), *roots, "--cores-root", ".", "run", "--target", target, core]
    return _run(command, folder, environment)


def _needs(*programs: str) -> None:
    pytest.importorskip("fusesoc", reason='needs fusesoc: pip install -c constraints.txt -e ".[test]"')
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"fusesoc needs {name} on PATH")


def test_fusesoc_simulates_a_project_of_several_builds(builds: Sequence[_Built], bench: Path) -> None:
    _needs("iverilog", "make")
    (bench / "clock.v").write_text(_CLOCK)
    images = [f"{path.name}: {{copyto: {path.name}}}" for path in sorted(bench.glob("*.hex"))]
    cores = [f'"{accelerator_vlnv(made.top)}"' for made in builds]
    (bench / "bench.core").write_text(_PROJECT.format(cores=", ".join(cores), images=", ".join(images)))
    _check(_fusesoc(bench, builds, "sim", "test:side_by_side:bench:1.0"), builds)


def test_fusesoc_lints_each_build(builds: Sequence[_Built], tmp_path: Path) -> None:
    """All of them are cores of one project, with the targets that they come with."""
    _needs("make", "perl")
    for made in builds:
        assert "WARNING" not in _fusesoc(tmp_path, builds, "lint", accelerator_vlnv(made.top))
