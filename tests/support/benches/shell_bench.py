# SPDX-License-Identifier: Apache-2.0
"""What the benches of the shell share: its buses, its network with the naive model of it, and images.

The folder holds network.safetensors, and stimulus.json: {"seed", "pe": outputs of each layer in a word, "cycles": cycles an
image, "plan_sha256": the plan's digest}.
"""

import json
import random
from collections.abc import Collection, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from cocotbext.axi.axil_channels import AxiLiteAWTransaction, AxiLiteWTransaction

from bnn_hw.contract.registers import Register
from bnn_hw.design.names import layer_instance
from bnn_hw.network.file import load_network
from bnn_hw.network.network import Scores
from support.naive import naive_class, naive_trace, naive_words

__all__ = ["WORD_BYTES", "ShellBench"]

WORD_BYTES = 8


class ShellBench:
    """A shell under test: AXI masters and slaves on its buses, and what it should give."""

    def __init__(self, dut: Any, name: str) -> None:
        stimulus = json.loads(Path("stimulus.json").read_text())
        self.dut, self.pe, self.cycles = dut, stimulus["pe"], stimulus["cycles"]
        self.plan_sha256 = stimulus["plan_sha256"]
        self.draw = random.Random(f"{stimulus['seed']} {name}")
        self.network = load_network(Path("network.safetensors"))
        self.inputs, self.dtype = self.network.input.signal.size, self.network.input.dtype
        self.element_bits = 1 if self.dtype == "bit" else 8
        self.elements_per_word = 8 * WORD_BYTES // self.element_bits
        self.words = -(-self.inputs // self.elements_per_word)  # of an image
        dut.aresetn.value = 0
        Clock(dut.aclk, 10, "ns").start(start_high=False)
        ports = {"reset": dut.aresetn, "reset_active_level": False}
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **ports)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **ports)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **ports)

    async def reset(self) -> None:
        """Holds aresetn low for some cycles."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    async def read(self, register: int) -> int:
        """Returns a register's value."""
        answer = await self.master.read(register, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write(self, register: int, value: int) -> None:
        """Writes a whole register."""
        answer = await self.master.write(register, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def write_strobed(self, register: int, value: int, strobe: int) -> None:
        """Writes those bytes of a register that `strobe` names; the others are on the bus too."""
        channels = self.master.write_if
        await channels.aw_channel.send(AxiLiteAWTransaction(awaddr=register, awprot=0))
        await channels.w_channel.send(AxiLiteWTransaction(wdata=value, wstrb=strobe))
        answer = await channels.b_channel.recv()
        assert answer.bresp == AxiResp.OKAY

    def images(self, count: int) -> list[list[int]]:
        """Returns random images, each a list of elements."""
        low, high = {"bit": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}[self.dtype]
        return [[self.draw.randint(low, high) for _ in range(self.inputs)] for _ in range(count)]

    def content(self, images: Sequence[Sequence[int]]) -> bytes:
        """Returns images as the bytes of a packet. What lies past an image's end is random: the shell must not care."""
        packet = b""
        for image in images:
            words = naive_words(image, self.element_bits, self.elements_per_word)
            used = self.inputs * self.element_bits - (self.words - 1) * 8 * WORD_BYTES
            words[-1] += self.draw.getrandbits(64) // 2**used * 2**used
            packet += b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)
        return packet

    def results(self, images: Sequence[Sequence[int]]) -> list[int]:
        """Returns the words of the packet that answers images: the scores and the class of each."""
        words = []
        for image in images:
            _, scores = naive_trace(self.network, image)
            words += [*scores, naive_class(scores)]
        return words

    async def send(self, images: Sequence[Sequence[int]]) -> None:
        """Queues images as one packet."""
        await self.source.send(AxiStreamFrame(self.content(images)))

    async def send_bytes(self, content: bytes, null: Collection[int] = ()) -> None:
        """Queues bytes as one packet, with TKEEP = 0 for those at the places `null`."""
        await self.source.send(AxiStreamFrame(content, tkeep=[int(place not in null) for place in range(len(content))]))

    async def send_words(self, images: Sequence[Sequence[int]], count: int) -> None:
        """Sends the first words of images without TLAST, as a master does that stops half-way. The source must be idle."""
        content, dut = self.content(images), self.dut
        for start in range(0, count * WORD_BYTES, WORD_BYTES):
            dut.s_axis_tvalid.value = 1
            dut.s_axis_tlast.value = 0
            dut.s_axis_tkeep.value = 2**WORD_BYTES - 1
            dut.s_axis_tdata.value = int.from_bytes(content[start : start + WORD_BYTES], "little")
            await RisingEdge(dut.aclk)
            while not int(dut.s_axis_tready.value):
                await RisingEdge(dut.aclk)
        dut.s_axis_tvalid.value = 0

    async def receive(self) -> list[int]:
        """Returns the words of the next packet."""
        frame = await self.sink.recv(compact=False)
        assert all(frame.tkeep)
        content = bytes(frame.tdata)
        return [int.from_bytes(content[at : at + 4], "little", signed=True) for at in range(0, len(content), 4)]

    async def check(self, images: Sequence[Sequence[int]]) -> None:
        """Checks that the next packet answers `images`."""
        found, due = await self.receive(), self.results(images)
        assert found == due, self.difference(found, due)

    async def check_good_packets(self) -> None:
        """Sends packets that are right, and checks their results and that no fault is reported."""
        for count in (1, 2):
            images = self.images(count)
            await self.write(Register.PACKET_IMAGES, count)
            await self.send(images)
            await self.check(images)
        await self.write(Register.PACKET_IMAGES, 0)
        assert await self.read(Register.STATUS) == 0
        assert self.sink.empty()

    def difference(self, found: Sequence[int], due: Sequence[int]) -> str:
        """Returns where results differ first."""
        if len(found) != len(due):
            return f"{len(found)} words in the packet, expected {len(due)}"
        each = self.network.classes + 1
        index = next(index for index, (word, other) in enumerate(zip(found, due, strict=True)) if word != other)
        what = "class" if index % each == self.network.classes else f"score {index % each}"
        return f"image {index // each}, {what}: expected {due[index]}, got {found[index]}"

    def pauses(self) -> Iterator[bool]:
        """Returns whether to pause, cycle by cycle for ever: single cycles and long runs."""
        pattern: list[bool] = []
        for _ in range(40):
            pattern += [self.draw.random() < 0.5] * self.draw.choice((1, 1, 2, 5, 20))
        return cycle(pattern)

    def record_layers(self) -> dict[str, list[int]]:
        """Returns a list for each layer but the scores, to which from now on each word that its stream moves is appended."""
        taps: dict[str, list[int]] = {layer.name: [] for layer in self.network.layers if not isinstance(layer, Scores)}
        cocotb.start_soon(self._record(taps))
        return taps

    async def _record(self, taps: dict[str, list[int]]) -> None:
        accelerator = self.dut.core.accelerator
        ports = [
            (words, [getattr(getattr(accelerator, layer_instance(name)), f"o__{port}") for port in ("valid", "ready", "payload")])
            for name, words in taps.items()
        ]
        while True:
            await RisingEdge(self.dut.aclk)
            for words, (valid, ready, payload) in ports:
                if int(self.dut.aresetn.value) and int(valid.value) and int(ready.value):
                    words.append(int(payload.value))

    def check_layers(self, taps: dict[str, list[int]], images: Sequence[Sequence[int]]) -> None:
        """Checks every bit of every layer but the scores for `images`."""
        assert len(taps) == len(self.network.layers) - 1
        traces = [naive_trace(self.network, image)[0] for image in images]
        for layer, (step, (name, words)) in enumerate(zip(self.network.steps, taps.items(), strict=False)):
            channels = step.output.shape[-1]
            each = step.output.size // channels * -(-channels // self.pe[layer])
            assert len(words) == each * len(images), f"layer {name}: {len(words)} words, expected {each * len(images)}"
            for index, trace in enumerate(traces):
                found, due = words[index * each : (index + 1) * each], []
                for place in range(0, len(trace[layer]), channels):
                    due += naive_words(trace[layer][place : place + channels], 1, self.pe[layer])
                assert found == due, f"layer {layer} ({name}), image {index}: expected {due}, got {found}"
