# SPDX-License-Identifier: Apache-2.0
"""Drives memories of two banks side by side, cycle by cycle as stimulus.json says, and records what they give.

stimulus.json: {"rows": {memory: the rows to read}, "inputs": {input of all memories: its values}}. recorded.json: {memory: {output:
its values}}, each in the cycle of the inputs; null where it has an X, as a row that is read back past the end of a memory has.
"""

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


@cocotb.test(timeout_time=1000, timeout_unit="us")
async def drive(dut: Any) -> None:
    stimulus = json.loads(Path("stimulus.json").read_text())
    rows, inputs = stimulus["rows"], stimulus["inputs"]
    recorded: dict[str, dict[str, list[int | None]]] = {name: {"data": [], "found": []} for name in rows}
    ports = [(getattr(dut, f"{name}_weights__{port}"), values) for name in rows for port, values in inputs.items()]
    ports += [(getattr(dut, f"{name}_address"), rows[name]) for name in rows if hasattr(dut, f"{name}_address")]  # one row has none
    for port in [dut.rst, *(port for port, _ in ports)]:
        port.value = 0  # before the first edge, for an address X would read X
    Clock(dut.clk, 10, "ns").start(start_high=False)
    await RisingEdge(dut.clk)
    for cycle in range(len(inputs["bank"])):
        for port, values in ports:
            port.value = values[cycle]
        await RisingEdge(dut.clk)
        for name, outputs in recorded.items():
            outputs["data"].append(_number(getattr(dut, f"{name}_data")))
            outputs["found"].append(_number(getattr(dut, f"{name}_weights__found")))
    Path("recorded.json").write_text(json.dumps(recorded))


def _number(port: Any) -> int | None:
    return int(port.value) if port.value.is_resolvable else None
