# SPDX-License-Identifier: Apache-2.0
"""What network, board and plan tell is refused before a build makes anything."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnn_hw.cli import app
from bnn_hw.contract.feasible import check_feasible
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.errors import ArtefactError, BnnHwError, UsageError
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import BOARDS, Board, needed_processor
from bnn_hw.network.network import Input, Network
from support.strategies import random_network

_PLAN = Plan((LayerPlan("scores", 1, 1),))
_ICEBREAKER, _ULX3S = BOARDS["icebreaker"], BOARDS["ulx3s-85f"]


def _with_baud(board: Board, baud: int) -> Board:
    assert board.serial is not None
    return replace(board, serial=replace(board.serial, baud=baud))


def _network(elements: int = 20) -> Network:
    return random_network(Input((elements,), "uint8"), (2,), seed=1)


_REFUSALS: dict[str, tuple[Network, Board, Plan, type[BnnHwError], str]] = {
    "baud": (_network(), _with_baud(_ICEBREAKER, 3_000_000), _PLAN, UsageError, r"baud must be at most clock/8, 1,500,000, not"),
    "baud far off": (
        _network(),
        _with_baud(_ICEBREAKER, 1_290_000),
        _PLAN,
        UsageError,
        r"baud must be within 2% of the clock",
    ),
    "no PLL": (
        _network(),
        replace(_ICEBREAKER, clock_mhz=24),
        _PLAN,
        ArtefactError,
        r"board icebreaker: clock_mhz must be the oscillator's 12, not 24, because bnn_hw has a PLL only for ecp5$",
    ),
    "PLL": (_network(), replace(_ULX3S, clock_mhz=801), _PLAN, ArtefactError, r"an ECP5's PLL makes no 801 MHz of 25; give the"),
    "frame": (
        _network(65_536),
        _ICEBREAKER,
        _PLAN,
        ArtefactError,
        r"network random: a frame holds 65,535 bytes, but its image ",
    ),
    "processor": (
        _network(),
        _ULX3S,
        replace(_PLAN, runtime_weights=True),
        ArtefactError,
        r"ulx3s-85f has no processor to write run-time weights; build without --runtime-weights, or for a board with one$",
    ),
}


@pytest.mark.parametrize("case", _REFUSALS)
def test_a_build_is_refused_before_its_first_step(case: str, tmp_path: Path) -> None:
    network, board, plan, kind, message = _REFUSALS[case]
    steps: list[str] = []
    with pytest.raises(kind, match=f"^{message}"):
        build(network, board, plan, tmp_path / "out", on_step=steps.append)
    assert steps == []
    assert not list(tmp_path.iterdir())


def test_boards_that_can() -> None:
    for board in BOARDS.values():
        check_feasible(_network(), board, runtime_weights=board.processor is not None)
    # Frames and baud rates are of serial lines alone.
    check_feasible(_network(65_536), BOARDS["pynq-z2"], runtime_weights=True)


def test_the_command_refuses_before_it_seeks_a_plan_or_reads_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = import_module("bnn_hw.cli.build")
    for late in ("find_plan", "_test_vectors"):
        monkeypatch.setattr(command, late, lambda *_, **__: pytest.fail("too late"))
    arguments = ["build", "--model", "mnist-tiny", "--board", "icebreaker", "--out", str(tmp_path / "out")]
    for option, message in (("--runtime-weights", "to write run-time weights; "), ("--bitstream", "so no block design; ")):
        result = CliRunner().invoke(app, [*arguments, option], standalone_mode=False)
        assert isinstance(result.exception, ArtefactError)
        assert message in str(result.exception)


def test_the_processor_that_is_needed() -> None:
    assert needed_processor(BOARDS["pynq-z2"], ", so nothing") is BOARDS["pynq-z2"].processor
    with pytest.raises(ArtefactError, match=r"^icebreaker has no processor, so nothing$"):
        needed_processor(_ICEBREAKER, ", so nothing")
