# SPDX-License-Identifier: Apache-2.0
"""Frames through the UART shell: right ones, and all that a line can do to them. Each request has one answer."""

from typing import Any

import cocotb

from support.benches.uart_line_bench import CLASSIFY, IDENTIFY, UartBench, frame

_START = 0xA5
_UNKNOWN_TYPE, _WRONG_LENGTH, _WRONG_CRC, _SILENCE, _FRAMING = 1, 2, 3, 4, 5


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def requests_and_answers(dut: Any) -> None:
    """Requests one after the other, without and with pauses within."""
    bench = UartBench(dut, "requests")
    for pause_bits in (0, 0, 3, 0.7 * bench.silence_bits / 2):
        await bench.check(frame(IDENTIFY), bench.identity(), pause_bits)
        await bench.check(*bench.request(), pause_bits)
        await bench.check(*bench.request(), pause_bits)
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def clocks_that_differ(dut: Any) -> None:
    """The other side is 2 % slower or faster, and never in step with the clock."""
    bench = UartBench(dut, "pace")
    for bench.pace in (0.98, 1.02, 0.995, 1.005):
        for _ in range(4):
            await bench.check(*bench.request())
        await bench.check(frame(IDENTIFY), bench.identity())
        await bench.bits(2.3)


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def altered_bytes(dut: Any) -> None:
    """Any bit of a request that is not as it was sent is found; the result of an image at fault is never seen."""
    bench = UartBench(dut, "altered")
    for whole in (frame(IDENTIFY), bench.request()[0]):
        places = [1, 2, 3, *bench.draw.sample(range(4, len(whole) - 2), min(3, len(whole) - 6)), len(whole) - 2, len(whole) - 1]
        for place in places:
            altered = bytearray(whole)
            altered[place] ^= 1 << bench.draw.randrange(8) if place > 1 else 0x40
            code = {1: _UNKNOWN_TYPE, 2: _WRONG_LENGTH, 3: _WRONG_LENGTH}.get(place, _WRONG_CRC)
            await bench.check(bytes(altered), bench.fault(code))
            await bench.check(*bench.request())
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def wrong_headers(dut: Any) -> None:
    """Frames that are whole, with a right CRC, but not what this board takes."""
    bench = UartBench(dut, "headers")
    image = bench.content(bench.images(1)[0])
    for payload in (b"", image[:-1], image + b"\0", image * 30):
        await bench.check(frame(CLASSIFY, payload), bench.fault(_WRONG_LENGTH))
        await bench.check(*bench.request())
    await bench.check(frame(IDENTIFY, image), bench.fault(_WRONG_LENGTH))
    for kind in (0x00, 0x03, 0x81, 0x82, 0xFF, _START):
        await bench.check(frame(kind, image), bench.fault(_UNKNOWN_TYPE))
    await bench.send(frame(0x03, 8 * frame(IDENTIFY)))  # what is in a request is none
    assert bench.received.empty(), "the answer comes after the request"
    assert await bench.answer() == bench.fault(_UNKNOWN_TYPE)
    await bench.check_good_requests()
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def requests_that_stop(dut: Any) -> None:
    """A request that is cut anywhere is given up after a silence, and the next one is right."""
    bench = UartBench(dut, "stop")
    for whole in (frame(IDENTIFY), bench.request()[0]):
        middle = bench.draw.sample(range(5, len(whole) - 2), min(3, len(whole) - 7)) if len(whole) > 7 else []
        for length in {1, 2, 3, 4, len(whole) - 2, len(whole) - 1, *middle, *[at for at in (11, 12, 13) if at < len(whole)]}:
            await bench.check(whole[:length], bench.fault(_SILENCE))
            await bench.check(*bench.request())
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def silence_is_as_long_as_it_says(dut: Any) -> None:
    """A pause that is a little shorter does no harm; a little longer, and the request is given up."""
    bench = UartBench(dut, "silence")
    for _ in range(3):
        request, due = bench.request()
        cut = bench.draw.randrange(1, len(request))
        await bench.send(request[:cut])
        await bench.bits(0.93 * bench.silence_bits)
        await bench.check(request[cut:], due)
        await bench.send(request[:cut])
        await bench.bits(1.02 * bench.silence_bits + 2 + bench.result_bits)
        assert not bench.received.empty(), "the answer has begun"
        assert await bench.answer() == bench.fault(_SILENCE)
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def garbage_between_requests(dut: Any) -> None:
    """What is no start byte is skipped, whatever its stop bit; a start byte of noise is given up like a request."""
    bench = UartBench(dut, "garbage")
    for _ in range(4):
        for _ in range(bench.draw.randrange(1, 30)):
            byte = bench.draw.randrange(256)
            if byte != _START:
                await bench.send_byte(byte, stop=int(bench.draw.random() < 0.7))
        await bench.check(*bench.request())
    await bench.send_byte(_START, stop=0)  # which is none then
    await bench.check(*bench.request())
    noise = bytes([_START, *bench.draw.choices(range(3, 256), k=20)])
    await bench.send(noise)
    request, due = bench.request()
    await bench.check(request, bench.fault(_UNKNOWN_TYPE))  # comes without a silence before it, so it is noise too
    await bench.check(request, due)
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def framing_errors(dut: Any) -> None:
    """A stop bit that is missing anywhere in a request."""
    bench = UartBench(dut, "framing")
    whole = bench.request()[0]
    for place in sorted({1, 2, 3, 4, bench.draw.randrange(4, len(whole) - 2), *range(len(whole) - 3, len(whole))}):
        await bench.send(whole[:place])
        await bench.send_byte(whole[place], stop=0)
        await bench.check(whole[place + 1 :], bench.fault(_FRAMING))
        await bench.check(*bench.request())
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def breaks_and_spikes(dut: Any) -> None:
    """A line that stays low ends a request, or is nothing; what is shorter than half a bit is nothing."""
    bench = UartBench(dut, "breaks")
    for low_bits in (11, 40, 1.5 * bench.silence_bits):
        dut.rx.value = 0
        await bench.bits(low_bits)
        dut.rx.value = 1
        await bench.bits(1)
        await bench.check(*bench.request())
        whole = bench.request()[0]
        await bench.send(whole[: bench.draw.randrange(1, len(whole))])
        dut.rx.value = 0
        await bench.bits(low_bits)
        dut.rx.value = 1
        await bench.bits(1)
        assert await bench.answer() == bench.fault(_FRAMING)
        await bench.check(*bench.request())
    for _ in range(10):
        dut.rx.value = 0
        await bench.bits(bench.draw.uniform(0.02, 0.35))
        dut.rx.value = 1
        await bench.bits(1)
    request, due = bench.request()
    for byte in request:
        await bench.send_byte(byte)
        dut.rx.value = 0
        await bench.bits(0.3)
        dut.rx.value = 1
        await bench.bits(0.7)
    assert await bench.answer() == due
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def requests_that_come_too_early(dut: Any) -> None:
    """What comes while an answer is on its way is skipped; the answer and the request after it are right."""
    bench = UartBench(dut, "early")
    for _ in range(3):
        request, due = bench.request()
        await bench.send(request)
        await bench.bits(bench.draw.uniform(1, 100))
        await bench.send(bytes(byte for byte in bench.request()[0][:10] if byte != _START))
        assert await bench.answer() == due
        await bench.check(*bench.request())
    await bench.check_nothing_comes()


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def noise(dut: Any) -> None:
    """After any noise, and a silence, the shell is as it should be."""
    bench = UartBench(dut, "noise")
    whole = bench.request()[0]
    for _ in range(4):
        for _ in range(bench.draw.randrange(1, 5)):
            start = bench.draw.randrange(len(whole))
            await bench.send(whole[: bench.draw.randrange(len(whole))] + whole[start:])
            for _ in range(bench.draw.randrange(20)):
                dut.rx.value = bench.draw.getrandbits(1)
                await bench.bits(bench.draw.uniform(0.1, 4))
            dut.rx.value = 1
            await bench.bits(bench.draw.choice((1, 20, bench.silence_bits)))
        await bench.silence()
        await bench.bits(10 * (len(bench.identity()) + len(bench.request()[1])))
        while not bench.received.empty():
            bench.received.get_nowait()
        await bench.check_good_requests()
    await bench.check_nothing_comes()
