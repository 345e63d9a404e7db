# SPDX-License-Identifier: Apache-2.0
"""The search for a plan: the fastest that a board has room for, or the cheapest that reaches a rate.

For a number of cycles an image, each layer has a few shapes (PE and SIMD) that keep to it. Block RAM has a price in look-up
tables; at a price, dynamic programming over the layers finds the shapes of the lowest cost, with the converters between
them, and each layer's weights lie where they cost less. The price is moved until what is chosen fits the board.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from bnn_hw.design.estimate import design_resources, estimates
from bnn_hw.design.lower import Design, input_cycles, input_lanes, lower
from bnn_hw.design.plan import LayerPlan, Plan, weight_layers
from bnn_hw.design.shapes import BUDGET, Shape, Shapes
from bnn_hw.design.units import MatVec
from bnn_hw.errors import ArtefactError
from bnn_hw.fpga.boards import Board
from bnn_hw.network.network import Network, weight_layer

__all__ = ["BUDGET", "find_plan", "limits"]

_FULL: Final = 0.95  # of the budget
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
    least = _fully_parallel(network).cycles
    if fps is None:
        return search.fastest(least).plan
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
        return found.design.plan
    fastest = search.fastest(least)
    if fastest.cycles <= cycles:
        return fastest.plan
    raise ArtefactError(
        f"{fps:,.0f} images/s take {_need(found.design, board)}; a plan may fill {BUDGET:.0%} of a board: ask for at most "
        f"{int(board.clock_mhz * 1e6 / fastest.cycles):,} images/s"
    )


def limits(design: Design, board: Board) -> str:
    """Returns in words what keeps a design from being faster, and what would help."""
    cycles = design.cycles
    if cycles <= _fully_parallel(design.network).cycles:
        return f"{_slowest(design.network)} take {cycles:,} cycles; no plan is faster"
    slowest = [layer.name for layer in design.network.layers if design.layer_cycles(layer.name) == cycles]
    shares = _shares(design, board)
    full = [f"{share:.0%} of {kind}" for kind, share in shares.items() if share > _FULL * BUDGET]
    if full:
        return f"{' and '.join(full)}, of which {BUDGET:.0%} may be filled; a board with more of it would be faster"
    return f"{cycles:,} cycles of {', '.join(slowest)}; more PE or SIMD there would be faster"


def _fields(plan: Plan, board: Board) -> dict[str, str]:
    """Returns the kinds of cells that a plan takes a share of, each with the board's field."""
    fields = {"LUT": "luts", board.family.block_ram: "block_rams", "DSP": "dsps"}
    return fields | {"LUT RAM": "lut_ram"} if plan.runtime_weights and board.lut_ram else fields


def _shares(design: Design, board: Board) -> dict[str, float]:
    """Returns what share of the board each kind of cells takes."""
    need = design_resources(design)
    return {kind: getattr(need, field) / getattr(board, field) for kind, field in _fields(design.plan, board).items()}


def _need(design: Design, board: Board) -> str:
    """Returns what a design needs beside what the board has, and which layer takes most of what is short."""
    need = design_resources(design)
    fields = _fields(design.plan, board)
    amounts = [f"about {getattr(need, field):,.15g} {kind} of {getattr(board, field):,}" for kind, field in fields.items()]
    shares = _shares(design, board)
    short = fields[max(shares, key=lambda kind: shares[kind])]
    amounts_by_layer = estimates(design)
    most = max(amounts_by_layer, key=lambda name: getattr(amounts_by_layer[name], short))
    return f"{', '.join(amounts)} on {board.name}, layer {most} the most"


def _fully_parallel(network: Network) -> Design:
    """Returns the design that computes a place in a cycle, if the window keeps up; none is faster."""
    layers = (LayerPlan(layer.name, len(layer.weights), layer.weights[0].size) for layer in weight_layers(network))
    return lower(network, Plan(tuple(layers)))


def _slowest(network: Network) -> str:
    """Returns what bounds the speed of a network, whatever its plan."""
    parallel = _fully_parallel(network)
    cycles, slowest = max((parallel.layer_cycles(layer.name), -index) for index, layer in enumerate(network.layers))
    if cycles > max(input_cycles(network), network.classes + 1):
        return f"the pixels that the window of layer {network.layers[-slowest].name} reads, one a cycle,"
    return "input and output streams"


@dataclass(frozen=True)
class _Found:
    design: Design
    share: float  # of the board, of the kind of cells that it fills most
    in_time: bool

    @property
    def fits(self) -> bool:
        """Whether there is room for it, and it keeps to the cycles."""
        return self.in_time and self.share <= BUDGET


@dataclass(frozen=True)
class _Way:
    """The cheapest way to a layer that gives words of some lanes: its cost, and the layers' plans up to it."""

    cost: float
    layers: tuple[LayerPlan, ...]


class _Search:
    """Plans for a network on a board. What a shape of a layer takes is kept, since many searches ask for the same."""

    def __init__(self, network: Network, board: Board, runtime_weights: bool) -> None:
        self._network, self._board, self._runtime_weights = network, board, runtime_weights
        self._steps, self._shapes = network.steps, Shapes(network, board, runtime_weights)
        # Of a part of a block RAM in look-up tables: the same share of the board costs the same.
        self._price = board.luts / (board.block_rams * board.family.block_ram_parts)

    def fastest(self, least: int) -> Design:
        """Returns the design of the fewest cycles, `least` or more, that has room. Raises `ArtefactError` when none has."""
        slow = self._design(LayerPlan(layer.name, 1, 1) for layer in weight_layers(self._network)).cycles
        found = self.cheapest(slow)
        if not found.fits:
            raise ArtefactError(
                f"{self._network.name} does not fit {self._board.name} even at one weight a cycle: it takes "
                f"{_need(found.design, self._board)}; a plan may fill {BUDGET:.0%} of a board: take a larger board "
                "or a smaller network" + (", or no run-time weights, which are held twice" if self._runtime_weights else "")
            )
        low = least - 1  # no plan has so few cycles
        while slow - low > 1:
            middle = min(max(round((max(low, 1) * slow) ** 0.5), low + 1), slow - 1)
            attempt = self.cheapest(middle)
            if attempt.fits:
                found, slow = attempt, attempt.design.cycles
            else:
                low = middle
        return found.design

    def cheapest(self, cycles: int) -> _Found:
        """Returns the cheapest design of at most `cycles` an image that fits, or where none does, a near one."""
        nearest = self._nearest(cycles)
        if not all(shape.may_fit for shape in nearest):
            placed = (shape.placed(self._price) for shape in nearest)
            return _Found(self._design(layer for layer in placed if layer), inf, in_time=False)
        tries: list[_Found] = []
        for found in self._tries(cycles):
            if found.fits:
                return found
            tries.append(found)
        return min(tries, key=lambda found: (not found.in_time, found.share))

    def _nearest(self, cycles: int) -> list[Shape]:
        """Returns the shape of each layer with weights that costs the least, as far as that is known without circuits."""
        layers = [index for index, step in enumerate(self._steps) if weight_layer(step.layer)]
        return [min(self._shapes.of(index, cycles), key=lambda shape: shape.least_cost(self._price)) for index in layers]

    def _tries(self, cycles: int) -> Iterator[_Found]:
        """Yields designs of at most `cycles` an image: the cheapest, then others that fill all kinds of cells more evenly."""
        board, price = self._board, self._price
        low, high = 0.0, _DEAREST * price
        for _ in range(_HALVINGS):
            design = self._at_price(cycles, price)
            yield self._found(design, cycles)
            yield self._found(self._filled(design), cycles)
            shares = _shares(design, board)
            dearer = shares[board.family.block_ram] > max(shares["LUT"], shares.get("LUT RAM", 0))
            low, high = (price, high) if dearer else (low, price)
            price = (low * high) ** 0.5 if low else high / 4

    def _filled(self, design: Design) -> Design:
        """Returns the design with as many weights in block RAM as there is room for, the deepest memories first."""
        words = {unit.layer: unit.weight_words for unit in design.engines if isinstance(unit, MatVec)}
        layers = {layer.name: replace(layer, lut_bits=layer.pe * layer.simd) for layer in design.plan.layers}
        bare = self._design(layers.values())
        left = BUDGET * self._board.block_rams - design_resources(bare).block_rams
        for name in sorted(layers, key=lambda name: -self._shapes.weight_luts(words[name], 1)):
            bits, depth = layers[name].lut_bits, words[name]
            taken = bisect_right(range(1, bits + 1), left, key=lambda taken: self._shapes.weight_block_rams(depth, taken))
            left -= self._shapes.weight_block_rams(depth, taken)
            layers[name] = replace(layers[name], lut_bits=bits - taken)
        return self._design(layers.values())

    def _design(self, layers: Iterable[LayerPlan]) -> Design:
        return lower(self._network, Plan(tuple(layers), self._board.family, self._board.levels, self._runtime_weights))

    def _at_price(self, cycles: int, price: float) -> Design:
        """Returns the cheapest design where a part of a block RAM costs `price` look-up tables."""
        ways = {input_lanes(self._network): _Way(0, ())}
        for index, step in enumerate(self._steps):
            after: dict[int, _Way] = {}
            shapes = self._shapes.cheapest(index, cycles, price) if weight_layer(step.layer) else []
            for lanes, way in ways.items():
                for shape in shapes or [self._shapes.pooling(index, lanes)]:
                    cost = way.cost + shape.cost(price) + self._shapes.converter_luts(index, lanes, shape.lanes_in)
                    cost += _LATE * max(0, shape.cycles - cycles)
                    pe = shape.lanes_out
                    if pe not in after or cost < after[pe].cost:
                        planned = shape.placed(price)
                        after[pe] = _Way(cost, (*way.layers, planned) if planned else way.layers)
            ways = after
        best = min(ways.values(), key=lambda way: way.cost)
        return self._design(best.layers)

    def _found(self, design: Design, cycles: int) -> _Found:
        share = max(_shares(design, self._board).values())
        return _Found(design, share, design.cycles <= cycles)
