# SPDX-License-Identifier: Apache-2.0
"""Packets that break the framing, and resets in the middle of one: reported, ended, and the next image is right."""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from bnn_hw.contract.registers import Control, Register, Status
from support.benches.shell_bench import WORD_BYTES, ShellBench

_ROUNDS = 4


async def _start(dut: Any, name: str) -> ShellBench:
    bench = ShellBench(dut, name)
    await bench.reset()
    bench.source.set_pause_generator(bench.pauses())
    bench.sink.set_pause_generator(bench.pauses())
    return bench


async def _expect(bench: ShellBench, fault: Status) -> None:
    """Checks that this fault is reported and no other, clears it, and checks that all is well after it."""
    assert await bench.read(Register.STATUS) == fault
    await bench.write(Register.STATUS, fault)
    await bench.check_good_packets()


def _cut(bench: ShellBench, image: list[int], words: int) -> list[int]:
    """Returns an image of which only so many words came."""
    came = words * bench.elements_per_word
    return [element if index < came else 0 for index, element in enumerate(image)]


@cocotb.test(timeout_time=400, timeout_unit="us")
async def last_within_an_image(dut: Any) -> None:
    """The image is filled up with zeros and ends its packet; the next packet is right behind."""
    bench = await _start(dut, "early last")
    bench.source.set_pause_generator(None)
    for packet_images in (0, 3):
        for words in range(1, bench.words):
            images = bench.images(2)
            await bench.write(Register.PACKET_IMAGES, packet_images)
            behind = bench.images(packet_images or 1)
            await bench.send_bytes(bench.content(images)[: (bench.words + words) * WORD_BYTES])
            await bench.send(behind)
            await bench.check([images[0], _cut(bench, images[1], words)])
            await bench.check(behind)
            await _expect(bench, Status.EARLY_LAST)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def too_few_images(dut: Any) -> None:
    """A packet with fewer images than PACKET_IMAGES ends where it ends."""
    bench = await _start(dut, "too few")
    for packet_images, count in ((2, 1), (4, 2), (4, 3)):
        images = bench.images(count)
        await bench.write(Register.PACKET_IMAGES, packet_images)
        await bench.send(images)
        await bench.check(images)
        await _expect(bench, Status.EARLY_LAST)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def missing_last(dut: Any) -> None:
    """A packet without TLAST ends with the last of its PACKET_IMAGES images, and the next begins there."""
    bench = await _start(dut, "missing last")
    for packet_images in (1, 2):
        images = bench.images(2 * packet_images)
        await bench.write(Register.PACKET_IMAGES, packet_images)
        await bench.send(images)
        await bench.check(images[:packet_images])
        await bench.check(images[packet_images:])
        await _expect(bench, Status.MISSING_LAST)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def last_that_never_comes(dut: Any) -> None:
    """The results of a whole packet leave, with TLAST, though the master stopped without one."""
    bench = await _start(dut, "never")
    images = bench.images(2)
    await bench.write(Register.PACKET_IMAGES, 2)
    await bench.send_words(images, 2 * bench.words)
    await bench.check(images)
    await _expect(bench, Status.MISSING_LAST)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def null_bytes(dut: Any) -> None:
    """A byte of an image with TKEEP = 0 counts as 0 and is reported; past the image's end it is neither."""
    bench = await _start(dut, "null bytes")
    used = -(-bench.inputs * bench.element_bits // 8)
    for place in {0, used - 1, bench.draw.randrange(used)}:
        (image,) = bench.images(1)
        await bench.send_bytes(bench.content([image]), null={place})
        each = 8 // bench.element_bits
        await bench.check([[0 if index // each == place else element for index, element in enumerate(image)]])
        await _expect(bench, Status.NULL_BYTE)
    (image,) = bench.images(1)
    await bench.send_bytes(bench.content([image]), null=range(used, bench.words * WORD_BYTES))
    await bench.check([image])
    assert await bench.read(Register.STATUS) == 0


async def _stop_half_way(bench: ShellBench) -> None:
    """Leaves a fault, a packet that is part way in, and results that wait."""
    bench.sink.pause = True
    await bench.write(Register.PACKET_IMAGES, 5)
    (image,) = bench.images(1)
    await bench.send_bytes(bench.content([image]), null={0})
    await bench.source.wait()
    await ClockCycles(bench.dut.aclk, 4)
    await bench.send_words(bench.images(3), bench.draw.randrange(1, 3 * bench.words))
    await ClockCycles(bench.dut.aclk, bench.draw.randrange(3 * bench.cycles))


async def _check_fresh(bench: ShellBench) -> None:
    """Checks that nothing is left of what was before the reset."""
    assert not int(bench.dut.m_axis_tvalid.value)
    assert bench.sink.empty()
    for register in (Register.STATUS, Register.PACKET_IMAGES, Register.IMAGES_IN, Register.IMAGES_OUT):
        assert await bench.read(register) == 0, register.name
    assert await bench.read(Register.CYCLES) < 200
    bench.sink.pause = False
    await bench.check_good_packets()
    assert await bench.read(Register.IMAGES_IN) == await bench.read(Register.IMAGES_OUT) == 3


@cocotb.test(timeout_time=400, timeout_unit="us")
async def soft_reset_half_way(dut: Any) -> None:
    """CONTROL.RESET in the middle of a packet; other writes to CONTROL do nothing."""
    bench = ShellBench(dut, "soft reset")
    await bench.reset()
    for _ in range(_ROUNDS):
        await _stop_half_way(bench)
        await bench.write(Register.CONTROL, 0xFFFF_FFFF & ~Control.RESET)
        await bench.write_strobed(Register.CONTROL, 0xFFFF_FFFF, 0b1110)
        assert await bench.read(Register.PACKET_IMAGES) == 5
        assert await bench.read(Register.STATUS) & Status.NULL_BYTE
        await bench.write(Register.CONTROL, Control.RESET)
        await ClockCycles(dut.aclk, 2)
        await _check_fresh(bench)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def reset_half_way(dut: Any) -> None:
    """aresetn in the middle of a packet, also when results are part way out."""
    bench = ShellBench(dut, "reset")
    await bench.reset()
    for round_ in range(_ROUNDS):
        await _stop_half_way(bench)
        if round_ % 2:
            bench.sink.pause = False
            await ClockCycles(dut.aclk, bench.draw.randint(1, bench.network.classes))  # fewer than an image's results
            bench.sink.pause = True
        await bench.reset()
        await _check_fresh(bench)
