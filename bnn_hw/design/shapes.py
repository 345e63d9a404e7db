# SPDX-License-Identifier: Apache-2.0
"""The shapes that layers may have on a board, PE and SIMD of each: how large they are, and which cost the least.

How large a dot product is, is known when its circuit is made, which takes a while; a bound below that is known at once. So
circuits are made only of shapes that may fit the board and may be among the cheapest.
"""

from bisect import insort
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import takewhile
from math import isqrt, prod
from typing import Final

from bnn_hw.design.estimate import dot_resources, frame_resources, least_dot_luts, weights_resources
from bnn_hw.design.lower import divisors, engine_units, input_converts, input_lanes, pool_lanes, pool_units
from bnn_hw.design.memories import LANE_BITS
from bnn_hw.design.plan import LayerPlan
from bnn_hw.design.units import MatVec, Pool, Unit
from bnn_hw.fpga.boards import Board
from bnn_hw.fpga.memory_layout import bits_per_block_ram, block_rams, lut_ram_luts, lut_rom_luts
from bnn_hw.fpga.resources import Resources
from bnn_hw.network.network import Network, Signal, WeightLayer, pixel_channels, weight_layer

__all__ = ["BUDGET", "Shape", "Shapes"]

BUDGET: Final = 0.9  # the share of a board that a plan may fill by estimate; the rest is for the bus, DMA and routing
_CHEAPEST: Final = 12  # shapes of a layer that are looked at for a number of cycles


@dataclass(frozen=True)
class Shape:
    """A shape of a layer: what it takes with its weights in look-up tables, and what those take, there or in block RAM.

    `frame`: all of it but its dot products. `weight_parts`: of block RAMs. A pooling has no plan.
    """

    board: Board
    units: tuple[Unit, ...]  # the engine last, before it its window
    planned: LayerPlan | None
    frame: Resources
    weight_luts: int
    weight_parts: float

    @cached_property
    def engine(self) -> MatVec | Pool:
        """The unit that computes the layer."""
        engine = self.units[-1]
        assert isinstance(engine, MatVec | Pool)
        return engine

    @cached_property
    def lanes_in(self) -> int:
        """The elements of a word that it takes."""
        return self.engine.lanes if isinstance(self.engine, Pool) else self.engine.simd

    @cached_property
    def lanes_out(self) -> int:
        """The elements of a word that it gives."""
        return self.engine.lanes if isinstance(self.engine, Pool) else self.engine.pe

    @cached_property
    def dot_luts(self) -> int:
        """The look-up tables of its dot products, counted in their circuit, which is made for that."""
        engine, board = self.engine, self.board
        return dot_resources(engine.dot, engine.pe, board.family, board.levels).luts if isinstance(engine, MatVec) else 0

    @cached_property
    def least_dot_luts(self) -> int:
        """A lower bound of `dot_luts`, known without a circuit."""
        engine, board = self.engine, self.board
        return least_dot_luts(engine.dot, engine.pe, board.family, board.levels) if isinstance(engine, MatVec) else 0

    @cached_property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        return max(unit.cycles for unit in self.units)

    @cached_property
    def may_fit(self) -> bool:
        """Whether the board has room for it alone, wherever its weights lie, as far as that is known without a circuit."""
        engine, family = self.engine, self.board.family
        if isinstance(engine, Pool):
            return self.frame.fits(self.board, BUDGET)
        left = max(0, BUDGET * self.board.block_rams - self.frame.block_rams)
        held = int(left * bits_per_block_ram(family, engine.weight_words * (2 if engine.runtime_weights else 1)))
        all_luts, least_luts = (
            weights_resources(replace(engine, lut_bits=bits), family).luts
            for bits in (engine.lut_bits, max(0, engine.lut_bits - held))
        )
        luts = self.frame.luts + self.least_dot_luts - all_luts + least_luts
        return replace(self.frame, luts=luts).fits(self.board, BUDGET)

    def cost(self, price: float) -> float:
        """Returns what it costs in look-up tables, where a part of a block RAM costs `price` of them.

        A DSP costs as many as are the same share of the board.
        """
        return self._cost(price, self.dot_luts)

    def least_cost(self, price: float) -> float:
        """Returns a lower bound of `cost`, known without a circuit."""
        return self._cost(price, self.least_dot_luts)

    def _cost(self, price: float, dot_luts: int) -> float:
        board, luts = self.board, self.frame.luts + dot_luts
        parts = self.frame.block_rams * board.family.block_ram_parts
        saved = max(0, self.weight_luts - price * self.weight_parts)
        return luts + self.frame.dsps * board.luts // board.dsps + price * parts - saved

    def placed(self, price: float) -> LayerPlan | None:
        """Returns the plan with the weights where they cost less."""
        if self.planned is None:
            return None
        in_block_ram = price * self.weight_parts <= self.weight_luts
        return replace(self.planned, lut_bits=0 if in_block_ram else self.planned.pe * self.planned.simd)


class Shapes:
    """The shapes of a network's layers, by index. They are kept, since a search asks for the same many times."""

    def __init__(self, network: Network, board: Board, runtime_weights: bool) -> None:
        self._steps, self._input_lanes = network.steps, input_lanes(network)
        self._board, self._runtime_weights = board, runtime_weights
        self._shape = cache(self._new_shape)
        self.of = cache(self._of)
        self.pooling = cache(self._pooling)
        self.converter_luts = cache(self._converter_luts)

    def cheapest(self, index: int, cycles: int, price: float) -> list[Shape]:
        """Returns the shapes of the lowest cost; to those of the first layer belongs the converter from the input stream."""

        def converters(shape: Shape) -> int:
            return 0 if index else self.converter_luts(index, self._input_lanes, shape.lanes_in)

        shapes = self.of(index, cycles)
        bounds = [(shape.least_cost(price) + converters(shape), number) for number, shape in enumerate(shapes)]
        cheapest: list[tuple[float, int]] = []
        for bound, number in sorted(bounds):
            if len(cheapest) == _CHEAPEST and bound > cheapest[-1][0]:
                break
            insort(cheapest, (shapes[number].cost(price) + converters(shapes[number]), number))
            del cheapest[_CHEAPEST:]
        return [shapes[number] for _, number in cheapest]

    def weight_luts(self, words: int, bits: int) -> int:
        """Returns the look-up tables of weights that lie there."""
        family = self._board.family
        return lut_ram_luts(family, 2 * words, bits) if self._runtime_weights else lut_rom_luts(family, words, bits)

    def weight_block_rams(self, words: int, bits: int) -> float:
        """Returns the block RAMs of weights that lie there."""
        family = self._board.family
        if not self._runtime_weights:
            return block_rams(family, words, bits)
        lanes, rest = divmod(bits, LANE_BITS)
        lane, last = (block_rams(family, 2 * words, width, written=True) for width in (LANE_BITS, rest))
        return lanes * lane + last

    def _of(self, index: int, cycles: int) -> list[Shape]:
        """Returns the shapes of a layer that take at most `cycles` an image, or where none does, those that come near.

        For each SIMD it is the least PE with which the layer does, and the poolings right behind it, which take its words as
        they come; and the least with which its weights fill memories of a power of two of words. Those that cannot fit the
        board are left out, unless that holds for all.
        """
        step = self._steps[index]
        layer = weight_layer(step.layer)
        assert layer
        outputs = len(layer.weights)
        poolings = takewhile(lambda after: not weight_layer(after.layer), self._steps[index + 1 :])
        word_cycles = max((unit.cycles for pooling in poolings for unit in pool_units(pooling, outputs)), default=1)
        least_pe = -(-outputs // max(1, cycles // word_cycles))
        places = prod(step.output.shape[:-1])
        shapes = []
        for simd in _simd_choices(layer, step.input):
            for words in _depths(cycles // places):
                groups = words // -(-layer.weights[0].size // simd)
                if groups:
                    shapes.append(self._shape(index, LayerPlan(layer.name, max(-(-outputs // groups), least_pe), simd)))
        shapes = [shape for shape in shapes if shape.cycles <= cycles] or shapes
        return [shape for shape in shapes if shape.may_fit] or shapes

    def _new_shape(self, index: int, planned: LayerPlan) -> Shape:
        board, bits = self._board, planned.pe * planned.simd
        units = engine_units(self._steps[index], replace(planned, lut_bits=bits), runtime_weights=self._runtime_weights)
        engine = units[-1]
        assert isinstance(engine, MatVec)
        words = engine.weight_words
        parts = self.weight_block_rams(words, bits) * board.family.block_ram_parts
        return Shape(board, units, planned, self._frame(units), self.weight_luts(words, bits), parts)

    def _pooling(self, index: int, lanes: int) -> Shape:
        """Returns the shape of a pooling to which words of `lanes` elements come."""
        step = self._steps[index]
        units = pool_units(step, pool_lanes(step, lanes, first=index == 0), runtime_weights=self._runtime_weights)
        return Shape(self._board, units, None, self._frame(units), 0, 0)

    def _frame(self, units: tuple[Unit, ...]) -> Resources:
        """Returns what units take without their dot products."""
        return sum((frame_resources(unit, self._board.family) for unit in units), start=Resources())

    def _converter_luts(self, index: int, lanes: int, simd: int) -> int:
        """Returns the look-up tables of what makes words of `lanes` elements into those of `simd` that a layer takes."""
        converts = input_converts(self._steps[index], lanes, simd, first=index == 0)
        return sum(frame_resources(convert, self._board.family).luts for convert in converts)


def _depths(words: int) -> list[int]:
    """Returns a number of words, and the powers of two below it that are at least a quarter of it."""
    power = 1 << max(words, 1).bit_length() - 1
    return sorted({words, power, power // 2} - {0}, reverse=True)


def _simd_choices(layer: WeightLayer, signal: Signal) -> list[int]:
    """Returns the numbers of inputs a cycle that make sense for a layer.

    For a convolution the divisors of a pixel's channels and multiples of them, since its window reads pixel by pixel;
    else each number that is the least for its number of words, and the powers of two. 8-bit integers come in words of 8 at the
    input, so multiples of 8 cost less to make.
    """
    inputs = layer.weights[0].size
    channels = pixel_channels(layer)
    if channels:
        return sorted({*divisors(channels), *(channels * pixels for pixels in _least(inputs // channels))})
    least = _least(inputs)
    eights = {-(-count // 8) * 8 for count in least if count <= inputs // 8 * 8} if signal.dtype != "bit" else set()
    return sorted({*least, *eights, *(1 << power for power in range(inputs.bit_length()))})


def _least(count: int) -> set[int]:
    """Returns each number of lanes that is the least for its number of words."""
    few = range(1, isqrt(count) + 2)
    many = {-(-count // words) for words in few}
    return many | {-(-count // lanes) for lanes in many}
