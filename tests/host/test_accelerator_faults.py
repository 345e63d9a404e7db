# SPDX-License-Identifier: Apache-2.0
"""Every fault of a board ends in an error within its time-out, and the next good batch is right: the table of docs/board.md."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bnn_host import Accelerator
from bnn_hw.errors import BoardError
from bnn_hw.network import golden
from support.accelerator_boards import in_process, small_build, small_network
from support.simulated_board import ROOT, free_address, needs_pynq, serving

pytestmark = needs_pynq

_TIMEOUT_S = 4.0
_SLACK_S = 3.0  # for what the error tells and for the reset, with other tests at work
_IMAGES = np.random.default_rng(8).integers(0, 256, (24, 7, 10), np.uint8)
_AT_ONCE, _TIMED_OUT = "at once", "after the time-out"
_WHEN = dict.fromkeys(("dma-error", "wrong-digest", "corrupted-weights", "server-dies"), _AT_ONCE)
_WHEN |= dict.fromkeys(("no-tlast", "stalled-output", "server-hangs"), _TIMED_OUT)
_STATE = (
    r"DMA MM2S: control 0x[0-9a-f]+, status 0x[0-9a-f]+ \(.*\), length [\d,]+; DMA S2MM: control .*, status .*, length [\d,]+; "
    r"accelerator: STATUS 0x[0-9a-f]+ \(.*\); IMAGES_IN \d+, IMAGES_OUT \d+, WORDS_IN \d+, WORDS_OUT \d+, CYCLES [\d,]+, .*"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


def _open(build: Path, address: str) -> Accelerator:
    return Accelerator(build, address=address, timeout_s=_TIMEOUT_S, chunk_images=8)


def _check_right(board: Accelerator) -> None:
    np.testing.assert_array_equal(board.scores(_IMAGES), golden.scores(small_network(1), _IMAGES))


def _error(action: Callable[[], object], timeout_s: float = _TIMEOUT_S) -> tuple[str, str]:
    """Returns what an action that must fail says, and when."""
    begun = time.monotonic()
    with pytest.raises(BoardError) as raised:
        action()
    elapsed_s = time.monotonic() - begun
    assert elapsed_s < timeout_s + _SLACK_S
    return str(raised.value), _TIMED_OUT if elapsed_s >= timeout_s else _AT_ONCE


def _row(fault: str, when: str, error: str, afterwards: str) -> str:
    """Returns a row of the table, with the first clause of the error."""
    clause = re.sub(r"(UNAVAILABLE|DEADLINE_EXCEEDED), .*", r"\1", error.split(";")[0])
    clause = re.sub(r"[0-9a-f]{64}", "…", re.sub(r"127\.\d+\.\d+\.\d+", "ADDRESS", re.sub(r"0x[0-9a-f]{8}", "0x…", clause)))
    assert when == _WHEN[fault]
    return f"| `{fault}` | {when} | {clause} | {afterwards} |"


def _transfer_rows(build: Path) -> list[str]:
    """One board, struck three times in the second of three chunks; the batch in between is right."""
    rows, address = [], free_address()
    occasions = {"dma-error": 2, "no-tlast": 2 + 2 + 3, "stalled-output": 2 + 2 + 3 + 2 + 3}
    with serving(build, address, *(f"{fault}:{at}" for fault, at in occasions.items())), _open(build, address) as board:
        for fault in occasions:
            error, when = _error(lambda: board.scores(_IMAGES))
            assert re.fullmatch(rf"[^;]*; {_STATE}; the board has been reset and takes the next images", error), error
            _check_right(board)
            rows.append(_row(fault, when, error, "the board is reset, the next batch is right"))
    return rows


def _identity_row(build: Path) -> str:
    address = free_address()
    with serving(build, address, "wrong-digest"):
        error, when = _error(lambda: _open(build, address))
        with _open(build, address) as board:
            _check_right(board)
    return _row("wrong-digest", when, error, "no `Accelerator`; the next one is right")


def _weights_row(build: Path) -> str:
    address = free_address()
    with serving(build, address, "corrupted-weights"), _open(build, address) as board:
        error, when = _error(lambda: board.load_weights(small_network(2)))
        _check_right(board)
        board.load_weights(small_network(2))
        np.testing.assert_array_equal(board.scores(_IMAGES), golden.scores(small_network(2), _IMAGES))
    return _row("corrupted-weights", when, error, "the old weights are right, and the new ones at the next attempt")


def _server_rows(build: Path) -> list[str]:
    rows = []
    for fault in ("server-dies", "server-hangs"):
        address = free_address()
        with ExitStack() as stack:
            stack.enter_context(serving(build, address, f"{fault}:2"))
            board = stack.enter_context(_open(build, address))
            error, when = _error(lambda board=board: board.scores(_IMAGES))  # type: ignore[misc]
            assert re.fullmatch(r"[^;]*; this Accelerator is closed, since its board failed; make another .*", error), error
            again, at_once = _error(lambda board=board: board.scores(_IMAGES))  # type: ignore[misc]
            assert (again.split(",")[0], at_once) == ("this Accelerator is closed", _AT_ONCE)
        with serving(build, address), _open(build, address) as board:
            _check_right(board)
        rows.append(_row(fault, when, error, "this `Accelerator` is closed; on the board started anew the next one is right"))
    return rows


def test_faults(small: Path) -> None:
    """The rows of the table are what is seen here."""
    rows = [*_transfer_rows(small), _identity_row(small), _weights_row(small), *_server_rows(small)]
    document = (ROOT / "docs" / "board.md").read_text()
    found = [line for line in document.splitlines() if re.match(r"\| `[a-z]+-[a-z]+` \| (at once|after)", line)]
    assert found == rows, "the rows of docs/board.md must be\n" + "\n".join(rows)


@pytest.mark.parametrize("fault", ["dma-error", "no-tlast", "stalled-output"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_faults_in_process(small: Path, fault: str, chunk: int) -> None:
    """In the first and in the last chunk of a batch; the state of before does not reach the next batch."""
    with in_process(small, f"{fault}:{chunk}") as device, Accelerator(small, device=device, timeout_s=1, chunk_images=8) as board:
        error, when = _error(lambda: board.scores(_IMAGES), timeout_s=1)
        assert when == _WHEN[fault]
        assert re.fullmatch(rf"[^;]*; {_STATE}; the board has been reset and takes the next images", error), error
        for _ in range(3):
            _check_right(board)
        assert board.self_test() == 64
