# SPDX-License-Identifier: Apache-2.0
"""Run-time weights that are written in parts or not to the end, resets within a swap, and swaps within an image."""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from bnn_hw.contract.registers import Control, Register, Status
from bnn_hw.network.file import network_digest
from support.benches.shell_weights_bench import WeightsBench

_ROUNDS = 2
_TIMEOUT = {"timeout_time": 4000, "timeout_unit": "us"}


@cocotb.test(**_TIMEOUT)
async def parts_of_words(dut: Any) -> None:
    """Words are written whole, in any order, as often as one likes; a part of one is not written."""
    bench = WeightsBench(dut, "parts")
    old = await bench.start()
    await bench.prepare(1 - old)
    for index in bench.draw.choices(range(len(bench.window[0])), k=20):
        await bench.write_strobed(bench.offset + 4 * index, bench.draw.getrandbits(32), bench.draw.randrange(15))
        await bench.write(bench.offset + 4 * index, bench.window[1 - old][index])
        await bench.write_strobed(bench.offset + 4 * index, bench.draw.getrandbits(32), bench.draw.randrange(15))
    for address in (bench.offset + 4 * len(bench.window[0]), 2 * bench.offset - 4):  # past the window, if it does not fill it
        if bench.offset + 4 * len(bench.window[0]) <= address < 2 * bench.offset:
            await bench.write(address, bench.draw.getrandbits(32))
    assert await bench.swap()
    await bench.check_carries(1 - old)


@cocotb.test(**_TIMEOUT)
async def client_that_dies(dut: Any) -> None:
    """A bank that is half written, and resets, change nothing; after a swap the new network survives both kinds of reset."""
    bench = WeightsBench(dut, "dies")
    old = await bench.start()
    for soft in (True, False):
        content = bench.content_of(1 - old)
        await bench.fill(content[: bench.draw.randrange(4, len(content), 4)])
        await _reset(bench, soft=soft)
        await bench.check_carries(old)
        assert not await bench.swap()
        await bench.prepare(1 - old)
        assert await bench.swap()
        old = 1 - old
        await _reset(bench, soft=soft)
        assert await bench.read(Register.STATUS) == Status.RUNTIME_WEIGHTS
        await bench.check_carries(old)


async def _reset(bench: WeightsBench, *, soft: bool) -> None:
    if soft:
        await bench.write(Register.CONTROL, Control.RESET)
        await ClockCycles(bench.dut.aclk, 2)
    else:
        await bench.reset()


@cocotb.test(**_TIMEOUT)
async def reset_within_a_swap(dut: Any) -> None:
    """Whenever a reset comes, one of both networks is in use, its digest with it, and the next swap works."""
    bench = WeightsBench(dut, "reset within")
    old = await bench.start(pauses=False)
    length = len(bench.window[0])
    for after in (*range(0, 12, 3), *(bench.draw.randrange(length) for _ in range(3)), *range(length, length + 12, 2)):
        await bench.prepare(1 - old)
        await bench.write(Register.CONTROL, Control.SWAP)
        await ClockCycles(dut.aclk, after)
        await _reset(bench, soft=bench.draw.random() < 0.5)
        assert not await bench.read(Register.STATUS) & Status.SWAPPING
        if await bench.digest() == network_digest(bench.networks[1 - old]):
            old = 1 - old
        await bench.check_carries(old)


@cocotb.test(**_TIMEOUT)
async def waits_for_the_image(dut: Any) -> None:
    """A swap that is asked for within an image comes after it and before the next; what is written meanwhile is dropped."""
    bench = WeightsBench(dut, "waits")
    old = await bench.start(pauses=False)
    for _ in range(_ROUNDS):
        bench.network = bench.networks[old]
        await bench.prepare(1 - old)
        first, second = bench.images(2)
        words = bench.draw.randrange(1, bench.words)
        await bench.send_words([first], words)
        await bench.write(Register.CONTROL, Control.SWAP)
        await bench.fill(bytes(4 * len(bench.window[0])))
        await bench.write(Register.WEIGHTS_CRC, 0)
        await bench.master.write(Register.NEXT_DIGEST, bytes(32))
        await bench.write(Register.CONTROL, Control.SWAP)
        assert await bench.read(Register.STATUS) == Status.BUSY | Status.SWAPPING | Status.RUNTIME_WEIGHTS
        bench.sink.pause = True
        await bench.send_bytes(bench.content([first])[8 * words :])
        await bench.send([second])
        await ClockCycles(dut.aclk, 3 * bench.cycles)
        assert await bench.read(Register.IMAGES_OUT) == await bench.read(Register.IMAGES_IN) - 1
        assert await bench.read(Register.STATUS) & Status.SWAPPING
        bench.sink.pause = False
        await bench.check([first])
        old = 1 - old
        bench.network = bench.networks[old]
        await bench.check([second])
        assert await bench.read(Register.STATUS) == Status.RUNTIME_WEIGHTS
        await bench.check_carries(old)
