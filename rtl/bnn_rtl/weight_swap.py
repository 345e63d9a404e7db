# SPDX-License-Identifier: Apache-2.0
"""The swap of weights: the bank that is not in use is read back, and taken in use if it holds what it should."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.memories import LANE_BITS
from bnn_rtl.banked_memory import WeightsSignature

__all__ = ["WeightSwap"]


class WeightSwap(Component):
    """Writes the bank that is not in use, and swaps the banks when it is asked to.

    A swap waits until the accelerator is idle, reads every word of the bank back, a word a cycle, and compares their CRC-32
    (zlib's) with `crc`; the accelerator is held in reset meanwhile. If they are equal the banks change in one cycle. While a
    swap is going on words that come to be written are dropped, so that none can slip in between CRC and change. A reset ends a
    swap without a change of banks, and leaves these as they are.

    do_write, address, data : a word to be written
    start     : a swap is to begin
    idle      : no image is being received or computed
    crc       : that the bank must have
    swapping  : a swap has begun and not ended; no image may begin
    reset     : holds the accelerator in reset
    failed    : high for one cycle where the CRC is another one
    found_crc : of the last swap
    weights   : the master of all memories
    """

    def __init__(self, words: int, address_bits: int, read_latency: int) -> None:
        self._words, self._read_latency = words, read_latency
        super().__init__(
            {
                "do_write": In(1),
                "address": In(address_bits),
                "data": In(LANE_BITS),
                "start": In(1),
                "idle": In(1),
                "crc": In(32),
                "swapping": Out(1),
                "reset": Out(1),
                "failed": Out(1),
                "found_crc": Out(32),
                "weights": Out(WeightsSignature(address_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=LANE_BITS).create()
        weights = self.weights
        bank = Signal(reset_less=True)
        address = Signal.like(self.address)
        write = Signal()
        data = Signal(LANE_BITS, reset_less=True)
        late_data = Signal(LANE_BITS, reset_less=True)
        found = Signal(LANE_BITS, reset_less=True)
        valid = Signal(self._read_latency + 1)  # that words on their way back are ones, and the last bit the oldest of them
        reading = Signal()
        drained = Signal()
        m.d.sync += [
            address.eq(self.address),
            data.eq(self.data),
            late_data.eq(data),
            write.eq(self.do_write & ~self.swapping),
            found.eq(weights.found),
            valid.eq(Cat(reading, valid)),
            drained.eq(self.idle & self.swapping),  # once idle it stays so, as no image may begin
            self.reset.eq(weights.check),  # a cycle longer, in which the engines' ports read from the bank in use
        ]
        m.d.comb += [
            weights.bank.eq(bank),
            weights.address.eq(address),
            weights.write.eq(write),
            weights.data.eq(late_data),
            crc.data.eq(found),
            crc.valid.eq(valid[-1]),
            self.found_crc.eq(crc.crc),
            self.swapping.eq(1),
        ]
        with m.FSM(name="swap"):
            with m.State("NONE"):
                m.d.comb += self.swapping.eq(0)
                with m.If(self.start):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.sync += address.eq(0)
                with m.If(drained):
                    m.d.comb += crc.start.eq(1)
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [weights.check.eq(1), reading.eq(1)]
                m.d.sync += address.eq(address + 1)
                with m.If(address == self._words - 1):
                    m.next = "AWAIT"
            with m.State("AWAIT"):
                m.d.comb += weights.check.eq(1)
                with m.If(~valid.any()):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "NONE"
                m.d.comb += self.failed.eq(crc.crc != self.crc)
                m.d.sync += bank.eq(bank ^ ~self.failed)
        return m
