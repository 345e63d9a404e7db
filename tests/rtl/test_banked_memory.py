# SPDX-License-Identifier: Apache-2.0
"""Memories of two banks: an engine reads one, while the other is written and read back."""

import random
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.design.memories import EngineMemory
from bnn_rtl.banked_memory import BankedMemory, read_latency
from support.cocotb_run import SIMULATORS, SideBySide, fresh_seed, run_bench

_CYCLES = 1500
_SIZES = {  # rows and bits
    "one": (1, 1),
    "single": (1, 70),
    "exact": (8, 32),
    "rest": (13, 33),
    "wide": (5, 16 * 32 + 1),  # lanes that one register does not select
    "widest": (2, 256 * 32 + 7),  # nor two
}


class _Model:
    """What a memory of two banks does, word by word."""

    def __init__(self, memory: EngineMemory, first: int, words: np.ndarray) -> None:
        self.memory, self.first = memory, first
        self.banks = [words.copy(), words.copy()]

    def place(self, address: int) -> tuple[int, int] | None:
        """Returns lane and row of an address, None where it is no word of this memory."""
        lane, row = divmod(address - self.first, self.memory.stride)
        return (lane, row) if 0 <= lane < self.memory.lanes and row < self.memory.depth else None

    def row(self, bank: int, row: int) -> int:
        words = self.banks[bank][:, row]
        return sum(int(word) << 32 * lane for lane, word in enumerate(words)) & (1 << self.memory.width) - 1

    def write(self, bank: int, address: int, data: int) -> None:
        if place := self.place(address):
            lane, row = place
            self.banks[bank][lane, row] = data & (1 << self.memory.lane_width(lane)) - 1

    def word(self, bank: int, address: int) -> int:
        place = self.place(address)
        return int(self.banks[bank][place]) if place else 0


def _stimulus(models: dict[str, _Model], end: int, draw: random.Random) -> dict[str, dict[str, list[int]]]:
    """Returns what goes in: runs of cycles with the same bank and use of the ports, and any addresses."""
    bank, check = [], []
    while len(bank) < _CYCLES:
        run = draw.randint(1, 40)
        bank += [draw.getrandbits(1)] * run
        check += [draw.getrandbits(1)] * run
    # Each memory's as often as another's, the first and the last words the most.
    address = []
    while len(address) < _CYCLES:
        model = draw.choice(list(models.values()))
        last = model.memory.lanes * model.memory.stride - 1
        place = draw.choice((draw.randint(-1, 3), draw.randint(0, last), draw.randint(last - 2, last + 1)))
        address.append((model.first + place) % end)
    inputs = {
        "bank": bank[:_CYCLES],
        "check": check[:_CYCLES],
        "address": address,
        "write": [draw.getrandbits(1) for _ in range(_CYCLES)],
        "data": [draw.getrandbits(32) for _ in range(_CYCLES)],
    }
    rows = {name: [draw.randrange(model.memory.depth) for _ in range(_CYCLES)] for name, model in models.items()}
    return {"inputs": inputs, "rows": rows}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_reads_and_writes(simulator: str, tmp_path: Path) -> None:
    """Every row in use, every word that is read back; words of other memories are 0, and writes to them do nothing."""
    seed = fresh_seed()
    draw, random_words = random.Random(seed), np.random.default_rng(seed)
    memories = {name: EngineMemory(name, "weights", *size, in_luts=draw.random() < 0.5) for name, size in _SIZES.items()}
    ordered = sorted(memories, key=lambda name: -memories[name].stride)
    ends = list(accumulate((memories[name].lanes * memories[name].stride for name in ordered), initial=0))
    latency, address_bits = read_latency(list(memories.values())), (ends[-1] - 1).bit_length()
    assert latency == 5
    models, units = {}, {}
    for name, first in zip(ordered, ends, strict=False):
        memory = memories[name]
        words = random_words.integers(0, 1 << 32, (memory.lanes, memory.depth), np.uint32)
        words[-1] &= (1 << memory.lane_width(memory.lanes - 1)) - 1
        models[name] = _Model(memory, first, words)
        units[name] = BankedMemory(memory, first, words, latency, address_bits)
    stimulus = _stimulus(models, 1 << address_bits, draw)
    recorded = run_bench(SideBySide(units), "banked_memory", simulator, tmp_path, stimulus)
    for name, model in models.items():
        _check(name, model, stimulus["inputs"], stimulus["rows"][name], recorded[name], latency)


def _check(
    name: str, model: _Model, inputs: dict[str, list[int]], rows: list[int], recorded: dict[str, list[int | None]], latency: int
) -> None:
    bank, check, address = inputs["bank"], inputs["check"], inputs["address"]
    read_back = 0
    for cycle in range(1, _CYCLES):
        # A word is read back, or written, in the cycle after its address; what is written then is read from the next one on.
        if not check[cycle] and cycle + 1 < _CYCLES:
            assert recorded["data"][cycle + 1] == model.row(bank[cycle], rows[cycle]), f"{name}, cycle {cycle}"
        elif cycle + latency - 1 < _CYCLES:
            found = recorded["found"][cycle + latency - 1]
            assert found == model.word(1 - bank[cycle], address[cycle - 1]), f"{name}, cycle {cycle}"
            read_back += found != 0
        if inputs["write"][cycle - 1]:
            model.write(1 - bank[cycle], address[cycle - 1], inputs["data"][cycle])
    assert read_back
