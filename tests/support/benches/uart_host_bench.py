# SPDX-License-Identifier: Apache-2.0
"""A UART shell behind a pseudo terminal, for a host program to talk to, on a line that loses and alters some bytes.

The folder holds what `uart_line_bench` needs, with {"altered": [[direction, place], ...], "lost": likewise} in stimulus.json,
where a direction is "rx" or "tx" and a place counts its bytes. The bench writes the terminal's name to terminal.txt, and ends
when a file stop.txt is there.
"""

import json
import os
import tty
from pathlib import Path
from typing import Any

import cocotb
from cocotb.queue import Queue

from support.benches.uart_line_bench import UartBench


class _Line:
    """What becomes of the bytes of one direction."""

    def __init__(self, direction: str) -> None:
        stimulus = json.loads(Path("stimulus.json").read_text())
        self._altered = {place for each, place in stimulus["altered"] if each == direction}
        self._lost = {place for each, place in stimulus["lost"] if each == direction}
        self._passed = 0

    def pass_on(self, content: bytes) -> bytes:
        """Returns what arrives."""
        arrives = b""
        for byte in content:
            if self._passed in self._altered:
                arrives += bytes([byte ^ 0x10])
            elif self._passed not in self._lost:
                arrives += bytes([byte])
            self._passed += 1
        return arrives


@cocotb.test()
async def terminal(dut: Any) -> None:
    """Joins the shell's lines to a terminal."""
    bench, to_send = UartBench(dut, "host"), Queue[int]()
    rx, tx = _Line("rx"), _Line("tx")
    ours, theirs = os.openpty()  # theirs stays open here too, so that the host may come and go
    tty.setraw(theirs)
    os.set_blocking(ours, False)

    async def send() -> None:
        while True:
            await bench.send_byte(await to_send.get())

    cocotb.start_soon(send())
    Path("terminal.partial").write_text(os.ttyname(theirs))
    Path("terminal.partial").replace("terminal.txt")
    while not Path("stop.txt").exists():
        try:
            for byte in rx.pass_on(os.read(ours, 4096)):
                to_send.put_nowait(byte)
        except BlockingIOError:
            pass
        while not bench.received.empty():
            os.write(ours, tx.pass_on(bytes([bench.received.get_nowait()])))
        await bench.bits(10)
