# SPDX-License-Identifier: Apache-2.0
"""LUT levels of small netlists, counted by hand, and of random ones, by a naive walk over every path."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from bnn_hw.errors import ArtefactError
from bnn_hw.synth.levels import LongestPath, longest_paths

_FF_PINS = {"D": "input", "C": "input", "Q": "output"}


def _cell(kind: str, inputs: Mapping[str, list[Any]], outputs: Mapping[str, list[Any]], **parameters: str) -> dict[str, Any]:
    directions = {**dict.fromkeys(inputs, "input"), **dict.fromkeys(outputs, "output")}
    return {"type": kind, "parameters": parameters, "port_directions": directions, "connections": {**inputs, **outputs}}


def _ff(d: Any, q: int) -> dict[str, Any]:
    return _cell("FDRE", {"D": [d], "C": [1]}, {"Q": [q]})


def _lut(inputs: list[Any], output: int) -> dict[str, Any]:
    return _cell(f"LUT{len(inputs)}", {f"I{index}": [bit] for index, bit in enumerate(inputs)}, {"O": [output]})


def _longest(
    cells: Mapping[str, Any], ports: Mapping[str, tuple[str, list[int]]] | None = None, names: Mapping[str, list[int]] | None = None
) -> LongestPath:
    ports = {"clk": ("input", [1]), **(ports or {})}
    nets = {**{name: bits for name, (_, bits) in ports.items()}, **(names or {})}
    module = {
        "cells": cells,
        "ports": {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()},
        "netnames": {name: {"bits": bits, "hide_name": 0} for name, bits in nets.items()},
    }
    return longest_paths({"modules": {"top": module}}, "top", lambda name: "all")["all"]


def test_a_chain_of_luts_counts_each() -> None:
    cells = {"a": _ff("0", 2), "l1": _lut([2], 3), "l2": _lut([3, 2], 4), "l3": _lut([2, "1"], 5), "b": _ff(4, 6), "c": _ff(5, 7)}
    assert _longest(cells, names={"one": [2], "two": [6]}) == LongestPath(2, "one (FDRE)", "two (FDRE)")


def test_flip_flops_block_rams_and_registered_dsps_end_paths() -> None:
    registered = {f"{name}REG": "1" for name in ("A", "B", "M", "P")}
    cells = {
        "a": _ff("0", 2),
        "l1": _lut([2], 3),
        "ram": _cell("RAMB18E1", {"ADDRARDADDR": [3]}, {"DOADO": [4]}),
        "l2": _lut([4], 5),
        "l3": _lut([5], 6),
        "dsp": _cell("DSP48E1", {"A": [6]}, {"P": [7]}, **registered),
        "l4": _lut([7], 8),
        "b": _ff(8, 9),
    }
    found = _longest(cells)
    assert (found.levels, found.start, found.end) == (2, "ram (RAMB18E1)", "dsp (DSP48E1)")


@pytest.mark.parametrize(
    ("parameters", "levels"),
    [
        ({"AREG": "0", "MREG": "0", "PREG": "0"}, 2),  # from before the DSP to behind it
        ({"AREG": "0", "MREG": "0", "PREG": "1"}, 1),
        ({"AREG": "0", "MREG": "1", "PREG": "0"}, 1),
        ({"AREG": "00000000000000000000000000000010", "MREG": "0", "PREG": "0"}, 1),
        ({}, 1),  # all registers are there where nothing is said
    ],
)
def test_a_dsp_passes_what_no_register_holds(parameters: dict[str, str], levels: int) -> None:
    cells = {
        "a": _ff("0", 2),
        "l1": _lut([2], 3),
        "dsp": _cell("DSP48E1", {"A": [3]}, {"P": [4]}, **parameters),
        "l2": _lut([4], 5),
        "b": _ff(5, 6),
    }
    assert _longest(cells).levels == levels


def test_carry_chains_wide_multiplexers_and_inverters_pass_at_no_level() -> None:
    cells = {
        "a": _ff("0", 2),
        "l1": _lut([2], 3),
        "carry1": _cell(
            "CARRY4", {"CI": ["0"], "CYINIT": ["0"], "DI": ["0"] * 4, "S": [3, "0", "0", "0"]}, {"CO": [10, 11, 12, 13]}
        ),
        "carry2": _cell("CARRY4", {"CI": [13], "CYINIT": ["0"], "DI": ["0"] * 4, "S": ["0"] * 4}, {"O": [20, 21, 22, 23]}),
        "mux": _cell("MUXF7", {"I0": ["0"], "I1": ["1"], "S": [23]}, {"O": [30]}),
        "inv": _cell("INV", {"I": [30]}, {"O": [31]}),
        "l2": _lut([31], 32),
        "b": _ff(32, 33),
    }
    assert _longest(cells).levels == 2


def test_a_place_of_a_carry_chain_does_not_follow_from_higher_places() -> None:
    """A look-up table between two places of one chain is no loop."""
    cells = {
        "a": _ff("0", 2),
        "l1": _lut([2], 3),
        "carry": _cell("CARRY4", {"CI": ["0"], "DI": ["0"] * 4, "S": [3, "0", 4, "0"]}, {"O": [10, 11, 12, 13]}),
        "l2": _lut([10], 4),
        "low": _ff(11, 20),
    }
    assert _longest(cells).levels == 1
    assert _longest({**cells, "high": _ff(12, 21)}).levels == 2


def test_a_carry_out_follows_from_the_data_of_its_place_and_the_sum_does_not() -> None:
    carry = _cell("CARRY4", {"CI": ["0"], "DI": [3, "0", "0", "0"], "S": ["0"] * 4}, {"O": [10], "CO": [11]})
    cells = {"a": _ff("0", 2), "l1": _lut([2], 3), "carry": carry}
    assert _longest({**cells, "l2": _lut([10], 12), "b": _ff(12, 13)}).levels == 1
    assert _longest({**cells, "l2": _lut([11], 12), "b": _ff(12, 13)}).levels == 2


def test_a_memory_of_luts_counts_as_one_from_each_address_to_its_own_data() -> None:
    pins = {"ADDRA": [3], "ADDRB": [2], "DIA": [2], "WCLK": [1], "WE": [2]}
    cells = {"a": _ff("0", 2), "l1": _lut([2], 3), "ram": _cell("RAM32M", pins, {"DOA": [4], "DOB": [5]})}
    assert _longest({**cells, "b": _ff(5, 6)}).levels == 1  # l1 to the address, and ADDRB to DOB
    assert _longest({**cells, "b": _ff(4, 6)}).levels == 2
    assert (
        _longest({"a": _ff("0", 2), "r": _cell("RAM64X1D", {"A0": [2], "DPRA0": ["0"]}, {"SPO": [3]}), "b": _ff(3, 4)}).levels == 1
    )
    assert _longest({"a": _ff("0", 2), "r": _cell("SRLC32E", {"A": ["0"], "D": [2]}, {"Q": [3]}), "b": _ff(3, 4)}).levels == 1


def test_the_write_side_of_a_memory_of_luts_ends_paths() -> None:
    ram = _cell("RAM32M", {"ADDRA": ["0"], "DIA": [4], "WE": ["1"]}, {"DOA": [5]})
    assert _longest({"a": _ff("0", 2), "l1": _lut([2], 3), "l2": _lut([3], 4), "ram": ram}).end == "ram (RAM32M)"


def test_the_second_output_of_a_lut6_2_does_not_follow_from_the_sixth_input() -> None:
    lut = _cell("LUT6_2", {"I0": [2], "I5": [3]}, {"O5": [4], "O6": [5]})
    cells = {"a": _ff("0", 2), "l1": _lut([2], 3), "lut": lut}
    assert _longest({**cells, "l2": _lut([4], 6), "b": _ff(6, 7)}).levels == 2  # either l1, lut or lut, l2
    assert _longest({**cells, "l2": _lut([5], 6), "b": _ff(6, 7)}).levels == 3


def test_ports_end_paths() -> None:
    cells = {"l1": _lut([2], 3), "l2": _lut([3], 4)}
    found = _longest(cells, {"i": ("input", [2]), "o": ("output", [4])})
    assert found == LongestPath(2, "i (port)", "o (port)")


def test_paths_are_grouped_by_where_they_end() -> None:
    cells = {"x.a": _ff("0", 2), "x.l": _lut([2], 3), "y.b": _ff(3, 4), "x.c": _ff(4, 5)}
    module = {"cells": cells, "ports": {}, "netnames": {}}
    found = longest_paths({"modules": {"top": module}}, "top", lambda name: name[0])
    assert {group: path.levels for group, path in found.items()} == {"x": 0, "y": 1}


def test_a_combinational_loop_is_refused() -> None:
    cells = {"l1": _lut([3], 2), "l2": _lut([2], 3)}
    with pytest.raises(ArtefactError, match=r"^the netlist must have no combinational loop, but one goes through l[12]$"):
        _longest(cells)


def test_random_netlists_have_the_levels_of_a_walk_over_every_path() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(200):
        registers = range(2, 2 + rng.randint(1, 4))
        feeds: dict[int, list[int]] = {}
        for bit in range(100, 100 + rng.randint(1, 12)):
            feeds[bit] = rng.choices([*registers, *feeds], k=rng.randint(1, 4))
        cells = {f"l{bit}": _lut(list(inputs), bit) for bit, inputs in feeds.items()}
        ends = rng.choices([*registers, *feeds], k=len(registers))
        cells |= {f"f{q}": _ff(d, q) for q, d in zip(registers, ends, strict=True)}

        def depth(bit: int, feeds: dict[int, list[int]] = feeds) -> int:
            return 1 + max(depth(before) for before in feeds[bit]) if bit in feeds else 0

        shuffled = dict(rng.sample(sorted(cells.items()), len(cells)))
        assert _longest(shuffled).levels == max(depth(end) for end in ends)
