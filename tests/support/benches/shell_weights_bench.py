# SPDX-License-Identifier: Apache-2.0
"""Run-time weights over AXI4-Lite, while images go through: what is in use is always wholly one network.

Beside what `shell_bench` wants the folder holds other.safetensors, a network of the same shape, and stimulus.json also has
{"offset": of the window, "words": what it must hold for either network}.
"""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from bnn_hw.contract.registers import Control, Register, Status
from bnn_hw.network.file import load_network, network_digest
from support.benches.shell_bench import ShellBench
from support.naive import naive_class, naive_trace

_ROUNDS = 2
_TIMEOUT = {"timeout_time": 4000, "timeout_unit": "us"}


class WeightsBench(ShellBench):
    """A shell with run-time weights, and the two networks that it may carry: 0 at first."""

    def __init__(self, dut: Any, name: str) -> None:
        super().__init__(dut, name)
        stimulus = json.loads(Path("stimulus.json").read_text())
        self.offset, self.window = stimulus["offset"], stimulus["words"]
        self.networks = [self.network, load_network(Path("other.safetensors"))]

    async def start(self, *, pauses: bool = True) -> int:
        """Resets the shell; returns which network it carries, as a simulation goes on from the test before."""
        await self.reset()
        if pauses:
            self.source.set_pause_generator(self.pauses())
            self.sink.set_pause_generator(self.pauses())
        digest = await self.digest()
        return [network_digest(network) for network in self.networks].index(digest)

    async def digest(self) -> str:
        """Returns the digest of the network in use."""
        words = [await self.read(Register.DIGEST + 4 * index) for index in range(8)]
        return b"".join(word.to_bytes(4, "little") for word in words).hex()

    def content_of(self, which: int) -> bytes:
        """Returns the bytes that the window must hold for a network."""
        return b"".join(word.to_bytes(4, "little") for word in self.window[which])

    async def fill(self, content: bytes) -> None:
        """Writes the first words of the window, by hand since the master takes long. It must be idle."""
        dut, answers = self.dut, self.master.write_if.b_channel
        answers.queue_occupancy_limit = -1
        for start in range(0, len(content), 4):
            dut.s_axi_awaddr.value = self.offset + start
            dut.s_axi_wdata.value = int.from_bytes(content[start : start + 4], "little")
            dut.s_axi_wstrb.value = 0b1111
            dut.s_axi_awvalid.value = dut.s_axi_wvalid.value = 1
            await RisingEdge(dut.aclk)
            while not int(dut.s_axi_awready.value):
                await RisingEdge(dut.aclk)
        dut.s_axi_awvalid.value = dut.s_axi_wvalid.value = 0
        await ClockCycles(dut.aclk, 4)
        answers.clear()

    async def prepare(self, which: int, content: bytes | None = None) -> None:
        """Writes a network's words, or `content` in their place, and what the registers must have for it."""
        await self.fill(self.content_of(which) if content is None else content)
        await self.write(Register.WEIGHTS_CRC, crc32(self.content_of(which)))
        answer = await self.master.write(Register.NEXT_DIGEST, bytes.fromhex(network_digest(self.networks[which])))
        assert answer.resp == 0

    async def swap(self) -> bool:
        """Asks for a swap and waits for its end; returns whether it succeeded."""
        await self.write(Register.CONTROL, Control.SWAP)
        while (status := await self.read(Register.STATUS)) & Status.SWAPPING:
            pass
        return not status & Status.SWAP_FAILED

    async def check_carries(self, which: int) -> None:
        """Checks that a network is in use: by its digest, and by what it makes of images."""
        assert await self.digest() == network_digest(self.networks[which])
        self.network = self.networks[which]
        await self.write(Register.PACKET_IMAGES, 0)
        images = self.images(3)
        await self.send(images)
        await self.check(images)


class _Traffic:
    """Packets of images that go through the shell until `stop` is called, and what came of each image."""

    def __init__(self, bench: WeightsBench) -> None:
        self._bench, self._stopped = bench, False
        self.images: list[list[int]] = []
        self.results: list[list[int]] = []
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        bench, each = self._bench, self._bench.network.classes + 1
        sent: list[int] = []
        while sent or not self._stopped:
            while not self._stopped and len(sent) < 3:
                packet = bench.images(bench.draw.randint(1, 4))
                self.images += packet
                sent.append(len(packet))
                await bench.send(packet)
            words = await bench.receive()
            assert len(words) == each * sent.pop(0)
            self.results += [words[start : start + each] for start in range(0, len(words), each)]

    async def received(self, more: int) -> None:
        """Waits until the results of so many more images have come."""
        due = len(self.results) + more
        while len(self.results) < due:
            await RisingEdge(self._bench.dut.aclk)

    async def stop(self) -> list[set[int]]:
        """Stops, and returns for each image the networks that give its result."""
        self._stopped = True
        await self._task
        assert len(self.results) == len(self.images)
        return [
            {which for which, network in enumerate(self._bench.networks) if _result(network, image) == words}
            for image, words in zip(self.images, self.results, strict=True)
        ]


def _result(network: Any, image: list[int]) -> list[int]:
    _, scores = naive_trace(network, image)
    return [*scores, naive_class(scores)]


@cocotb.test(**_TIMEOUT)
async def registers(dut: Any) -> None:
    """What is only written reads 0, as does the window; a build with run-time weights says so."""
    bench = WeightsBench(dut, "registers")
    assert await bench.start() == 0
    assert await bench.read(Register.STATUS) == Status.RUNTIME_WEIGHTS
    assert await bench.read(Register.FOUND_CRC) == 0
    await bench.prepare(1)
    for address in (*range(0x80, 0xA0, 4), Register.WEIGHTS_CRC, bench.offset, bench.offset + 4 * len(bench.window[0]) - 4):
        assert await bench.read(address) == 0
    await bench.check_carries(0)


@cocotb.test(**_TIMEOUT)
async def swaps_under_traffic(dut: Any) -> None:
    """While images come and results wait: each result is of the old network or of the new one, and there is one change."""
    bench = WeightsBench(dut, "traffic")
    old = await bench.start()
    for _ in range(_ROUNDS):
        traffic = _Traffic(bench)
        await traffic.received(bench.draw.randint(1, 4))
        await bench.prepare(1 - old)
        await ClockCycles(dut.aclk, bench.draw.randint(1, 3 * bench.cycles))
        assert await bench.swap()
        assert await bench.read(Register.FOUND_CRC) == crc32(bench.content_of(1 - old))
        assert await bench.digest() == network_digest(bench.networks[1 - old])
        await traffic.received(8)
        fits = await traffic.stop()
        changes = [
            at for at in range(len(fits) + 1) if all(old in fit for fit in fits[:at]) and all(1 - old in fit for fit in fits[at:])
        ]
        assert changes, fits
        assert any(fit == {old} for fit in fits)
        assert any(fit == {1 - old} for fit in fits)
        old = 1 - old


@cocotb.test(**_TIMEOUT)
async def corrupted_words(dut: Any) -> None:
    """A bit that is wrong anywhere fails the swap, and all stays; the word once written again, it succeeds."""
    bench = WeightsBench(dut, "corrupted")
    old = await bench.start()
    held = [index for index, words in enumerate(zip(*bench.window, strict=True)) if any(words)]
    for index in {held[0], held[-1], *bench.draw.sample(held, _ROUNDS)}:
        content = bytearray(bench.content_of(1 - old))
        lowest = next(bit for bit in range(32) if bench.window[0][index] >> bit & 1 or bench.window[1][index] >> bit & 1)
        content[4 * index + lowest // 8] ^= 1 << lowest % 8
        await bench.prepare(1 - old, bytes(content))
        assert not await bench.swap()
        assert await bench.read(Register.FOUND_CRC) == crc32(content)
        assert await bench.read(Register.STATUS) == Status.SWAP_FAILED | Status.RUNTIME_WEIGHTS
        await bench.check_carries(old)
        await bench.write(bench.offset + 4 * index, bench.window[1 - old][index])
        assert await bench.swap()
        assert await bench.read(Register.STATUS) == Status.RUNTIME_WEIGHTS
        old = 1 - old
        await bench.check_carries(old)
        # And back at once, as the other bank still holds the network and its digest.
        await bench.write(Register.WEIGHTS_CRC, crc32(bench.content_of(1 - old)))
        assert await bench.swap()
        old = 1 - old
        await bench.check_carries(old)
    await bench.write(Register.WEIGHTS_CRC, 0)
    assert not await bench.swap()
    await bench.write(Register.STATUS, Status.SWAP_FAILED)
    assert await bench.read(Register.STATUS) == Status.RUNTIME_WEIGHTS
