# SPDX-License-Identifier: Apache-2.0
"""Names of networks and layers that mean something else to the tools: all of them make valid Verilog, which computes the same."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.design.lower import lower
from bnn_hw.design.names import ACCELERATOR, UART_ACCELERATOR, layer_instance, top_name
from bnn_hw.design.plan_file import load_plan
from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS
from bnn_hw.network.file import load_network
from bnn_hw.network.network import Conv, Dense, Input, Layer, MaxPool, Network, Scores
from bnn_hw.synth.hierarchy import unit_modules
from support.keywords import SYSTEMVERILOG, VHDL

_KEYWORDS: Final = {*SYSTEMVERILOG, *VHDL}
# Ports, signals and instances of the modules, packages of the languages, files that Windows keeps to itself, C++, Tcl, YAML.
_OTHERS: Final = ("clk", "rst", "soft_reset", "i__payload", "o__ready", "core", "accelerator", "argmax", "result", "shell", "std")
_OTHERS_OF_TOOLS: Final = ("work", "ieee", "con", "nul", "aux", "main", "yes", "no", "set", "dut", "top")
_WORDS: Final = (*sorted(_KEYWORDS), *_OTHERS, *_OTHERS_OF_TOOLS)
_HIDDEN: Final = ("clk", "rst", "soft_reset", "module", "entity", "accelerator")


def test_the_keywords_are_those_that_slang_knows() -> None:
    parsing = pytest.importorskip("pyslang.parsing", reason="needs pyslang")
    kinds = {name.removesuffix("Keyword").lower() for name in parsing.TokenKind.__members__ if name.endswith("Keyword")}
    assert {word.replace("_", "") for word in SYSTEMVERILOG} == kinds


def test_no_word_comes_out_as_it_went_in() -> None:
    tops = [top_name(word, "part", ["verilog"]) for word in _WORDS]
    instances = [layer_instance(word) for word in _WORDS]
    assert len({*tops, *instances}) == 2 * len(_WORDS)
    assert not _KEYWORDS & {*tops, *instances}
    before = ("input0", "input12", "window", "pixels")
    parts = {layer_instance(word, part) for word in _WORDS for part in before} | {"_argmax", "_argmax_input"}
    assert len(parts | set(instances)) == len(_WORDS) * (1 + len(before)) + 2
    for top in tops:
        assert re.fullmatch(r"[a-z](_?[a-z0-9])*", top)  # VHDL's basic identifiers, which are the others' too


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a", "a"), ("a-b", "a_b"), ("a--b__c", "a_b_c"), ("a-_-", "a"), ("std", "std"), ("x" * 64, "x" * 64)],
)
def test_the_top_is_named_after_the_network_and_what_it_is(name: str, stem: str) -> None:
    top = top_name(name, "part", ["one", "two"])
    assert re.fullmatch(rf"{stem}_[0-9a-f]{{8}}", top)
    assert top == top_name(name, "part", ["one", "two"])
    others = [("part", ["one", "other"]), ("part", ["onet", "wo"]), ("part", ["one"]), ("another", ["one", "two"])]
    assert len({top, *(top_name(name, part, verilog) for part, verilog in others)}) == 5


def _network() -> Network:
    """Returns a network whose name is a package of SystemVerilog's, and whose layers are called as nothing should be."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(0, 2, shape).astype(bool)

    layers: list[Layer] = [
        Conv("window", weights(5, 2, 2, 2), np.full(5, 4, np.int32)),
        MaxPool("pixels", (2, 2), (2, 2), np.zeros(5, bool)),
    ]
    inputs = 20
    for name in _HIDDEN:
        layers.append(Dense(name, weights(6, inputs), np.full(6, inputs // 2, np.int32)))
        inputs = 6
    layers.append(Scores("scores_", weights(3, 6), np.ones(3, np.int32), np.zeros(3, np.int32)))
    return Network("std", Input((5, 5, 2), "bit"), tuple(layers))


@pytest.fixture(scope="module", params=["pynq-z2", "icebreaker"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of it, with either shell; that of a board with a processor has been verified in Verilator, every layer."""
    board, network = BOARDS[request.param], _network()
    folder = tmp_path_factory.mktemp("names") / "build"
    return build(network, board, find_plan(network, board, 1e5), folder, verify=board.processor is not None).folder


def test_its_units_are_modules(built: Path) -> None:
    manifest, network = read_manifest(built), load_network(built / "network.safetensors")
    design = lower(network, load_plan(built / "plan.json", network, BOARDS[manifest.board]))
    for suffix, accelerator in {"": ACCELERATOR, "_uart": UART_ACCELERATOR}.items():
        path = built / "rtl" / f"{manifest.top}{suffix}.v"
        if path.exists():
            units = unit_modules(design, path.stem, accelerator)
            assert set(units.values()) == {"window", "pixels", *_HIDDEN, "scores_", "(result)"}
            assert all(f"module \\{module} " in path.read_text() for module in units)


@pytest.mark.parametrize("standard", ["1364-2005", "1800-2017"])
def test_slang_reads_it(built: Path, standard: str) -> None:
    for path in built.glob("rtl/*.v"):
        driver = pytest.importorskip("pyslang.driver", reason="needs pyslang").Driver()
        driver.addStandardArgs()
        assert driver.parseCommandLine(f"slang --std {standard} --top {path.stem} {path}")
        assert driver.processOptions()
        assert driver.parseAllSources()
        assert [each for each in driver.createCompilation().getAllDiagnostics() if each.isError()] == []


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog: apt install iverilog")
@pytest.mark.parametrize("standard", ["2005", "2012"])
def test_icarus_elaborates_it(built: Path, standard: str) -> None:
    for path in built.glob("rtl/*.v"):
        command = ["iverilog", f"-g{standard}", "-s", path.stem, "-t", "null", path]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
