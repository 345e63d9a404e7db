# SPDX-License-Identifier: Apache-2.0
"""Drives streams through units side by side, and records what they give and when.

A unit has ports `<unit>_i` and `<unit>_o`, streams. All of them run at once, one phase after the other.

stimulus: {"seed", "bits": {unit: bits of an input word}, "phases": [{"idle", "stall", "words": {unit: [word]},
"results": {unit: number of output words}}]}, where `idle` and `stall` are the probabilities that a cycle has no input
word or no room for an output word. recorded: for each phase {unit: {"words", "taken", "given"}}, `taken` and `given`
the cycles in which input words and output words moved.
"""

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

_PATIENCE_CYCLES = 300  # without a word moving anywhere
_DRAIN_CYCLES = 20  # in which nothing may come any more


class _Streams:
    """The two streams of a unit in one phase."""

    def __init__(self, dut: Any, unit: str, draw: random.Random, phase: dict[str, Any], bits: int) -> None:
        self.i_valid, self.i_ready, self.i_payload = (getattr(dut, f"{unit}_i__{name}") for name in ("valid", "ready", "payload"))
        self.o_valid, self.o_ready, self.o_payload = (getattr(dut, f"{unit}_o__{name}") for name in ("valid", "ready", "payload"))
        self.unit, self.draw, self.phase, self.bits = unit, draw, phase, bits
        self.to_send, self.results = phase["words"][unit], phase["results"][unit]
        self.words: list[int] = []
        self.taken: list[int] = []
        self.given: list[int] = []
        self.offering = self.accepting = False
        self.waiting: int | None = None  # the word that the unit offers and that was not taken

    def before(self) -> None:
        """Decides on this cycle: a word once offered stays; an absent one is random bits."""
        if not self.offering:
            self.offering = len(self.taken) < len(self.to_send) and self.draw.random() >= self.phase["idle"]
            self.i_valid.value = int(self.offering)
            self.i_payload.value = self.to_send[len(self.taken)] if self.offering else self.draw.getrandbits(self.bits)
        self.accepting = self.draw.random() >= self.phase["stall"]
        self.o_ready.value = int(self.accepting)

    def after(self, cycle: int) -> bool:
        """Looks at what this cycle moved, and returns whether it did."""
        moved = False
        if self.offering and int(self.i_ready.value):
            self.offering, moved = False, True
            self.taken.append(cycle)
        word = int(self.o_payload.value) if int(self.o_valid.value) else None
        assert self.waiting is None or word == self.waiting, (
            f"{self.unit}: a word that was not taken changed: {self.waiting} to {word}"
        )
        self.waiting = None if self.accepting else word
        if word is not None and self.accepting:
            self.words.append(word)
            self.given.append(cycle)
            moved = True
        return moved

    def done(self) -> bool:
        """Returns whether all has gone in and come out."""
        return len(self.taken) == len(self.to_send) and len(self.words) >= self.results


async def _run(dut: Any, streams: list[_Streams]) -> None:
    """Runs until all is done, and a little on."""
    cycle = moved = drained = 0
    while drained < _DRAIN_CYCLES:
        for stream in streams:
            stream.before()
        await RisingEdge(dut.clk)
        for stream in streams:
            if stream.after(cycle):
                moved = cycle
        drained = drained + 1 if all(stream.done() for stream in streams) else 0
        stuck = [f"{s.unit}: {len(s.taken)} words in, {len(s.words)} out" for s in streams if not s.done()]
        assert cycle - moved < _PATIENCE_CYCLES, f"nothing moves any more: {'; '.join(stuck)}"
        cycle += 1


@cocotb.test()
async def all_phases(dut: Any) -> None:
    """Each phase to its end."""
    stimulus = json.loads(Path("stimulus.json").read_text())
    draw = random.Random(stimulus["seed"])
    for unit in stimulus["bits"]:
        for name in ("i__valid", "i__payload", "o__ready"):
            getattr(dut, f"{unit}_{name}").value = 0
    dut.rst.value = 1
    Clock(dut.clk, 10, "ns").start(start_high=False)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    recorded = []
    for phase in stimulus["phases"]:
        streams = [_Streams(dut, unit, draw, phase, bits) for unit, bits in stimulus["bits"].items()]
        await _run(dut, streams)
        assert all(len(stream.words) == stream.results for stream in streams), "more words came than were due"
        recorded.append({stream.unit: {name: getattr(stream, name) for name in ("words", "taken", "given")} for stream in streams})
    Path("recorded.json").write_text(json.dumps(recorded))
