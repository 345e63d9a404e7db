# SPDX-License-Identifier: Apache-2.0
"""The matrix-vector unit: the engine of every layer with weights."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from bnn_hw.design.names import module_beside
from bnn_hw.fpga.circuit import LUT_INPUTS
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import memory_attributes
from bnn_rtl.banked_memory import BankedMemory
from bnn_rtl.dot_product import DotProduct
from bnn_rtl.finish import Finish
from bnn_rtl.group_memory import group_address
from bnn_rtl.lut_rom import LutRom, lut_rom, read_rom

__all__ = ["MatrixVectorUnit"]


class MatrixVectorUnit(Component):
    """Multiplies a matrix of binary weights with each vector of its input stream, `pe` rows and `simd` columns a cycle.

    A vector comes as ``SF = ceil(inputs/simd)`` words and leaves as ``NF = ceil(outputs/pe)`` words, one for each group
    of `pe` outputs, as `finish` makes them of the sums.

    Initiation interval: ``NF * SF`` cycles a vector, without a bubble between vectors: the input buffer takes the next
    vector while the present one is replayed for each group.
    Latency: ``SF + 3`` cycles and those of the dot product and of `finish`, from the first input word to the first
    output word, and 1 more on families with look-up tables of less than 6 inputs.
    Back-pressure: the pipeline never stops; the last word of a group is issued only when the output buffer is sure to
    have room for the result.

    i : stream of words of `simd` elements as `dot` takes them, lane 0 lowest; lanes past the vector's end must be 0
    o : stream of the words that `finish` makes

    `name`: of the layer. `dot`: the dot product of `simd` lanes; the unit holds `pe` instances. `weights`: as
    integers of the rows of `bnn_hw.design.memories.weight_rows`; the highest `lut_bits` of each word are held in look-up tables,
    the others in block RAM. `banks`: by what they hold, memories that take the place of these and of where sums start.
    """

    def __init__(
        self,
        name: str,
        dot: DotProduct,
        weights: Sequence[int],
        family: Family,
        *,
        inputs: int,
        outputs: int,
        pe: int,
        finish: Finish,
        lut_bits: int = 0,
        banks: Mapping[str, BankedMemory] = MappingProxyType({}),
    ) -> None:
        self._dot, self._weights, self._family, self._finish = dot, weights, family, finish
        self._pe, self._simd = pe, len(dot.w)
        self._neuron_groups, self._input_words = -(-outputs // pe), -(-inputs // self._simd)
        self._block_bits = pe * self._simd - lut_bits
        # A block RAM of the families with small look-up tables takes half a cycle to read.
        self._read_latency = 1 if family.lut_inputs == LUT_INPUTS else 2
        layout = finish.sums.shape()
        starts = [layout.const(group).as_value().value for group in finish.starts]
        lut_words = [word >> self._block_bits for word in weights]
        self._lut_weights = banks.get("lut_weights") or lut_rom(module_beside(f"weights_{name}"), lut_bits, lut_words)
        self._starts = banks.get("starts") or lut_rom(module_beside(f"starts_{name}"), layout.size, starts)
        self._block_weights = banks.get("weights")
        depth = self._read_latency + dot.latency + finish.latency + 4  # in cycles from the last input word to a result
        self._results = -(-depth // self._input_words) + 1  # that the output buffer holds
        super().__init__(
            {
                "i": In(stream.Signature(len(dot.x))),
                "o": Out(stream.Signature(len(finish.o))),
            }
        )

    @property
    def parts(self) -> list[DotProduct | LutRom]:
        """The components that the unit holds instances of; their Verilog is emitted beside its own."""
        roms = (rom for rom in (self._lut_weights, self._starts) if isinstance(rom, LutRom))
        return [self._dot, *roms, *self._finish.parts]

    @property
    def vectors_held(self) -> int:
        """The most vectors of which the unit can hold words at a time."""
        return 2 + self._results

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.finish = self._finish
        depth = self._results
        m.submodules.results = results = SyncFIFO(width=len(self._finish.o), depth=depth)

        issue = Signal()
        first_word = Signal()
        last_word = Signal()
        room = Signal(range(depth + 1), init=depth)  # results that the output buffer can still take
        take = Signal()
        spend = Signal()
        m.d.comb += [take.eq(results.r_en & results.r_rdy), spend.eq(issue & last_word)]
        m.d.sync += room.eq(room + take - spend)

        x, word_ready = self._input_buffer(m, issue, first_word, last_word)
        m.d.comb += issue.eq(word_ready & (~last_word | (room != 0)))
        w = self._weight_memory(m, issue)
        for cycle in range(1, self._read_latency):
            x, w = _registered(m, f"x{cycle}", x), _registered(m, f"w{cycle}", w)
        done, sums = self._accumulate(m, x, w, issue, first_word, last_word)

        m.d.comb += [
            self._finish.i_valid.eq(done),
            self._finish.sums.eq(sums),
            results.w_en.eq(self._finish.o_valid),
            results.w_data.eq(self._finish.o),
            self.o.valid.eq(results.r_rdy),
            self.o.payload.eq(results.r_data),
            results.r_en.eq(self.o.ready),
        ]
        return m

    def _input_buffer(self, m: Module, issue: Signal, first_word: Signal, last_word: Signal) -> tuple[Signal, Signal]:
        """Holds two vectors and replays each NF times; returns the word issued a cycle ago, and whether one is there."""
        words = self._input_words
        depth = 2 * words if self._neuron_groups > 1 else 2
        width = len(self.i.payload)
        attrs = memory_attributes(self._family, depth, width)
        buffer = m.submodules.buffer = Memory(shape=width, depth=depth, init=[], attrs=attrs)
        write = buffer.write_port()
        read = buffer.read_port()
        synapse = Signal(range(words))
        neuron = Signal(range(self._neuron_groups))
        first_pass = Signal()
        last_pass = Signal()
        m.d.comb += [
            first_word.eq(synapse == 0),
            last_word.eq(synapse == words - 1),
            first_pass.eq(neuron == 0),
            last_pass.eq(neuron == self._neuron_groups - 1),
        ]
        with m.If(issue):
            m.d.sync += synapse.eq(Mux(last_word, 0, synapse + 1))
            with m.If(last_word):
                m.d.sync += neuron.eq(Mux(last_pass, 0, neuron + 1))

        free = Signal(range(depth + 1), init=depth)
        free_after = Signal.like(free)
        some_free = Signal(init=1)  # a register of its own, so that no path goes from the counter through what is in front
        unread = Signal(range(depth + 1))
        do_write = Signal()
        m.d.comb += [
            self.i.ready.eq(some_free),
            do_write.eq(self.i.valid & self.i.ready),
            free_after.eq(free - do_write + (issue & last_pass)),
        ]
        m.d.sync += [
            free.eq(free_after),
            some_free.eq(free_after != 0),
            unread.eq(unread + do_write - (issue & first_pass)),
        ]

        write_at = Signal(range(depth))
        read_at = Signal(range(depth))
        vector_at = Signal(range(depth))
        after_read = Signal(range(depth))
        m.d.comb += after_read.eq(Mux(read_at == depth - 1, 0, read_at + 1))
        with m.If(do_write):
            m.d.sync += write_at.eq(Mux(write_at == depth - 1, 0, write_at + 1))
        with m.If(issue):
            m.d.sync += read_at.eq(Mux(last_word & ~last_pass, vector_at, after_read))
            with m.If(last_word & last_pass):
                m.d.sync += vector_at.eq(after_read)
        m.d.comb += [write.addr.eq(write_at), write.data.eq(self.i.payload), write.en.eq(do_write), read.addr.eq(read_at)]
        return read.data, ~first_pass | (unread != 0)

    def _weight_memory(self, m: Module, issue: Signal) -> Value:
        """Returns the weights of the word issued a cycle ago."""
        address = Signal(range(len(self._weights)))
        with m.If(issue):
            m.d.sync += address.eq(Mux(address == len(self._weights) - 1, 0, address + 1))
        low = Value.cast(0)[:0]
        if self._block_weights:
            low = read_rom(m, "weights", self._block_weights, address)
        elif self._block_bits:
            words = [word & (1 << self._block_bits) - 1 for word in self._weights]
            memory = m.submodules.weights = Memory(
                shape=self._block_bits, depth=len(words), init=words, attrs={"ram_style": "block"}
            )
            read = memory.read_port()
            m.d.comb += read.addr.eq(address)
            low = read.data
        return Cat(low, read_rom(m, "lut_weights", self._lut_weights, address))

    def _accumulate(
        self, m: Module, x: Signal, w: Value, issue: Signal, first_word: Signal, last_word: Signal
    ) -> tuple[Signal, data.View]:
        """Returns the finished sums of a group, and when they are."""
        latency = self._read_latency + self._dot.latency
        valid = Signal(latency)
        first = Signal(latency)
        last = Signal(latency)
        m.d.sync += [
            Cat(valid).eq(Cat(issue, valid)),
            Cat(first).eq(Cat(first_word, first)),
            Cat(last).eq(Cat(last_word, last)),
        ]
        layout = self._finish.sums.shape()
        sums = Signal(layout)
        done = Signal()
        m.d.sync += done.eq(valid[-1] & last[-1])
        group = group_address(m, self._neuron_groups, valid[-1] & last[-1])
        starts = layout(read_rom(m, "starts", self._starts, group))
        for index, lane_weights in enumerate(w[at : at + self._simd] for at in range(0, len(w), self._simd)):
            partial = Signal(self._dot.o.shape(), name=f"partial{index}")
            m.submodules[f"dot{index}"] = Instance(
                self._dot.module, i_clk=ClockSignal(), i_rst=ResetSignal(), i_x=x, i_w=lane_weights, o_o=partial
            )
            with m.If(valid[-1]):
                m.d.sync += sums[index].eq(partial + Mux(first[-1], starts[index], sums[index]))
        return done, sums


def _registered(m: Module, name: str, value: Value) -> Signal:
    """Returns a value a cycle later, from a register without a reset."""
    register = Signal(len(value), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
