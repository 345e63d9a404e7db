# SPDX-License-Identifier: Apache-2.0
"""A UART shell whose accelerator takes longer for an image than the line."""

from typing import Any

import cocotb

from support.benches.uart_line_bench import UartBench

_OVERRUN = 6


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def requests_in_haste_and_at_leisure(dut: Any) -> None:
    """An image at full speed is a fault, after which one with pauses between its bytes is right."""
    bench = UartBench(dut, "overrun")
    for _ in range(2):
        request, due = bench.request()
        await bench.send(request)
        assert await bench.answer(wait_bits=bench.result_bits) == bench.fault(_OVERRUN)
        for byte in request:
            await bench.send(bytes([byte]))
            await bench.bits(2 * bench.result_bits / len(request))
        assert await bench.answer(wait_bits=bench.result_bits) == due
    await bench.check_nothing_comes()
