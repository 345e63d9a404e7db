# SPDX-License-Identifier: Apache-2.0
"""The shell's registers over AXI4-Lite, all channels with random pauses."""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from bnn_hw.contract.registers import Register, Status
from bnn_hw.network.file import network_digest
from support.benches.shell_bench import WORD_BYTES, ShellBench


async def _start(dut: Any, name: str) -> ShellBench:
    bench = ShellBench(dut, name)
    await bench.reset()
    writes, reads = bench.master.write_if, bench.master.read_if
    for channel in (writes.aw_channel, writes.w_channel, writes.b_channel, reads.ar_channel, reads.r_channel):
        channel.set_pause_generator(bench.pauses())
    return bench


@cocotb.test(timeout_time=400, timeout_unit="us")
async def identity(dut: Any) -> None:
    """The magic number, the version of the map and the digests of network and plan, at the addresses that drivers know."""
    bench = await _start(dut, "identity")
    assert await bench.read(0x00) == 0x424E4E31
    assert await bench.read(0x04) == 2
    for start, digest in ((0x40, network_digest(bench.network)), (0x60, bench.plan_sha256)):
        words = [await bench.read(start + 4 * index) for index in range(8)]
        assert b"".join(word.to_bytes(4, "little") for word in words).hex() == digest


@cocotb.test(timeout_time=400, timeout_unit="us")
async def other_addresses(dut: Any) -> None:
    """What is no register reads 0, and a write to it or to a read-only register changes nothing."""
    bench = await _start(dut, "other addresses")
    unknown = [*range(0x30, 0x40, 4), *range(0x80, 0x100, 4)]
    for address in [*unknown, Register.MAGIC, Register.VERSION, Register.IMAGES_IN, Register.IMAGES_OUT, Register.DIGEST]:
        before = await bench.read(address)
        assert before == 0 or address not in unknown
        await bench.write(address, 0xFFFF_FFFF)
        assert await bench.read(address) == before, f"address {address:#x}"
    assert await bench.read(Register.CONTROL) == 0
    assert await bench.read(Register.PACKET_IMAGES) == 0
    assert await bench.read(Register.STATUS) == 0


@cocotb.test(timeout_time=400, timeout_unit="us")
async def byte_strobes(dut: Any) -> None:
    """A write changes the bytes that its strobes name and no other."""
    bench = await _start(dut, "byte strobes")
    value = bytearray(4)
    for strobe in [*range(16), *(bench.draw.randrange(16) for _ in range(8))]:
        written = bench.draw.randbytes(4)
        await bench.write_strobed(Register.PACKET_IMAGES, int.from_bytes(written, "little"), strobe)
        for place in range(4):
            if strobe // 2**place % 2:
                value[place] = written[place]
        assert await bench.read(Register.PACKET_IMAGES) == int.from_bytes(value, "little")


@cocotb.test(timeout_time=400, timeout_unit="us")
async def written_bytes(dut: Any) -> None:
    """A write at the address of a byte, as a processor's of less than a word, changes that and what follows of it."""
    bench = await _start(dut, "written bytes")
    value = bytearray(4)
    for _ in range(12):
        start = bench.draw.randrange(4)
        written = bench.draw.randbytes(bench.draw.randint(1, 4 - start))
        await bench.master.write(Register.PACKET_IMAGES + start, written)
        value[start : start + len(written)] = written
        assert await bench.read(Register.PACKET_IMAGES) == int.from_bytes(value, "little")


@cocotb.test(timeout_time=400, timeout_unit="us")
async def read_bytes(dut: Any) -> None:
    """A read of some bytes of a register gives those."""
    bench = await _start(dut, "bytes")
    for start in range(4):
        answer = await bench.master.read(Register.MAGIC + start, 4 - start)
        assert answer.data == b"1NNB"[start:]


@cocotb.test(timeout_time=400, timeout_unit="us")
async def write_one_to_clear(dut: Any) -> None:
    """A 1 clears its flag of STATUS and no other; a 0 and a byte that is not strobed clear nothing."""
    bench = await _start(dut, "write 1 to clear")
    await bench.write(Register.PACKET_IMAGES, 1)
    # Two images in a packet that should have one, with a null byte, then one that is cut: all three faults.
    images = bench.images(3)
    await bench.send_bytes(bench.content(images[:2]), null={0})
    await bench.send_bytes(bench.content(images[2:])[:WORD_BYTES])
    for _ in range(3):
        await bench.receive()
    flags = Status.EARLY_LAST | Status.MISSING_LAST | Status.NULL_BYTE
    assert await bench.read(Register.STATUS) == flags
    await bench.write(Register.STATUS, 0)
    await bench.write_strobed(Register.STATUS, 0xFFFF_FFFF, 0b1110)
    assert await bench.read(Register.STATUS) == flags
    for flag in bench.draw.sample([Status.EARLY_LAST, Status.MISSING_LAST, Status.NULL_BYTE], 3):
        await bench.write(Register.STATUS, flag)
        flags &= ~flag
        assert await bench.read(Register.STATUS) == flags


@cocotb.test(timeout_time=400, timeout_unit="us")
async def counters(dut: Any) -> None:
    """The counters agree with what a monitor of the buses counts."""
    bench = await _start(dut, "counters")
    monitor = _Monitor(bench)
    bench.source.set_pause_generator(bench.pauses())
    (late,) = images = bench.images(1)
    await bench.send_words(images, bench.words - 1)
    await ClockCycles(dut.aclk, 10)  # stalls for certain, beside those of chance
    await bench.send_bytes(bench.content([late])[-WORD_BYTES:])
    await bench.check([late])
    images = bench.images(4)
    bench.sink.pause = True
    await bench.send(images)
    await ClockCycles(dut.aclk, 6 * bench.cycles + 60)
    bench.sink.set_pause_generator(bench.pauses())
    await bench.check(images)
    assert await bench.read(Register.IMAGES_IN) == 5
    assert await bench.read(Register.IMAGES_OUT) == 5
    assert monitor.input_stalls > 0
    assert monitor.output_stalls > 0
    assert await bench.read(Register.WORDS_IN) == monitor.words_in == 5 * bench.words
    assert await bench.read(Register.WORDS_OUT) == monitor.words_out == 5 * (bench.network.classes + 1)
    assert await bench.read(Register.INPUT_STALLS) == monitor.input_stalls
    assert await bench.read(Register.OUTPUT_STALLS) == monitor.output_stalls
    first = await bench.read(Register.CYCLES), monitor.read_cycle
    await ClockCycles(dut.aclk, 100)
    second = await bench.read(Register.CYCLES), monitor.read_cycle
    assert second[0] - first[0] == second[1] - first[1] > 100


@cocotb.test(timeout_time=400, timeout_unit="us")
async def busy(dut: Any) -> None:
    """BUSY from the first word of an image to the last of its results."""
    bench = await _start(dut, "busy")
    (image,) = bench.images(1)
    assert await bench.read(Register.STATUS) == 0
    bench.sink.pause = True
    await bench.send([image])
    await bench.source.wait()
    for _ in range(2):
        await ClockCycles(dut.aclk, 4 * bench.cycles)
        assert await bench.read(Register.STATUS) == Status.BUSY
    bench.sink.pause = False
    await bench.check([image])
    assert await bench.read(Register.STATUS) == 0
    await bench.send_words([image], bench.words - 1)
    assert await bench.read(Register.STATUS) == Status.BUSY


class _Monitor:
    """Counts what the counters count, from the buses alone."""

    def __init__(self, bench: ShellBench) -> None:
        self.input_stalls = self.output_stalls = self.words_in = self.words_out = 0
        self.read_cycle = 0  # the cycle of the last read
        cocotb.start_soon(self._run(bench))

    async def _run(self, bench: ShellBench) -> None:
        dut, cycle = bench.dut, 0
        while True:
            await RisingEdge(dut.aclk)
            cycle += 1
            valid, ready = int(dut.s_axis_tvalid.value), int(dut.s_axis_tready.value)
            self.words_in += valid & ready
            if ready and not valid and self.words_in % bench.words:
                self.input_stalls += 1
            valid, ready = int(dut.m_axis_tvalid.value), int(dut.m_axis_tready.value)
            self.words_out += valid & ready
            if valid and not ready:
                self.output_stalls += 1
            if int(dut.s_axi_arvalid.value) and int(dut.s_axi_arready.value):
                self.read_cycle = cycle
