# SPDX-License-Identifier: Apache-2.0
"""Drives memories of two banks side by side, cycle by cycle as stimulus.json says, and records what they give.

stimulus.json: {"rows": {memory: the rows to read}, "inputs": {input of all memories: its values}}. recorded.json: {memory: {output:
its values}}, each in the cycle of the inputs.
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
    recorded: dict[str, dict[str, list[int]]] = {name: {"data": [], "found": []} for name in rows}
    dut.rst.value = 0
    Clock(dut.clk, 10, "ns").start(start_high=False)
    await RisingEdge(dut.clk)
    for cycle in range(len(inputs["bank"])):
        for name in rows:
            if hasattr(dut, f"{name}_address"):  # which a memory of one row has not
                getattr(dut, f"{name}_address").value = rows[name][cycle]
            for port, values in inputs.items():
                getattr(dut, f"{name}_weights__{port}").value = values[cycle]
        await RisingEdge(dut.clk)
        for name, outputs in recorded.items():
            outputs["data"].append(int(getattr(dut, f"{name}_data").value))
            outputs["found"].append(int(getattr(dut, f"{name}_weights__found").value))
    Path("recorded.json").write_text(json.dumps(recorded))
