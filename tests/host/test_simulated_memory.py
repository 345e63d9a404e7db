# SPDX-License-Identifier: Apache-2.0
"""The simulated board's memory against a naive list of pages, and the faults that can be asked for."""

import numpy as np
import pytest

from bnn_host.simulated.faults import Fault, Faults, PlannedFault, parse_fault
from bnn_host.simulated.memory import Memory, OutOfMemoryError
from bnn_hw.errors import UsageError
from support.cocotb_run import fresh_seed

PAGE = 4096
BASE = 0x1800_0000


def lowest_room(pages: list[int], count: int) -> int | None:
    """Returns the first of `count` free pages in a row."""
    return next((at for at in range(len(pages) - count + 1) if not any(pages[at : at + count])), None)


def test_allocation_against_a_naive_one() -> None:
    rng = np.random.default_rng(fresh_seed())
    memory, pages = Memory(BASE, 64 * PAGE), [0] * 64
    for number in range(1, 2000):
        owner = int(rng.integers(1, 5))
        if rng.random() < 0.02:
            memory.free_of(owner)
            pages = [0 if page % 10 == owner else page for page in pages]
        elif rng.random() < 0.5 and any(pages):
            page = pages[int(rng.choice(np.flatnonzero(pages)))]
            first = pages.index(page)
            memory.free(BASE + first * PAGE)
            pages = [0 if other == page else other for other in pages]
        else:
            size = int(rng.choice([0, 1, PAGE - 1, PAGE, PAGE + 1, int(rng.integers(1, 20 * PAGE))]))
            count = max(1, -(-size // PAGE))
            at = lowest_room(pages, count)
            if at is None:
                with pytest.raises(OutOfMemoryError):
                    memory.allocate(size, owner)
            else:
                buffer = memory.allocate(size, owner)
                assert (buffer.address, buffer.size) == (BASE + at * PAGE, size)
                assert memory.find(buffer.address) == buffer
                assert not memory.content(buffer).any()
                memory.content(buffer)[:] = 0xFF
                pages[at : at + count] = [10 * number + owner] * count
        assert memory.used == PAGE * int(np.count_nonzero(pages))
        assert memory.owners == {page % 10 for page in pages if page}


def test_no_room() -> None:
    memory = Memory(BASE, 4 * PAGE)
    memory.allocate(2 * PAGE + 1)
    with pytest.raises(OutOfMemoryError, match=r"^no room for 4,097 bytes: 12,288 of 16,384 are in use$"):
        memory.allocate(PAGE + 1)
    memory.free(BASE)
    memory.free(BASE)  # again, as a client does whose buffer another one's configuration has freed
    assert memory.allocate(4 * PAGE).address == BASE


def test_views() -> None:
    memory = Memory(BASE, 4 * PAGE)
    buffer = memory.allocate(16)
    memory.content(buffer)[:] = np.arange(16)
    view = memory.view(BASE + 4, 8)
    assert view is not None
    view[0] = 99
    assert memory.content(buffer).tolist() == [0, 1, 2, 3, 99, *range(5, 16)]
    assert memory.view(BASE - 1, 2) is None
    assert memory.view(BASE + 4 * PAGE - 1, 2) is None
    assert memory.view(BASE + 4 * PAGE - 2, 2) is not None


def test_faults_are_parsed() -> None:
    assert parse_fault("dma-error") == PlannedFault(Fault.DMA_ERROR, 1)
    assert parse_fault("server-hangs:12") == PlannedFault(Fault.SERVER_HANGS, 12)
    for text in ("", "smoke", "dma-error:0", "dma-error:", "dma-error:-1", "DMA-ERROR"):
        with pytest.raises(
            UsageError,
            match=r"^fault must be KIND or KIND:N with KIND of dma-error, no-tlast, stalled-output, wrong-digest, "
            rf"corrupted-weights, server-dies, server-hangs, not '{text}'$",
        ):
            parse_fault(text)


def test_faults_strike_once() -> None:
    faults = Faults([parse_fault("no-tlast:2"), parse_fault("dma-error"), parse_fault("no-tlast:4")])
    assert [faults.strike(Fault.NO_TLAST, Fault.STALLED_OUTPUT) for _ in range(5)] == [
        None,
        Fault.NO_TLAST,
        None,
        Fault.NO_TLAST,
        None,
    ]
    assert [faults.strike(Fault.DMA_ERROR) for _ in range(2)] == [Fault.DMA_ERROR, None]
