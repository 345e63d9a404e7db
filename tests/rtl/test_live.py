# SPDX-License-Identifier: Apache-2.0
"""The Verilog as a library: against the golden model through its streams, and its registers over the bus."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.contract.registers import MAGIC, Register
from bnn_hw.contract.streams import stream_words
from bnn_hw.network.file import load_network
from bnn_hw.network.golden import scores
from bnn_hw.network.network import Network
from bnn_rtl import live as live_module
from bnn_rtl.live import LiveAccelerator, compiled
from support.cocotb_run import fresh_seed
from support.simulated_board import small_build
from support.strategies import random_inputs

CLASSES = 5


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


@pytest.fixture(scope="module")
def library(build: Path) -> Path:
    top = read_manifest(build).top
    return compiled((build / "rtl" / f"{top}.v").read_text(), top, build / "simulated")


@pytest.fixture(scope="module")
def network(build: Path) -> Network:
    return load_network(build / "network.safetensors")


def room(images: int) -> np.ndarray:
    return np.zeros(images * (CLASSES + 1) * 4, np.uint8)


def test_both_streams_at_once(library: Path, network: Network) -> None:
    inputs = random_inputs(network, 300, fresh_seed())
    live, into = LiveAccelerator(library, 8), room(300)
    live.send(stream_words(inputs).view(np.uint8).reshape(-1), last=True)
    live.receive(into)
    moved = [live.run(37) for _ in range(10)]
    assert all(moved)
    while not live.received_last:
        assert live.run(1000)
    np.testing.assert_array_equal(into.view("<i4").reshape(300, -1)[:, :-1], scores(network, inputs))
    assert (live.sent_bytes, live.received_bytes, live.overflowed) == (300 * 16, into.size, False)
    assert live.read(Register.WORDS_IN) == 600
    before = live.cycles
    assert not live.run(500)
    assert live.cycles - before == 500


def test_registers_while_the_streams_go_on(library: Path, network: Network) -> None:
    inputs = random_inputs(network, 200, fresh_seed())
    live, into = LiveAccelerator(library, 8), room(200)
    live.send(stream_words(inputs).view(np.uint8).reshape(-1), last=True)
    live.receive(into)
    counts = []
    while not live.received_last:
        assert live.read(Register.MAGIC) == live.read(Register.MAGIC + 256) == MAGIC  # of 8 bits of addresses
        live.write(Register.PACKET_IMAGES, 200)
        counts.append(live.read(Register.IMAGES_OUT))
    assert counts == sorted(counts)
    assert 0 < counts[len(counts) // 2] < 200
    np.testing.assert_array_equal(into.view("<i4").reshape(200, -1)[:, :-1], scores(network, inputs))
    assert live.read(Register.PACKET_IMAGES) == 200


def test_a_packet_in_parts(library: Path, network: Network) -> None:
    """What is sent without being the last, and received without heeding TLAST, goes on in the next part."""
    inputs = random_inputs(network, 4, fresh_seed())
    live, into = LiveAccelerator(library, 8), room(4)
    content = stream_words(inputs).view(np.uint8).reshape(-1)
    live.receive(into[:24], heed_last=False)
    live.send(content[:24], last=False)  # one image and a half
    live.run(1000)
    live.run(1000)  # the first ended with what was sent
    assert (live.received_bytes, live.received_last) == (24, False)
    live.receive(into[24:])
    live.send(content[24:], last=True)
    live.run(1000)
    live.run(1000)
    assert live.received_last
    np.testing.assert_array_equal(into.view("<i4").reshape(4, -1)[:, :-1], scores(network, inputs))


def test_no_room(library: Path, network: Network) -> None:
    live, into = LiveAccelerator(library, 8), np.zeros(26, np.uint8)
    live.send(stream_words(random_inputs(network, 4, fresh_seed())).view(np.uint8).reshape(-1), last=True)
    live.receive(into)
    for _ in range(5):
        live.run(1000)
    assert (live.overflowed, live.received_last, live.received_bytes) == (True, False, 24)
    assert not into[24:].any()
    live.stop()
    assert not live.run(1000)


def test_time_ends_a_run(library: Path) -> None:
    live = LiveAccelerator(library, 8)
    live.run(1 << 40, most_s=0.05)
    assert 100 < live.cycles < 1 << 40


def test_two_of_one_library_share_nothing(library: Path, network: Network) -> None:
    inputs = random_inputs(network, 3, fresh_seed())
    one, other = LiveAccelerator(library, 8), LiveAccelerator(library, 8)
    into = room(3)
    one.send(stream_words(inputs).view(np.uint8).reshape(-1), last=True)
    one.receive(into)
    while not one.received_last:
        one.run(100)
        other.run(50)
    assert (one.read(Register.IMAGES_OUT), other.read(Register.IMAGES_OUT)) == (3, 0)


def test_a_library_is_kept_for_its_verilog(build: Path, library: Path) -> None:
    top = read_manifest(build).top
    verilog = (build / "rtl" / f"{top}.v").read_text()
    made = library.stat().st_mtime_ns
    assert compiled(verilog, top, build / "simulated") == library
    assert library.stat().st_mtime_ns == made
    assert [path.name for path in (build / "simulated").iterdir()] == [library.name]  # and no folder that was in between
    read_manifest(build)  # which takes it for no part of the build


def test_a_library_is_compiled_anew_for_other_flags(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("live.cpp", "simulation.py"):
        (tmp_path / name).write_bytes((Path(live_module.__file__).parent / name).read_bytes())
    monkeypatch.setattr(live_module, "files", lambda package: tmp_path)
    monkeypatch.setattr(
        live_module, "compile_harness", lambda folder, *_, **__: Path(shutil.copyfile(library, folder / "harness.so"))
    )
    first = compiled("module a; endmodule", "a", tmp_path / "cache")
    assert compiled("module a; endmodule", "a", tmp_path / "cache") == first
    recipe = tmp_path / "simulation.py"
    recipe.write_text(recipe.read_text().replace('"--x-assign", "fast"', '"--x-assign", "0"'))
    assert compiled("module a; endmodule", "a", tmp_path / "cache") != first
