# SPDX-License-Identifier: Apache-2.0
"""The slave side of AXI4-Lite as a plain register bus."""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, In, Out

__all__ = ["AxiLiteSignature", "AxiLiteSlave", "merge_strobed"]


class AxiLiteSignature(wiring.Signature):
    """The signals of AXI4-Lite with 32-bit data, as its master sees them (AMBA AXI specification, IHI 0022, part B)."""

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLiteSlave(Component):
    """Turns AXI4-Lite into single-cycle register accesses; every access is answered OKAY, so the bus cannot hang.

    Latency: 1 cycle for a read or a write. Throughput: an access of each kind every second cycle.

    bus           : AXI4-Lite
    write_address : byte address of the word that is written; write_data and write_strobe: its content and byte strobes
    do_write      : high for the one cycle of a write
    read_address  : byte address of the word that is read; read_data: what it gives, in the same cycle

    A processor's access to single bytes comes with their own address; which they are, the strobes and the word's lanes say.
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "bus": In(AxiLiteSignature(address_bits)),
                "write_address": Out(address_bits),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "do_write": Out(1),
                "read_address": Out(address_bits),
                "read_data": In(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        m.d.comb += [
            self.do_write.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.awready.eq(self.do_write),
            bus.wready.eq(self.do_write),
            self.write_address[2:].eq(bus.awaddr[2:]),
            self.write_data.eq(bus.wdata),
            self.write_strobe.eq(bus.wstrb),
            bus.arready.eq(~bus.rvalid),
            self.read_address[2:].eq(bus.araddr[2:]),
        ]
        m.d.sync += bus.bvalid.eq(Mux(bus.bvalid, ~bus.bready, self.do_write))
        with m.If(bus.rvalid):
            m.d.sync += bus.rvalid.eq(~bus.rready)
        with m.Elif(bus.arvalid):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(self.read_data)]
        return m


def merge_strobed(old: Value, new: Value, strobe: Value) -> Value:
    """Returns `old` with those bytes of `new` that `strobe` names, a bit a byte."""
    return Cat(Mux(strobe[byte], new.word_select(byte, 8), old.word_select(byte, 8)) for byte in range(len(strobe)))
