# SPDX-License-Identifier: Apache-2.0
"""The search for a plan: the fastest that a board has room for, or the cheapest that reaches a rate.

For a number of cycles an image, each layer has a few shapes (PE and SIMD) that keep to it. Block RAM has a price in look-up
tables; at a price, dynamic programming over the layers finds the shapes of the lowest cost, with the converters between
them, and each layer's weights lie where they cost less. The price is moved until what is chosen fits the board.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import takewhile
from typing import Final

from bnn_hw.boards import Board
from bnn_hw.engine_memory import LANE_BITS
from bnn_hw.errors import ArtefactError
from bnn_hw.estimate import Resources, conversion_resources, engine_resources
from bnn_hw.memory import block_rams, lut_ram_luts, lut_rom_luts
from bnn_hw.network import Conv, MaxPool, Network, Signal, WeightLayer, element_bits
from bnn_hw.plan import LayerPlan, Plan, weight_layers
from bnn_hw.stage import Stage, divisors, engine_cycles, input_cycles, input_lanes, next_stage

__all__ = ["BUDGET", "find_plan", "limits"]

BUDGET: Final = 0.9  # the share of a board that a plan may fill by estimate; the rest is for the bus, DMA and routing
_FULL: Final = 0.95  # of the budget
_SHAPES: Final = 12  # of a layer that are looked at for a number of cycles: the cheapest ones
_DEAREST: Final = 16  # times the first price of a block RAM is the highest that is tried
_HALVINGS: Final = 10  # of the range in which the price is searched
_MOST_CYCLES: Final = 1e15  # that a rate leaves for an image
_LATE: Final = 1e6  # what a cycle too many costs in look-up tables


def find_plan(network: Network, board: Board, fps: float | None = None, *, runtime_weights: bool = False) -> Plan:
    """Returns the cheapest plan that reaches `fps`, or without it the fastest that `board` has room for.

    What a plan costs is the shares of the board's look-up tables, block RAM and DSPs that it fills, added up. It has room
    when it fills at most 90 % of each by estimate. Raises `ArtefactError` when there is none, saying by how much and what is
    possible.
    """
    search = _Search(network, board, runtime_weights)
    least = _fully_parallel(network).cycles(network)
    if fps is None:
        return search.fastest(least)
    if not fps > 0:
        raise ArtefactError(f"the rate must be above 0 images/s, not {fps}")
    cycles = int(min(board.clock_mhz * 1e6 / fps, _MOST_CYCLES))
    if cycles < least:
        raise ArtefactError(
            f"{fps:,.0f} images/s at {board.clock_mhz} MHz leaves {cycles} cycles an image, but {_slowest(network)} "
            f"take {least}; at most {int(board.clock_mhz * 1e6 / least):,} images/s is possible"
        )
    found = search.cheapest(cycles)
    if found.fits:
        return found.plan
    fastest = search.fastest(least)
    if fastest.cycles(network) <= cycles:
        return fastest
    raise ArtefactError(
        f"{fps:,.0f} images/s take {_need(found.plan, network, board)}; a plan may fill {BUDGET:.0%} of a board: ask for at most "
        f"{int(board.clock_mhz * 1e6 / fastest.cycles(network)):,} images/s"
    )


def limits(plan: Plan, network: Network, board: Board) -> str:
    """Returns in words what keeps a plan from being faster, and what would help."""
    cycles = plan.cycles(network)
    if cycles <= _fully_parallel(network).cycles(network):
        return f"{_slowest(network)} take {cycles:,} cycles; no plan is faster"
    slowest = [stage.step.layer.name for stage in plan.stages(network) if stage.cycles == cycles]
    shares = _shares(plan, network, board)
    full = [f"{share:.0%} of {kind}" for kind, share in shares.items() if share > _FULL * BUDGET]
    if full:
        return f"{' and '.join(full)}, of which {BUDGET:.0%} may be filled; a board with more of it would be faster"
    return f"{cycles:,} cycles of {', '.join(slowest)}; more PE or SIMD there would be faster"


def _fields(plan: Plan, board: Board) -> dict[str, str]:
    """Returns what a board has of which a plan takes a share: the field of each kind of cells."""
    fields = {"LUT": "luts", board.family.block_ram: "block_rams", "DSP": "dsps"}
    return fields | {"LUT RAM": "lut_ram"} if plan.runtime_weights and board.lut_ram else fields


def _shares(plan: Plan, network: Network, board: Board) -> dict[str, float]:
    """Returns what share of the board each kind of cells takes."""
    need = plan.resources(network)
    return {kind: getattr(need, field) / getattr(board, field) for kind, field in _fields(plan, board).items()}


def _need(plan: Plan, network: Network, board: Board) -> str:
    """Returns what a plan needs beside what the board has, and which layer takes most of what is short."""
    need = plan.resources(network)
    fields = _fields(plan, board)
    amounts = [f"about {getattr(need, field):,.15g} {kind} of {getattr(board, field):,}" for kind, field in fields.items()]
    shares = _shares(plan, network, board)
    short = fields[max(shares, key=lambda kind: shares[kind])]
    estimates = plan.estimates(network)
    most = max(estimates, key=lambda name: getattr(estimates[name], short))
    return f"{', '.join(amounts)} on {board.name}, layer {most} the most"


def _fully_parallel(network: Network) -> Plan:
    """Returns the plan that computes a place in a cycle, if the window keeps up; no plan is faster."""
    return Plan(tuple(LayerPlan(layer.name, len(layer.weights), layer.weights[0].size) for layer in weight_layers(network)))


def _slowest(network: Network) -> str:
    """Returns what bounds the speed of a network, whatever its plan."""
    parallel = _fully_parallel(network)
    slowest = max(parallel.stages(network), key=lambda stage: stage.cycles)
    if slowest.cycles > max(input_cycles(network), network.classes + 1):
        return f"the pixels that the window of layer {slowest.step.layer.name} reads, one a cycle,"
    return "input and output streams"


@dataclass(frozen=True)
class _Found:
    plan: Plan
    share: float  # of the board, of the kind of cells that it fills most
    in_time: bool

    @property
    def fits(self) -> bool:
        """Whether there is room for it, and it keeps to the cycles."""
        return self.in_time and self.share <= BUDGET


@dataclass(frozen=True)
class _Shape:
    """A shape of a layer: what it takes with its weights in look-up tables, and what those take, there or in block RAM.

    Block RAM counts in parts. A pooling has no plan.
    """

    planned: LayerPlan | None
    need: Resources
    cycles: int
    weight_luts: int
    weight_parts: float

    def cost(self, price: float) -> float:
        """Returns the look-up tables that it costs where a part of a block RAM costs so many."""
        saved = max(0, self.weight_luts - price * self.weight_parts)
        return self.need.luts + price * self.need.block_rams - saved

    def placed(self, price: float) -> LayerPlan | None:
        """Returns the plan with the weights where they cost less."""
        if self.planned is None:
            return None
        in_block_ram = price * self.weight_parts <= self.weight_luts
        return replace(self.planned, lut_bits=0 if in_block_ram else self.planned.pe * self.planned.simd)


@dataclass(frozen=True)
class _Way:
    """The cheapest way to a stage that gives words of some lanes: its cost, and the layers' plans up to it."""

    cost: float
    layers: tuple[LayerPlan, ...]


class _Search:
    """Plans for a network on a board. What a shape of a layer takes is kept, since many searches ask for the same."""

    def __init__(self, network: Network, board: Board, runtime_weights: bool) -> None:
        self._network, self._board, self._runtime_weights = network, board, runtime_weights
        self._steps = list(network.steps())
        self._shape = cache(self._new_shape)
        self._shapes = cache(self._new_shapes)
        self._pooling = cache(self._new_pooling)

    def fastest(self, least: int) -> Plan:
        """Returns the plan of the fewest cycles, `least` or more, that has room. Raises `ArtefactError` when none has."""
        serial = self._plan(LayerPlan(layer.name, 1, 1) for layer in weight_layers(self._network))
        slow = serial.cycles(self._network)
        found = self.cheapest(slow)
        if not found.fits:
            raise ArtefactError(
                f"{self._network.name} does not fit {self._board.name} even at one weight a cycle: it takes "
                f"{_need(found.plan, self._network, self._board)}; a plan may fill {BUDGET:.0%} of a board: take a larger board "
                "or a smaller network" + (", or no run-time weights, which are held twice" if self._runtime_weights else "")
            )
        low = least - 1  # no plan has so few cycles
        while slow - low > 1:
            middle = min(max(round((max(low, 1) * slow) ** 0.5), low + 1), slow - 1)
            attempt = self.cheapest(middle)
            if attempt.fits:
                found, slow = attempt, attempt.plan.cycles(self._network)
            else:
                low = middle
        return found.plan

    def cheapest(self, cycles: int) -> _Found:
        """Returns the cheapest plan of at most so many cycles an image that fits, or where none does, one that comes near to it."""
        tries: list[_Found] = []
        for found in self._tries(cycles):
            if found.fits:
                return found
            tries.append(found)
        return min(tries, key=lambda found: (not found.in_time, found.share))

    def _tries(self, cycles: int) -> Iterator[_Found]:
        """Yields plans of at most so many cycles an image: the cheapest, then others towards where all kinds are filled alike."""
        board = self._board
        # Of a part of a block RAM in look-up tables: the same share of the board costs the same.
        price = board.luts / (board.block_rams * board.family.block_ram_parts)
        low, high = 0.0, _DEAREST * price
        for _ in range(_HALVINGS):
            plan = self._at_price(cycles, price)
            yield self._found(plan, cycles)
            yield self._found(self._filled(plan), cycles)
            shares = _shares(plan, self._network, board)
            dearer = shares[board.family.block_ram] > max(shares["LUT"], shares.get("LUT RAM", 0))
            low, high = (price, high) if dearer else (low, price)
            price = (low * high) ** 0.5 if low else high / 4

    def _filled(self, plan: Plan) -> Plan:
        """Returns the plan with as many weights in block RAM as there is room for, the deepest memories first."""
        shapes = {stage.step.layer.name: stage for stage in plan.stages(self._network)}
        layers = {layer.name: replace(layer, lut_bits=layer.pe * layer.simd) for layer in plan.layers}
        bare = self._plan(layers.values())
        left = BUDGET * self._board.block_rams - bare.resources(self._network).block_rams
        for name in sorted(layers, key=lambda name: -self._luts(shapes[name].words, 1)):
            bits, words = layers[name].lut_bits, shapes[name].words
            taken = bisect_right(range(1, bits + 1), left, key=lambda taken: self._block_rams(words, taken))
            left -= self._block_rams(words, taken)
            layers[name] = replace(layers[name], lut_bits=bits - taken)
        return self._plan(layers.values())

    def _plan(self, layers: Iterable[LayerPlan]) -> Plan:
        return Plan(tuple(layers), self._board.family, self._board.levels, self._runtime_weights)

    def _at_price(self, cycles: int, price: float) -> Plan:
        """Returns the cheapest plan where a part of a block RAM costs so many look-up tables."""
        ways = {input_lanes(self._network): _Way(0, ())}
        for index, step in enumerate(self._steps):
            after: dict[int, _Way] = {}
            for lanes, way in ways.items():
                pooling = isinstance(step.layer, MaxPool)
                for shape in [self._pooling(index, lanes)] if pooling else self._cheapest_shapes(index, cycles, price):
                    planned = shape.placed(price)
                    stage = next_stage(step, lanes, planned, first=index == 0)
                    cost = way.cost + shape.cost(price) + _converter_luts(stage) + _LATE * max(0, shape.cycles - cycles)
                    if stage.pe not in after or cost < after[stage.pe].cost:
                        after[stage.pe] = _Way(cost, (*way.layers, planned) if planned else way.layers)
            ways = after
        best = min(ways.values(), key=lambda way: way.cost)
        return self._plan(best.layers)

    def _found(self, plan: Plan, cycles: int) -> _Found:
        share = max(_shares(plan, self._network, self._board).values())
        return _Found(plan, share, plan.cycles(self._network) <= cycles)

    def _cheapest_shapes(self, index: int, cycles: int, price: float) -> list[_Shape]:
        """Returns the shapes of the lowest cost; to those of the first layer belongs the converter from the input stream."""
        lanes, step = input_lanes(self._network), self._steps[index]

        def cost(shape: _Shape) -> float:
            converters = 0 if index else _converter_luts(next_stage(step, lanes, shape.planned, first=True))
            return shape.cost(price) + converters

        return sorted(self._shapes(index, cycles), key=cost)[:_SHAPES]

    def _new_shapes(self, index: int, cycles: int) -> list[_Shape]:
        """Returns the shapes of a layer that keep to so many cycles an image, or where none does, those that come near.

        For each SIMD it is the least PE with which the layer does, and the poolings right behind it, which take its words as
        they come; and the least with which its weights fill memories of a power of two of words.
        """
        step = self._steps[index]
        layer = step.layer
        assert not isinstance(layer, MaxPool)
        outputs = len(layer.weights)
        poolings = takewhile(lambda after: isinstance(after.layer, MaxPool), self._steps[index + 1 :])
        word_cycles = max((next_stage(pooling, outputs, None, first=False).cycles for pooling in poolings), default=1)
        least_pe = -(-outputs // max(1, cycles // word_cycles))
        places = next_stage(step, 1, LayerPlan(layer.name, 1, 1), first=index == 0).places
        shapes = []
        for simd in _simd_choices(layer, self._steps[index].input):
            for words in _depths(cycles // places):
                neuron_folds = words // engine_cycles(layer, outputs, simd)
                if neuron_folds:
                    shapes.append(self._shape(index, LayerPlan(layer.name, max(-(-outputs // neuron_folds), least_pe), simd)))
        in_time = [shape for shape in shapes if shape.cycles <= cycles]
        return in_time or shapes

    def _new_shape(self, index: int, planned: LayerPlan) -> _Shape:
        board = self._board
        bits = planned.pe * planned.simd
        stage = next_stage(
            *(self._steps[index], planned.simd, replace(planned, lut_bits=bits)),
            first=index == 0,
            runtime_weights=self._runtime_weights,
        )
        need = engine_resources(stage, board.family, board.levels)
        parts = self._block_rams(stage.words, bits) * board.family.block_ram_parts
        return _Shape(planned, self._priced(need), stage.cycles, self._luts(stage.words, bits), parts)

    def _luts(self, words: int, bits: int) -> int:
        """Returns the look-up tables of weights that lie there."""
        family = self._board.family
        return lut_ram_luts(family, 2 * words, bits) if self._runtime_weights else lut_rom_luts(family, words, bits)

    def _block_rams(self, words: int, bits: int) -> float:
        """Returns the block RAMs of weights that lie there."""
        family = self._board.family
        if not self._runtime_weights:
            return block_rams(family, words, bits)
        lanes, rest = divmod(bits, LANE_BITS)
        lane, last = (block_rams(family, 2 * words, width, written=True) for width in (LANE_BITS, rest))
        return lanes * lane + last

    def _new_pooling(self, index: int, lanes: int) -> _Shape:
        stage = next_stage(self._steps[index], lanes, None, first=index == 0, runtime_weights=self._runtime_weights)
        need = engine_resources(stage, self._board.family, self._board.levels)
        return _Shape(None, self._priced(need), stage.cycles, 0, 0)

    def _priced(self, need: Resources) -> Resources:
        """Returns an amount with the DSPs as look-up tables of which there is the same share on the board."""
        board = self._board
        return replace(
            need, luts=need.luts + need.dsps * board.luts // board.dsps, block_rams=need.block_rams * board.family.block_ram_parts
        )


def _converter_luts(stage: Stage) -> int:
    bits = element_bits(stage.step.input)
    return sum(conversion_resources(conversion, bits).luts for conversion in stage.conversions)


def _depths(words: int) -> list[int]:
    """Returns a number of words, and the powers of two below it that are at least a quarter of it."""
    power = 1 << max(words, 1).bit_length() - 1
    return sorted({words, power, power // 2} - {0}, reverse=True)


def _simd_choices(layer: WeightLayer, signal: Signal) -> list[int]:
    """Returns the numbers of inputs a cycle that make sense for a layer.

    For a convolution the divisors of a pixel's channels and multiples of them, since its window reads pixel by pixel;
    else each number that is the least for its number of words, and the powers of two. 8-bit integers come in words of 8 at the
    input, of which multiples cost less to make.
    """
    inputs = layer.weights[0].size
    if isinstance(layer, Conv):
        channels = layer.weights.shape[3]
        return sorted({*divisors(channels), *(channels * pixels for pixels in _least(inputs // channels))})
    least = _least(inputs)
    eights = {-(-count // 8) * 8 for count in least if count <= inputs // 8 * 8} if signal.dtype != "bit" else set()
    return sorted({*least, *eights, *(1 << power for power in range(inputs.bit_length()))})


def _least(count: int) -> set[int]:
    """Returns each number of lanes that is the least for its number of words."""
    return {-(-count // words) for words in range(1, count + 1)}
