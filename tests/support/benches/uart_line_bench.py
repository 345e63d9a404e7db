# SPDX-License-Identifier: Apache-2.0
"""What the benches of the UART shell share: a serial line bit by bit, frames as docs/uart.md has them, and images.

The folder holds network.safetensors, and stimulus.json: {"seed", "bit_ns": the time of a bit by the shell's divisor,
"silence_bits": bit times without a byte after which the shell gives a request up, "cycles": most that an image takes}.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, SimTimeoutError, Timer, with_timeout

from bnn_hw.network.file import load_network, network_digest
from support.naive import naive_class, naive_trace, naive_words

__all__ = ["CLASSIFY", "CLOCK_NS", "IDENTIFY", "UartBench", "frame", "naive_crc"]

CLOCK_NS = 10
IDENTIFY, CLASSIFY = 0x01, 0x02
_IDENTITY, _RESULT, _FAULT = 0x81, 0x82, 0xFF


def naive_crc(content: bytes) -> int:
    """Returns CRC-16/XMODEM: the remainder of the content, as a polynomial times x**16, by x**16 + x**12 + x**5 + 1."""
    remainder = 0
    for byte in [*content, 0, 0]:
        for bit in range(7, -1, -1):
            remainder = remainder * 2 + byte // 2**bit % 2
            if remainder >= 2**16:
                remainder = remainder ^ 0x11021
    return remainder


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Returns a frame."""
    content = bytes([kind, len(payload) % 256, len(payload) // 256]) + payload
    crc = naive_crc(content)
    return bytes([0xA5]) + content + bytes([crc // 256, crc % 256])


class UartBench:
    """A UART shell under test: a transmitter and a receiver on its lines, and what it should give."""

    def __init__(self, dut: Any, name: str) -> None:
        stimulus = json.loads(Path("stimulus.json").read_text())
        self.dut, self.bit_ns, self.silence_bits = dut, stimulus["bit_ns"], stimulus["silence_bits"]
        self.result_bits = 12 + stimulus["cycles"] * CLOCK_NS / self.bit_ns  # from an image's end to the answer's first byte
        self.draw = random.Random(f"{stimulus['seed']} {name}")
        self.network = load_network(Path("network.safetensors"))
        self.inputs, self.dtype = self.network.input.signal.size, self.network.input.dtype
        self.pace = 1.0  # of our transmitter: the time of its bit in those of the shell's
        self.received: Queue[int] = Queue()
        dut.rx.value = 1
        Clock(dut.clk, CLOCK_NS, "ns").start(start_high=False)
        cocotb.start_soon(self._receive())

    async def _receive(self) -> None:
        """Takes bytes from the shell's line, in times of our own."""
        await Timer(1, "ns")  # until the initial values are there
        assert int(self.dut.tx.value) == 1
        while True:
            await FallingEdge(self.dut.tx)
            bits = []
            for place in range(10):
                await self.bits(0.5 if place == 0 else 1, self.pace)
                bits.append(int(self.dut.tx.value))
            assert bits[0] == 0, "start bit"
            assert bits[9] == 1, "stop bit"
            self.received.put_nowait(sum(bit * 2**place for place, bit in enumerate(bits[1:9])))

    async def bits(self, count: float, pace: float = 1.0) -> None:
        """Waits so many bit times."""
        await Timer(max(1, round(count * pace * self.bit_ns * 1000)), "ps")

    async def silence(self) -> None:
        """Waits until the shell has given up whatever it was in."""
        await self.bits(1.1 * self.silence_bits + 4)

    async def send_byte(self, byte: int, stop: int = 1) -> None:
        """Sends a byte; with `stop` 0 its stop bit is low, and a bit time of high line follows."""
        for level in [0, *(byte // 2**place % 2 for place in range(8)), stop, *([1] * (stop == 0))]:
            self.dut.rx.value = level
            await self.bits(1, self.pace)

    async def send(self, content: bytes, pause_bits: float = 0) -> None:
        """Sends bytes, with pauses between them of up to so many bit times."""
        for byte in content:
            await self.send_byte(byte)
            if pause_bits:
                await self.bits(self.draw.uniform(0, pause_bits))

    async def receive(self, count: int, wait_bits: float = 2000) -> bytes:
        """Returns the next bytes; fails if one does not come in time."""
        content = b""
        for _ in range(count):
            wait_ns = round((wait_bits + 2 * self.silence_bits) * self.bit_ns)
            try:
                content += bytes([await with_timeout(self.received.get(), wait_ns, "ns")])
            except SimTimeoutError as error:
                raise AssertionError(f"no answer, but only {content.hex(' ')!r}") from error
        return content

    async def answer(self, wait_bits: float = 2000) -> bytes:
        """Returns the next frame, whatever it is."""
        head = await self.receive(4, wait_bits)
        return head + await self.receive(head[2] + 256 * head[3] + 2)

    async def check_nothing_comes(self) -> None:
        """Checks that all answers have been received."""
        await self.silence()
        await self.bits(20)
        assert self.received.empty()

    def images(self, count: int) -> list[list[int]]:
        """Returns random images, each a list of elements."""
        low, high = {"bit": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}[self.dtype]
        return [[self.draw.randint(low, high) for _ in range(self.inputs)] for _ in range(count)]

    def content(self, image: Sequence[int]) -> bytes:
        """Returns an image's bytes. What lies past the end of its last byte is random: the shell must not care."""
        lanes, bits = (8, 1) if self.dtype == "bit" else (1, 8)
        content = naive_words(image, bits, lanes)
        used = self.inputs % lanes
        if used:
            content[-1] += self.draw.getrandbits(8 - used) * 2**used
        return bytes(content)

    def request(self) -> tuple[bytes, bytes]:
        """Returns a random image's request and the answer to it."""
        (image,) = self.images(1)
        _, scores = naive_trace(self.network, image)
        words = [*scores, naive_class(scores)]
        return frame(CLASSIFY, self.content(image)), frame(
            _RESULT, b"".join((word % 2**32).to_bytes(4, "little") for word in words)
        )

    def identity(self) -> bytes:
        """Returns the answer that says what the board carries."""
        dtype = {"bit": 0, "uint8": 1, "int8": 2}[self.dtype]
        fields = bytes([1, dtype]) + self.inputs.to_bytes(4, "little") + self.network.classes.to_bytes(2, "little")
        return frame(_IDENTITY, fields + bytes.fromhex(network_digest(self.network)))

    @staticmethod
    def fault(code: int) -> bytes:
        """Returns the answer to a request at fault."""
        return frame(_FAULT, bytes([code]))

    async def check(self, request: bytes, due: bytes, pause_bits: float = 0) -> None:
        """Sends a request and checks its answer."""
        await self.send(request, pause_bits)
        found = await self.answer()
        assert found == due, f"request {request.hex(' ')}: expected {due.hex(' ')}, got {found.hex(' ')}"

    async def check_good_requests(self) -> None:
        """Checks that the shell is as it should be, by requests that are right."""
        for _ in range(2):
            await self.check(*self.request())
        await self.check(frame(IDENTIFY), self.identity())
