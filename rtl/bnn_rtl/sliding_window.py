# SPDX-License-Identifier: Apache-2.0
"""The sliding window: images in, the words under each place of a window out."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.units import Window
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import memory_attributes

__all__ = ["SlidingWindow"]


@dataclass(frozen=True)
class _Loop:
    """One of the nested loops in which the words are read: an iteration count, and the stride in words, rows and columns."""

    count: int
    words: int
    rows: int
    columns: int


class SlidingWindow(Component):
    """Gives, for each place of a window on each image of its input stream, the words under the window.

    Places go row by row. At a place the words come row by row, column by column, and then word by word of a pixel; with
    `words_first` each word of a pixel for all rows and columns before the next word, as pooling wants them. Where the
    window reaches past the image the word is `padding`, or, if that is None, any with its highest bit, which is added, 1.

    Throughput: a word a cycle on both sides, without a bubble between places, rows or images: the next image comes in
    while the window is still on the present one. A line buffer in LUTs or block RAM holds ``window.buffer_words`` words.
    Latency: 2 cycles from a word to the first time that it is given. A word is given as soon as it is there, padding in
    front of an image's first word before the image comes.

    i : stream of words of `width` bits, ``rows * columns * words`` an image
    o : stream of words of `width` bits, and one more where pixels past the image are marked
    """

    def __init__(self, window: Window, width: int, family: Family, *, padding: int | None = 0, words_first: bool = False) -> None:
        self._window, self._width, self._family = window, width, family
        self._pads = any(window.padding)
        self._marks = self._pads and padding is None
        self._padding = padding
        line = window.columns * window.words
        places = (
            _Loop(window.places[0], window.stride[0] * line, window.stride[0], 0),
            _Loop(window.places[1], window.stride[1] * window.words, 0, window.stride[1]),
        )
        taps = (_Loop(window.kernel[0], line, 1, 0), _Loop(window.kernel[1], window.words, 0, 1))
        pixel = (_Loop(window.words, 1, 0, 0),)
        self._loops = (*places, *(pixel + taps if words_first else taps + pixel))
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width + self._marks))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        window, depth = self._window, self._window.buffer_words
        line = window.columns * window.words
        attrs = memory_attributes(self._family, depth, self._width)
        m.submodules.buffer = buffer = Memory(shape=self._width, depth=depth, init=[], attrs=attrs)
        write = buffer.write_port()
        read = buffer.read_port()

        # Places in the stream of words, of which the lowest bits are the address, wide enough to tell before from after: the
        # buffer is deeper than the padding above and `rows_past` together, so none is further from another than this.
        bits = (2 * (depth + max(self._loops[0].words, line * (window.rows + 1)))).bit_length() + 1
        written = Signal(bits)
        reading = Signal(bits, init=-(window.padding[0] * line + window.padding[2] * window.words) % (1 << bits))
        # The words from the first that is still needed, less those that the buffer has room for. Its sign is `ready`, from a
        # register, so that no path goes from the counters through what is in front. Rows of places past the image take the
        # first word that is needed into the next image, which is needed from its own first word on.
        room = depth - window.rows_past * line
        excess = Signal(range(-depth - self._loops[0].words, 1), init=window.padding[0] * line - room)
        do_write = Signal()
        do_read = Signal()
        present = Signal()
        last_turn = self._count(m, do_read)

        m.d.comb += [
            self.i.ready.eq(excess < 0),
            do_write.eq(self.i.valid & self.i.ready),
            write.addr.eq(written),
            write.data.eq(self.i.payload),
            write.en.eq(do_write),
            present.eq((reading - written)[:bits].as_signed() < 0),
            read.addr.eq(reading),
            read.en.eq(do_read),
        ]
        m.d.sync += [
            written.eq(written + do_write),
            excess.eq(excess + do_write),
        ]

        image = _Loop(1, window.rows * line, 0, 0)
        with m.If(do_read):
            m.d.sync += reading.eq(reading + self._step(last_turn, image, "words"))
            with m.If(Cat(last_turn[1:]).all()):  # a row of places is done
                places = self._loops[0]
                freed = Mux(last_turn[0], image.words - (places.count - 1) * places.words, places.words)
                m.d.sync += excess.eq(excess + do_write - freed)
        padded = self._past_image(m, do_read, last_turn, image) if self._pads else Signal()
        self._give(m, do_read, padded, present, read.data)
        return m

    def _past_image(self, m: Module, do_read: Signal, last_turn: list[Signal], image: _Loop) -> Signal:
        """Returns whether the next word lies in the padding."""
        above, below, left, right = self._window.padding
        rows, columns = self._window.rows, self._window.columns
        row = Signal(range(-above, rows + below + 1), init=-above)
        column = Signal(range(-left, columns + right + 1), init=-left)
        padded = Signal()
        m.d.comb += padded.eq((row < 0) | (row >= rows) | (column < 0) | (column >= columns))
        with m.If(do_read):
            m.d.sync += [
                row.eq(row + self._step(last_turn, image, "rows")),
                column.eq(column + self._step(last_turn, image, "columns")),
            ]
        return padded

    def _give(self, m: Module, do_read: Signal, padded: Signal, present: Signal, word: Value) -> None:
        """Reads when a word is there to be read and given, and gives the `word` that was read, or padding."""
        valid = Signal()
        marked = Signal()
        m.d.comb += [
            do_read.eq((padded | present) & (~valid | self.o.ready)),
            self.o.valid.eq(valid),
        ]
        with m.If(do_read):
            m.d.sync += [
                valid.eq(1),
                marked.eq(padded),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        if self._marks:
            m.d.comb += self.o.payload.eq(Cat(word, marked))
        elif self._pads:
            m.d.comb += self.o.payload.eq(Mux(marked, Const(self._padding, self._width), word))
        else:
            m.d.comb += self.o.payload.eq(word)

    def _count(self, m: Module, do_read: Signal) -> list[Signal]:
        """Counts the loops' turns; returns for each loop, outermost first, whether it is in its last turn."""
        last_turn: list[Signal] = []
        for depth, loop in reversed(list(enumerate(self._loops))):
            last = Signal(name=f"last{depth}")
            if loop.count == 1:
                m.d.comb += last.eq(1)
            else:
                turn = Signal(range(loop.count), name=f"turn{depth}")
                m.d.comb += last.eq(turn == loop.count - 1)
                with m.If(do_read & Cat(last_turn).all()):
                    m.d.sync += turn.eq(Mux(last, 0, turn + 1))
            last_turn.insert(0, last)
        return last_turn

    def _step(self, last_turn: list[Signal], image: _Loop, field: str) -> Value:
        """Returns how far the next word is: the next turn of the innermost loop that has one, or else the next image."""

        def past(outer: int) -> int:
            """Returns how far the loops within `outer` have gone when they end."""
            return sum((loop.count - 1) * getattr(loop, field) for loop in self._loops[outer + 1 :])

        step = Value.cast(getattr(image, field) - past(-1))
        for index, (last, loop) in enumerate(zip(last_turn, self._loops, strict=True)):
            step = Mux(last, step, getattr(loop, field) - past(index))
        return step
