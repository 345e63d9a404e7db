# SPDX-License-Identifier: Apache-2.0
"""The AXI shell: the accelerator as a block design takes it."""

from collections.abc import Mapping

from amaranth.hdl import Cat, ClockDomain, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, connect

from bnn_hw.contract.registers import ADDRESS_BITS, DIGEST_WORDS, MAGIC, VERSION, Control, Register, Status
from bnn_hw.contract.streams import RESULT_BITS, STREAM_BITS
from bnn_hw.design.lower import Design
from bnn_hw.design.plan_file import plan_digest
from bnn_hw.design.runtime_weights import weights_window
from bnn_hw.network.file import network_digest
from bnn_hw.network.network import element_bits
from bnn_rtl.accelerator import Accelerator
from bnn_rtl.axi_lite import AxiLiteSignature, AxiLiteSlave, merge_strobed
from bnn_rtl.axi_stream import AxiStreamSignature, ImageReceiver, ResultSender
from bnn_rtl.banked_memory import read_latency
from bnn_rtl.dot_product import DotProduct
from bnn_rtl.lut_rom import LutRom
from bnn_rtl.weight_swap import WeightSwap

__all__ = ["Shell"]

_BUFFER_WORDS = 2


class Shell(Component):
    """The accelerator behind AXI4-Stream in and out and AXI4-Lite, with names and attributes that Vivado infers.

    aclk, aresetn : clock and synchronous reset, low active, of all three buses
    s_axis_*      : images, 64 bits a word, packets as `ImageReceiver` has them
    m_axis_*      : for each image its int32 scores, class 0 first, then its class, 32 bits a word
    s_axi_*       : the registers of `bnn_hw.contract.registers`, with run-time weights the window of
                    `bnn_hw.design.runtime_weights` too

    Throughput and latency: those of `Accelerator`.
    """

    def __init__(self, design: Design) -> None:
        self._digests = {Register.DIGEST: network_digest(design.network), Register.PLAN_DIGEST: plan_digest(design.plan)}
        self._input = design.network.input.signal
        self._accelerator = Accelerator(design)
        self._window = weights_window(design) if design.plan.runtime_weights else None
        self._address_bits = self._window.address_bits if self._window else ADDRESS_BITS
        self._buses = {
            "s_axis": AxiStreamSignature(STREAM_BITS).flip(),
            "m_axis": AxiStreamSignature(RESULT_BITS),
            "s_axi": AxiLiteSignature(self._address_bits).flip(),
        }
        members = {"aclk": In(1), "aresetn": In(1)}
        for prefix, signature in self._buses.items():
            members |= {f"{prefix}_{name}": member for name, member in signature.members.items()}
        super().__init__(members)
        self.aclk.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:clock:1.0 aclk CLK"
        self.aclk.attrs["X_INTERFACE_PARAMETER"] = f"ASSOCIATED_BUSIF {':'.join(self._buses)}, ASSOCIATED_RESET aresetn"
        self.aresetn.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:reset:1.0 aresetn RST"
        self.aresetn.attrs["X_INTERFACE_PARAMETER"] = "POLARITY ACTIVE_LOW"

    @property
    def parts(self) -> list[DotProduct | LutRom]:
        """The components that the layers hold instances of, and whose Verilog is emitted beside the shell's."""
        return self._accelerator.parts

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        m.submodules.registers = slave = AxiLiteSlave(self._address_bits)
        soft_reset = Signal()
        m.d.sync += soft_reset.eq(
            slave.do_write & (slave.write_address == Register.CONTROL) & slave.write_strobe[0] & slave.write_data[0]
        )
        assert Control.RESET == 1
        core = ResetInserter(soft_reset)
        m.submodules.core = core(self._core(slave))
        self._wire(m, "s_axi", slave.bus)
        self._wire(m, "s_axis", self._receiver.bus)
        self._wire(m, "m_axis", self._sender.bus)
        if self._window:
            # Between two images the input waits for the end of a swap.
            stop = self._swap.swapping & ~self._receiver.receiving
            m.d.comb += [
                self._receiver.bus.tvalid.eq(self.s_axis_tvalid & ~stop),
                self.s_axis_tready.eq(self._receiver.bus.tready & ~stop),
            ]
        return m

    def _core(self, slave: AxiLiteSlave) -> Module:
        """Returns all that a soft reset resets."""
        m = Module()
        signal = self._input
        self._receiver = receiver = ImageReceiver(STREAM_BITS, signal.size * element_bits(signal))
        self._sender = sender = ResultSender()
        m.submodules.receiver, m.submodules.sender = receiver, sender
        if self._window:
            window = self._window
            m.submodules.swap = self._swap = WeightSwap(window.words, window.word_bits, read_latency(window.memories))
            m.submodules.accelerator = ResetInserter(self._swap.reset)(self._accelerator)
            connect(m, self._swap.weights, self._accelerator.weights)
        else:
            m.submodules.accelerator = self._accelerator
        # Buffers part the bus from the accelerator, so that no path of logic goes through both.
        m.submodules.ends = ends = SyncFIFO(width=1, depth=self._accelerator.images_held + _BUFFER_WORDS)
        m.submodules.words = words = SyncFIFO(width=STREAM_BITS, depth=_BUFFER_WORDS)
        m.submodules.results = results = SyncFIFO(width=RESULT_BITS + 1, depth=_BUFFER_WORDS)
        m.d.comb += [
            words.w_data.eq(receiver.o.payload),
            words.w_en.eq(receiver.o.valid),
            receiver.o.ready.eq(words.w_rdy),
            self._accelerator.i.payload.eq(words.r_data),
            self._accelerator.i.valid.eq(words.r_rdy),
            words.r_en.eq(self._accelerator.i.ready),
            ends.w_data.eq(receiver.ends.payload),
            ends.w_en.eq(receiver.ends.valid),
            receiver.ends.ready.eq(ends.w_rdy),
            sender.ends.payload.eq(ends.r_data),
            sender.ends.valid.eq(ends.r_rdy),
            ends.r_en.eq(sender.ends.ready),
            results.w_data.eq(self._accelerator.o.payload),
            results.w_en.eq(self._accelerator.o.valid),
            self._accelerator.o.ready.eq(results.w_rdy),
            sender.i.payload.eq(results.r_data),
            sender.i.valid.eq(results.r_rdy),
            results.r_en.eq(sender.i.ready),
        ]
        self._registers(m, slave, words.r_rdy)
        return m

    def _registers(self, m: Module, slave: AxiLiteSlave, words_left: Value) -> None:
        """Adds the registers; `words_left`: whether words of images wait for the accelerator."""
        receiver, sender = self._receiver, self._sender
        counters = {
            Register.IMAGES_IN: receiver.ends.valid & receiver.ends.ready,
            Register.IMAGES_OUT: sender.done,
            Register.CYCLES: Value.cast(1),
            Register.INPUT_STALLS: receiver.receiving & receiver.bus.tready & ~receiver.bus.tvalid,
            Register.OUTPUT_STALLS: sender.bus.tvalid & ~sender.bus.tready,
            Register.WORDS_IN: receiver.bus.tvalid & receiver.bus.tready,
            Register.WORDS_OUT: sender.bus.tvalid & sender.bus.tready,
        }
        values: dict[int, Value] = {Register.MAGIC: Value.cast(MAGIC), Register.VERSION: Value.cast(VERSION)}
        for register, event in counters.items():
            values[register] = count = Signal(32, name=register.name.lower())
            m.d.sync += count.eq(count + event)

        do_write = {register: slave.do_write & (slave.write_address == register) for register in Register}
        packet_images = Signal(32)
        values[Register.PACKET_IMAGES] = packet_images
        m.d.comb += receiver.packet_images.eq(packet_images)
        with m.If(do_write[Register.PACKET_IMAGES]):
            m.d.sync += packet_images.eq(merge_strobed(packet_images, slave.write_data, slave.write_strobe))

        status = Signal(4)
        faults = {
            Status.EARLY_LAST: receiver.early_last,
            Status.MISSING_LAST: receiver.missing_last,
            Status.NULL_BYTE: receiver.null_byte,
        }
        for flag, fault in faults.items():
            bit = status[flag.bit_length() - 1]
            with m.If(do_write[Register.STATUS] & slave.write_strobe[0] & (slave.write_data & flag).any()):
                m.d.sync += bit.eq(0)
            with m.If(fault):
                m.d.sync += bit.eq(1)
        busy = receiver.receiving | (values[Register.IMAGES_IN] != values[Register.IMAGES_OUT])
        values[Register.STATUS] = status | busy
        assert Status.BUSY == 1

        for register, digest in self._digests.items():
            for index, word in enumerate(_digest_words(digest)):
                values[register + 4 * index] = Value.cast(word)
        if self._window:
            values |= self._swap_registers(m, slave, do_write, ~busy & ~words_left, values[Register.STATUS])
        with m.Switch(slave.read_address):
            for offset, value in values.items():
                with m.Case(int(offset)):
                    m.d.comb += slave.read_data.eq(value)

    def _swap_registers(
        self, m: Module, slave: AxiLiteSlave, do_write: Mapping[Register, Value], idle: Value, status: Value
    ) -> dict[int, Value]:
        """Adds the registers of run-time weights and their window; returns what reads differently with them."""
        assert self._window is not None
        swap, window_bit = self._swap, self._window.offset.bit_length() - 1
        open_ = slave.do_write & ~swap.swapping
        crc = Signal(32)
        failed = Signal()
        start = do_write[Register.CONTROL] & slave.write_strobe[0] & (slave.write_data & Control.SWAP).any()
        clear = do_write[Register.STATUS] & slave.write_strobe[0] & (slave.write_data & Status.SWAP_FAILED).any()
        with m.If(open_ & (slave.write_address == Register.WEIGHTS_CRC)):
            m.d.sync += crc.eq(merge_strobed(crc, slave.write_data, slave.write_strobe))
        with m.If(swap.failed):
            m.d.sync += failed.eq(1)
        with m.Elif(start | clear):
            m.d.sync += failed.eq(0)
        m.d.comb += [
            swap.do_write.eq(slave.do_write & slave.write_address[window_bit] & slave.write_strobe.all()),
            swap.address.eq(slave.write_address[2:window_bit]),
            swap.data.eq(slave.write_data),
            swap.start.eq(start),
            swap.idle.eq(idle),
            swap.crc.eq(crc),
        ]
        digest = self._digest(m, slave, open_ & (slave.write_address[5:] == Register.NEXT_DIGEST >> 5))
        assert (Status.SWAPPING, Status.SWAP_FAILED, Status.RUNTIME_WEIGHTS) == (1 << 4, 1 << 5, 1 << 6)
        return {
            Register.STATUS: Cat(status, swap.swapping, failed, 1),
            Register.FOUND_CRC: swap.found_crc,
            **{Register.DIGEST + 4 * index: digest for index in range(DIGEST_WORDS)},
        }

    def _digest(self, m: Module, slave: AxiLiteSlave, do_write: Value) -> Value:
        """Returns the word that is read of the digest in use, which a bank of a memory holds that changes with the weights."""
        words = _digest_words(self._digests[Register.DIGEST])
        attrs = {"ram_style": "distributed"}
        m.submodules.digests = digests = Memory(shape=32, depth=2 * DIGEST_WORDS, init=[*words, *words], attrs=attrs)
        write, read = digests.write_port(granularity=8), digests.read_port(domain="comb")
        bank = self._swap.weights.bank
        m.d.comb += [
            write.addr.eq(Cat(slave.write_address[2:5], ~bank)),
            write.data.eq(slave.write_data),
            write.en.eq(slave.write_strobe & do_write.replicate(4)),
            read.addr.eq(Cat(slave.read_address[2:5], bank)),
        ]
        return read.data

    def _wire(self, m: Module, prefix: str, interface: wiring.PureInterface) -> None:
        """Connects a bus with the ports that carry its name."""
        for name, member in self._buses[prefix].members.items():
            port, signal = getattr(self, f"{prefix}_{name}"), getattr(interface, name)
            m.d.comb += port.eq(signal) if member.flow == Out else signal.eq(port)


def _digest_words(digest: str) -> list[int]:
    """Returns a SHA-256 as words, the first byte in the lowest bits."""
    content = bytes.fromhex(digest)
    return [int.from_bytes(content[start : start + 4], "little") for start in range(0, 4 * DIGEST_WORDS, 4)]
