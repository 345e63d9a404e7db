# SPDX-License-Identifier: Apache-2.0
"""AXI4-Stream packets to images, and results to packets."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.contract.streams import RESULT_BITS
from bnn_rtl.argmax import result_layout

__all__ = ["AxiStreamSignature", "ImageReceiver", "ResultSender"]


class AxiStreamSignature(wiring.Signature):
    """The signals of AXI4-Stream, as the master sees them (AMBA AXI-Stream specification, IHI 0051)."""

    def __init__(self, width: int) -> None:
        super().__init__({"tdata": Out(width), "tkeep": Out(width // 8), "tlast": Out(1), "tvalid": Out(1), "tready": In(1)})


class ImageReceiver(Component):
    """Takes packets of images from AXI4-Stream and checks their framing.

    An image is ``ceil(image_bits/width)`` words; a packet is one or more images, and its last word has TLAST. With
    `packet_images` other than 0 a packet must have that many. A packet at fault is ended, never waited for: an image
    that TLAST cuts is filled up with zeros, and a packet without TLAST ends with its last image. Bits past the end of an
    image are made 0, as are bytes with TKEEP = 0.

    Latency: 0 cycles. Throughput: a word a cycle.

    bus           : AXI4-Stream
    packet_images : images that a packet must have, or 0
    o             : stream of words of images
    ends          : stream of a bit for each image: whether it ends its packet
    receiving     : an image has begun and not ended
    early_last, missing_last, null_byte : high for one cycle at such a fault
    """

    def __init__(self, width: int, image_bits: int) -> None:
        self._width, self._image_bits = width, image_bits
        super().__init__(
            {
                "bus": In(AxiStreamSignature(width)),
                "packet_images": In(32),
                "o": Out(stream.Signature(width)),
                "ends": Out(stream.Signature(1)),
                "receiving": Out(1),
                "early_last": Out(1),
                "missing_last": Out(1),
                "null_byte": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, words = self.bus, -(-self._image_bits // self._width)
        word = Signal(range(words))
        image = Signal(32)
        fill = Signal()
        last_word = Signal()
        last_image = Signal()
        accept = Signal()
        do_word = Signal()
        m.d.comb += [
            last_word.eq(word == words - 1),
            last_image.eq((self.packet_images != 0) & (image >= self.packet_images - 1)),
            # The last word of an image also needs room for its bit in `ends`.
            accept.eq(self.o.ready & (~last_word | self.ends.ready)),
            bus.tready.eq(accept & ~fill),
            do_word.eq(accept & (bus.tvalid | fill)),
            self.o.valid.eq((bus.tvalid | fill) & (~last_word | self.ends.ready)),
            self.ends.valid.eq((bus.tvalid | fill) & last_word & self.o.ready),
            self.ends.payload.eq(fill | bus.tlast | last_image),
            self.receiving.eq(word != 0),
        ]
        used = self._image_bits - (words - 1) * self._width  # bits of the image in its last word
        image_mask = Mux(last_word, Const((1 << used) - 1, self._width), Const((1 << self._width) - 1, self._width))
        needed = Mux(
            last_word, Const((1 << -(-used // 8)) - 1, self._width // 8), Const((1 << self._width // 8) - 1, self._width // 8)
        )
        kept = Cat(bit.replicate(8) for bit in bus.tkeep)
        m.d.comb += self.o.payload.eq(Mux(fill, 0, bus.tdata & kept & image_mask))
        with m.If(do_word):
            m.d.sync += word.eq(Mux(last_word, 0, word + 1))
            with m.If(last_word):
                m.d.sync += [image.eq(Mux(self.ends.payload, 0, image + 1)), fill.eq(0)]
                m.d.comb += self.missing_last.eq(~fill & last_image & ~bus.tlast)
            with m.Elif(bus.tlast & ~fill):
                m.d.sync += fill.eq(1)
            with m.If(~fill):
                m.d.comb += [
                    self.early_last.eq(bus.tlast & (~last_word | ((self.packet_images != 0) & ~last_image))),
                    self.null_byte.eq((needed & ~bus.tkeep).any()),
                ]
        return m


class ResultSender(Component):
    """Sends results as packets on AXI4-Stream, one packet for each that was received.

    Latency: 0 cycles. Throughput: a word a cycle.

    i    : stream of `result_layout`
    ends : stream of a bit for each image: whether it ends its packet
    bus  : AXI4-Stream; TLAST with the last word of a packet's last image
    done : high for one cycle when an image's last word is sent
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(result_layout())),
                "ends": In(stream.Signature(1)),
                "bus": Out(AxiStreamSignature(RESULT_BITS)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last = self.i.payload.last
        m.d.comb += [
            self.bus.tvalid.eq(self.i.valid & (~last | self.ends.valid)),
            self.bus.tdata.eq(self.i.payload.value),
            self.bus.tkeep.eq((1 << RESULT_BITS // 8) - 1),
            self.bus.tlast.eq(last & self.ends.payload),
            self.i.ready.eq(self.bus.tready & (~last | self.ends.valid)),
            self.done.eq(self.bus.tvalid & self.bus.tready & last),
            self.ends.ready.eq(self.done),
        ]
        return m
