# SPDX-License-Identifier: Apache-2.0
"""Requests from bytes, and answers to bytes: the frames of `bnn_hw.contract.frames`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from bnn_hw.contract.frames import HEADER_BYTES, START, Answer, Fault, Identity, Request, header
from bnn_hw.contract.streams import STREAM_BITS
from bnn_rtl.argmax import result_layout
from bnn_rtl.uart import received_layout

__all__ = ["CRC_BITS", "AnswerSender", "RequestReceiver", "WordAssembler"]

CRC_BITS = 16
_WORD_BYTES = STREAM_BITS // 8


def _request_layout() -> data.StructLayout:
    """Returns the layout of a request: its `Fault` or 0, and whether it has put an image into the accelerator.

    A request with neither is the one for the identity.
    """
    return data.StructLayout({"fault": range(max(Fault) + 1), "image": 1})


class WordAssembler(Component):
    """Puts bytes together, the first one lowest.

    Throughput: a word in 9 cycles. Latency: 1 cycle after a word's last byte.

    i : stream of bytes
    o : stream of words of `STREAM_BITS` bits
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(STREAM_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(STREAM_BITS)
        place = Signal(range(_WORD_BYTES))
        full = Signal()
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(full), self.o.payload.eq(word)]
        with m.If(full):
            m.d.sync += full.eq(~self.o.ready)
        with m.Elif(self.i.valid):
            m.d.sync += [word.eq(Cat(word[8:], self.i.payload)), place.eq(place + 1), full.eq(place == _WORD_BYTES - 1)]
        return m


class RequestReceiver(Component):
    """Finds requests among bytes, checks them, and passes images on while they come.

    Bytes before a start byte are skipped. After a fault all bytes are, until the line has been silent for `silence` bit
    times; then an image that has begun is filled up with zeros, and the request is given as faulty. So each request is
    given once, whatever the line does. While a request waits to be taken, bytes are skipped.

    i       : stream of `received_layout`
    tick    : high for one cycle a bit time
    o       : stream of words of images, the last one filled up with zeros
    request : stream of requests
    crc_start, crc_valid : the CRC starts anew; it takes the byte
    crc     : of all bytes that it has taken, the cycle after, so that it is 0 where they end with their own
    """

    def __init__(self, identity: Identity, silence: int) -> None:
        assert silence & (silence - 1) == 0
        self._identity, self._silence = identity, silence
        self._padded_bytes = -(-identity.image_bytes // _WORD_BYTES) * _WORD_BYTES
        super().__init__(
            {
                "i": In(stream.Signature(received_layout(), always_ready=True)),
                "tick": In(1),
                "o": Out(stream.Signature(STREAM_BITS)),
                "request": Out(stream.Signature(_request_layout())),
                "crc_start": Out(1),
                "crc_valid": Out(1),
                "crc": In(CRC_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fault = Signal(range(max(Fault) + 1))
        image = Signal()
        self._fault, self._image, self._silent = fault, image, self._silence_timer(m)
        image_bytes, place = self._image_bytes(m)
        classify = Signal()
        m.d.comb += [self.request.payload.fault.eq(fault), self.request.payload.image.eq(image)]
        byte, length = self.i.payload.byte, C(self._identity.image_bytes, 16) & classify.replicate(16)
        with m.FSM(name="part"):
            with m.State("START"):
                m.d.sync += [fault.eq(0), image.eq(0)]
                with m.If(self.i.valid & ~self.i.payload.framing_error & (byte == START)):
                    m.d.comb += self.crc_start.eq(1)
                    m.next = "TYPE"
            with self._byte(m, "TYPE"):
                m.d.sync += classify.eq(byte == Request.CLASSIFY)
                self._check(m, (byte == Request.CLASSIFY) | (byte == Request.IDENTIFY), Fault.UNKNOWN_TYPE, "LENGTH_LOW")
            with self._byte(m, "LENGTH_LOW"):
                self._check(m, byte == length[:8], Fault.WRONG_LENGTH, "LENGTH_HIGH")
            with self._byte(m, "LENGTH_HIGH"):
                self._check(m, byte == length[8:], Fault.WRONG_LENGTH, "PAYLOAD")
                with m.If((byte == length[8:]) & ~classify):
                    m.next = "CRC_HIGH"
            self._pass_image(m, image_bytes, place)
            with self._byte(m, "CRC_HIGH"):
                m.next = "CRC_LOW"
            with self._byte(m, "CRC_LOW"):
                m.next = "CHECK"
            with m.State("CHECK"):
                self._check(m, self.crc == 0, Fault.WRONG_CRC, "REQUEST")
            self._give_up(m, image_bytes, place)
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "START"
        return m

    def _silence_timer(self, m: Module) -> Signal:
        """Returns whether no byte has come for so long."""
        bits = Signal(range(self._silence + 1))
        silent = Signal()
        m.d.comb += silent.eq(bits[-1])  # since the silence is a power of two
        with m.If(self.i.valid):
            m.d.sync += bits.eq(0)
        with m.Elif(self.tick & ~silent):
            m.d.sync += bits.eq(bits + 1)
        return silent

    @contextmanager
    def _byte(self, m: Module, name: str) -> Iterator[None]:
        """A state that waits for a byte; the body says what to do with it."""
        with m.State(name):
            with m.If(self.i.valid & self.i.payload.framing_error):
                self._fail(m, Fault.FRAMING)
            with m.Elif(self.i.valid):
                m.d.comb += self.crc_valid.eq(1)
                yield
            with m.Elif(self._silent):
                self._fail(m, Fault.SILENCE)

    def _check(self, m: Module, right: Value, fault: Fault, after: str) -> None:
        with m.If(right):
            m.next = after
        with m.Else():
            self._fail(m, fault)

    def _fail(self, m: Module, fault: Fault) -> None:
        m.d.sync += self._fault.eq(fault)
        m.next = "SKIP"

    def _image_bytes(self, m: Module) -> tuple[stream.Interface, Signal]:
        """Returns the stream that takes an image's bytes and zeros after them, and the place of the next one of these.

        The place is 0 if no image has begun, and if one is whole.
        """
        m.submodules.assembler = assembler = WordAssembler()
        connect(m, assembler.o, flipped(self.o))
        place = Signal(range(self._padded_bytes))
        with m.If(assembler.i.valid & assembler.i.ready):
            m.d.sync += [place.eq(Mux(place == self._padded_bytes - 1, 0, place + 1)), self._image.eq(1)]
        return assembler.i, place

    def _pass_image(self, m: Module, o: stream.Interface, place: Signal) -> None:
        """The states that pass an image's bytes on and put zeros behind them."""
        byte, last_byte = self.i.payload.byte, place == self._identity.image_bytes - 1
        padded = self._padded_bytes != self._identity.image_bytes
        used = self._identity.elements % 8 if self._identity.dtype == "bit" else 0  # bits of the last byte; 0 if all are
        with self._byte(m, "PAYLOAD"):
            m.d.comb += [o.valid.eq(1), o.payload.eq(Mux(last_byte, byte[:used], byte) if used else byte)]
            with m.If(~o.ready):
                self._fail(m, Fault.OVERRUN)
            with m.Elif(last_byte):
                m.next = "PAD" if padded else "CRC_HIGH"
        if padded:
            with m.State("PAD"):
                m.d.comb += o.valid.eq(place != 0)
                with m.If(self.i.valid):
                    self._fail(m, Fault.OVERRUN)
                with m.Elif(place == 0):
                    m.next = "CRC_HIGH"

    def _give_up(self, m: Module, o: stream.Interface, place: Signal) -> None:
        """The states after a fault, which fill up an image that has begun."""
        with m.State("SKIP"), m.If(self._silent):
            m.next = "FILL"
        with m.State("FILL"):
            m.d.comb += o.valid.eq(place != 0)
            with m.If(place == 0):
                m.next = "REQUEST"


class AnswerSender(Component):
    """Answers requests, one frame each; takes a request when the last byte of its answer is taken.

    The result of a faulty request's image is dropped.

    identity      : what it says of the board
    request       : stream of requests, as `RequestReceiver` gives them
    results       : stream of `result_layout`
    o             : stream of bytes
    crc_start, crc_valid : the CRC starts anew; it takes the byte
    crc           : of all bytes that it has taken, the cycle after
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        super().__init__(
            {
                "request": In(stream.Signature(_request_layout())),
                "results": In(stream.Signature(result_layout())),
                "o": Out(stream.Signature(8)),
                "crc_start": Out(1),
                "crc_valid": Out(1),
                "crc": In(CRC_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        identity, results = self._identity.payload, self.results
        place = Signal(range(HEADER_BYTES + len(identity)))  # in the frame; past the header of a result only modulo 4
        faulty = Signal()
        do_byte = Signal()
        m.d.comb += [faulty.eq(self.request.payload.fault != 0), do_byte.eq(self.o.valid & self.o.ready)]
        with m.If(do_byte):
            m.d.sync += place.eq(place + 1)
        with m.FSM(name="part"):
            with m.State("WAIT"):
                m.d.sync += place.eq(0)
                with m.If(self.request.valid):
                    m.next = "HEAD"
                    with m.If(faulty & self.request.payload.image):
                        m.next = "DROP"
            with m.State("DROP"):
                m.d.comb += results.ready.eq(1)
                with m.If(results.valid & results.payload.last):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += [self.o.valid.eq(1), self.crc_start.eq(place == 0), self.crc_valid.eq(do_byte & (place != 0))]
                with m.If(faulty):
                    self._constants(m, place, do_byte, [*header(Answer.FAULT, 1), self.request.payload.fault], "CRC_HIGH")
                with m.Elif(self.request.payload.image):
                    self._constants(m, place, do_byte, header(Answer.RESULT, self._identity.result_bytes), "RESULT")
                with m.Else():
                    self._constants(m, place, do_byte, [*header(Answer.IDENTITY, len(identity)), *identity], "CRC_HIGH")
            with m.State("RESULT"):
                last_byte = place[:2] == 3
                m.d.comb += [
                    self.o.valid.eq(results.valid),
                    self.o.payload.eq(results.payload.value.as_unsigned().word_select(place[:2], 8)),
                    self.crc_valid.eq(do_byte),
                    results.ready.eq(do_byte & last_byte),
                ]
                with m.If(do_byte & last_byte & results.payload.last):
                    m.next = "CRC_HIGH"
            with m.State("CRC_HIGH"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.crc[8:])]
                with m.If(do_byte):
                    m.next = "CRC_LOW"
            with m.State("CRC_LOW"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.crc[:8]), self.request.ready.eq(do_byte)]
                with m.If(do_byte):
                    m.next = "WAIT"
        return m

    def _constants(self, m: Module, place: Signal, do_byte: Signal, content: Sequence[ValueLike], after: str) -> None:
        """Sends the bytes of `content`, one at each place."""
        with m.Switch(place):
            for index, byte in enumerate(content):
                with m.Case(index):
                    m.d.comb += self.o.payload.eq(byte)
                    if index == len(content) - 1:
                        with m.If(do_byte):
                            m.next = after
