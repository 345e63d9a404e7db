# SPDX-License-Identifier: Apache-2.0
"""Gives pipelined functions new operands each cycle, and records what comes out in each.

stimulus: {unit: {port: [value of each cycle]}}; recorded: {unit: [value of `<unit>_o` at the end of each cycle]}.
"""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def every_cycle(dut: Any) -> None:
    """New operands each cycle for all units at once."""
    stimulus = json.loads(Path("stimulus.json").read_text())
    inputs = [(getattr(dut, f"{unit}_{port}"), values) for unit, ports in stimulus.items() for port, values in ports.items()]
    outputs = {unit: getattr(dut, f"{unit}_o") for unit in stimulus}
    recorded: dict[str, list[int]] = {unit: [] for unit in stimulus}
    (cycles,) = {len(values) for _, values in inputs}
    for port in [dut.rst, *(port for port, _ in inputs)]:
        port.value = 0
    Clock(dut.clk, 10, "ns").start(start_high=False)
    await RisingEdge(dut.clk)
    for cycle in range(cycles):
        for port, values in inputs:
            port.value = values[cycle]
        await RisingEdge(dut.clk)
        for unit, output in outputs.items():
            recorded[unit].append(int(output.value))
    assert cycles > 0
    Path("recorded.json").write_text(json.dumps(recorded))
