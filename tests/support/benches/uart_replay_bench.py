# SPDX-License-Identifier: Apache-2.0
"""Frames that a document shows. The folder holds frames.json: for each request its bytes and those of its answer."""

import json
from pathlib import Path
from typing import Any

import cocotb

from support.benches.uart_line_bench import UartBench


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def frames_of_a_document(dut: Any) -> None:
    bench = UartBench(dut, "replay")
    for request, answer in json.loads(Path("frames.json").read_text()):
        await bench.check(bytes.fromhex(request), bytes.fromhex(answer))
    await bench.check_nothing_comes()
