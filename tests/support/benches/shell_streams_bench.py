# SPDX-License-Identifier: Apache-2.0
"""Images through the shell: every bit of every layer, every score and class, whatever the streams do."""

from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from support.benches.shell_bench import ShellBench


@cocotb.test(timeout_time=400, timeout_unit="us")
async def packets_with_random_pauses(dut: Any) -> None:
    """Packets back to back, large and small, while both streams pause."""
    bench = ShellBench(dut, "pauses")
    await bench.reset()
    taps = bench.record_layers()
    bench.source.set_pause_generator(bench.pauses())
    bench.sink.set_pause_generator(bench.pauses())
    packets = [bench.images(count) for count in (5, 1, 1, 2, 7)]
    for images in packets:
        await bench.send(images)
    for images in packets:
        await bench.check(images)
    bench.check_layers(taps, [image for images in packets for image in images])
    assert bench.sink.empty()


@cocotb.test(timeout_time=400, timeout_unit="us")
async def slow_slave(dut: Any) -> None:
    """All buffers fill up before the results begin to leave."""
    bench = ShellBench(dut, "slow slave")
    await bench.reset()
    taps = bench.record_layers()
    bench.sink.pause = True
    images = bench.images(16)
    for image in images:
        await bench.send([image])
    quiet = 0
    while quiet < 4 * bench.cycles + 60:
        await RisingEdge(dut.aclk)
        quiet = 0 if int(dut.s_axis_tvalid.value) and int(dut.s_axis_tready.value) else quiet + 1
    bench.sink.pause = False
    for image in images:
        await bench.check([image])
    bench.check_layers(taps, images)


@cocotb.test(timeout_time=400, timeout_unit="us")
async def one_packet_at_full_speed(dut: Any) -> None:
    """A batch as one packet, without a pause: right, and an image each initiation interval of the plan."""
    bench = ShellBench(dut, "full speed")
    await bench.reset()
    images = bench.images(14)
    await bench.send(images)
    each, words, finished = bench.network.classes + 1, 0, []
    for now in range(40 * bench.cycles + 400):
        await RisingEdge(dut.aclk)
        if int(dut.m_axis_tvalid.value) and int(dut.m_axis_tready.value):
            words += 1
            if words % each == 0:
                finished.append(now)
    await bench.check(images)
    intervals = [after - cycle for cycle, after in pairwise(finished)]
    assert intervals == [bench.cycles] * (len(images) - 1)
