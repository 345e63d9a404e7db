# SPDX-License-Identifier: Apache-2.0
"""The stages of an accelerator: what each layer's engine takes and gives in a cycle, and the time that it needs.

Between stages flow words of some elements each. A vector, which is an image at the input, else what a layer gives at one
place, starts with a word of its own; converters make words of one width into words of another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bnn_hw.contract.streams import STREAM_BITS
from bnn_hw.network.network import (
    Conv,
    Dense,
    DenseRelu,
    MaxPool,
    Network,
    Scores,
    Step,
    WeightLayer,
    element_bits,
    layer_sums,
    scaled_limits,
    scaled_reach,
    window_places,
)

__all__ = [
    "STREAM_BITS",
    "Conversion",
    "LayerPlan",
    "Stage",
    "Window",
    "divisors",
    "engine_cycles",
    "input_cycles",
    "input_lanes",
    "next_stage",
    "signed_bits",
    "stages",
]


@dataclass(frozen=True)
class LayerPlan:
    """The parallelism of one layer."""

    name: str
    pe: int  # outputs a cycle
    simd: int  # inputs a cycle
    lut_bits: int = 0  # of the pe*simd weights of a cycle, those that are held in look-up tables, not in block RAM


@dataclass(frozen=True)
class Conversion:
    """Vectors of `count` elements from words of `lanes_in` elements to words of `lanes_out`."""

    count: int
    lanes_in: int
    lanes_out: int


@dataclass(frozen=True)
class Window:
    """A window that slides over images of so many words a pixel, of which it reads one a cycle."""

    rows: int  # of an image
    columns: int
    words: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # above, below, left, right

    @property
    def places(self) -> tuple[int, int]:
        """The rows and columns of places where the window lies."""
        above, below, left, right = self.padding
        return (
            window_places(self.rows + above + below, self.kernel[0], self.stride[0]),
            window_places(self.columns + left + right, self.kernel[1], self.stride[1]),
        )

    @property
    def cycles(self) -> int:
        """The cycles that an image takes to be written or read, whichever takes longer."""
        read = self.places[0] * self.places[1] * self.kernel[0] * self.kernel[1] * self.words
        return max(read, self.rows * self.columns * self.words)

    @property
    def buffer_rows(self) -> int:
        """The rows that the line buffer holds, so that it stops neither side where both are at work all the time.

        Both take the same time for an image: the writer a `rows`-th of it for each row, the reader a `places`-th for each
        row of places, and the reader starts as early as it can without having to wait. The buffer then holds at the most,
        at the end of some row of places, what has been written by then less what the reader has left behind. Rows of
        padding above count as if they were stored.
        """
        above, height, step = self.padding[0], self.kernel[0], self.stride[0]
        pace = Fraction(self.rows, self.places[0])  # rows written while the reader does a row of places
        last = self.places[0] - 1
        # Both maxima are of lines in pieces, so they lie where a piece ends: where the window enters and leaves the image.
        enters, leaves = (above - height) // step + 1, (self.rows + above - height) // step
        bends = {place for place in (0, enters, leaves, leaves + 1, last) if 0 <= place <= last}
        lead = max(min(self.rows, max(0, place * step - above + height)) - place * pace for place in bends)
        held = max((place + 1) * pace + lead - (place * step - above) for place in (0, last))
        return max(-(-held.numerator // held.denominator), height) + self.rows_past

    @property
    def rows_past(self) -> int:
        """The rows that lie between the end of an image and the last row of places, where all of that is padding."""
        return max(0, (self.places[0] - 1) * self.stride[0] - self.padding[0] - self.rows)

    @property
    def buffer_words(self) -> int:
        """The words of the line buffer, a power of two."""
        return 1 << (self.buffer_rows * self.columns * self.words - 1).bit_length()

    @property
    def images_held(self) -> int:
        """The most images of which the line buffer can hold words at a time."""
        return self.buffer_words // (self.rows * self.columns * self.words) + 2


@dataclass(frozen=True)
class Stage:
    """A layer's engine: words of `simd` elements in, words of `pe` elements out, after some conversions."""

    step: Step
    simd: int
    pe: int
    conversions: tuple[Conversion, ...]
    lut_bits: int = 0  # of the weights of a cycle
    runtime_weights: bool = False

    @property
    def window(self) -> Window | None:
        """The window in front of the engine, or None where the layer has none."""
        layer, shape = self.step.layer, self.step.input.shape
        match layer:
            case Conv(kernel=kernel, stride=stride, padding=padding):
                return Window(shape[0], shape[1], shape[2] // self.window_lanes, kernel, stride, padding)
            case MaxPool(size=size, stride=stride):
                return Window(shape[0], shape[1], -(-shape[2] // self.window_lanes), size, stride, (0, 0, 0, 0))
            case Dense() | DenseRelu() | Scores():
                return None

    @property
    def window_lanes(self) -> int:
        """The elements of a word in the window's buffer: of one pixel, where the engine takes several."""
        return min(self.simd, self.step.input.shape[-1])

    @property
    def words(self) -> int:
        """The words of the weight memory: the cycles that the products take for one vector of inputs."""
        layer = self.step.layer
        return 1 if isinstance(layer, MaxPool) else engine_cycles(layer, self.pe, self.simd)

    @property
    def reach(self) -> tuple[int, int]:
        """The least and the greatest that a sum of matches or of products comes to, less its threshold where it has one.

        With run-time weights thresholds may be any.
        """
        layer = self.step.layer
        assert not isinstance(layer, MaxPool)
        sums = layer_sums(layer, self.step.input)
        if isinstance(layer, DenseRelu | Scores):
            return sums.always, sums.never - 1
        if self.runtime_weights:
            return sums.always - sums.never, sums.never - 1 - sums.always
        # Outputs that pad never fire.
        greatest = sums.never if len(layer.weights) % self.pe else int(layer.thresholds.max())
        return sums.always - greatest, sums.never - 1 - int(layer.thresholds.min())

    @property
    def sum_bits(self) -> int:
        """The bits of a sum less its threshold."""
        return max(map(signed_bits, self.reach))

    @property
    def scaled_bits(self) -> int:
        """The bits of ``scale * sum + offset`` of each of the layer's outputs; with run-time weights of any that it may have."""
        layer, signal = self.step.layer, self.step.input
        assert isinstance(layer, DenseRelu | Scores)
        if self.runtime_weights:
            return signed_bits(scaled_limits(layer, signal)[1])
        return max(signed_bits(int(scaled_reach(layer, signal).max())), 2)

    @property
    def places(self) -> int:
        """The number of vectors that the engine takes and gives for an image."""
        places = self.window.places if self.window else (1, 1)
        return places[0] * places[1]

    @property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        reading = self.window.cycles if self.window else 0
        if isinstance(self.step.layer, MaxPool):
            return reading
        return max(reading, self.places * engine_cycles(self.step.layer, self.pe, self.simd))


def engine_cycles(layer: WeightLayer, pe: int, simd: int) -> int:
    """Returns the cycles that a layer's products take for one vector of inputs."""
    return -(-len(layer.weights) // pe) * -(-layer.weights[0].size // simd)


def stages(network: Network, layers: Sequence[LayerPlan], *, runtime_weights: bool = False) -> Iterator[Stage]:
    """Yields a network's stages; `layers`: the plan of each layer with weights, in order."""
    remaining, lanes = iter(layers), input_lanes(network)
    for index, step in enumerate(network.steps()):
        planned = None if isinstance(step.layer, MaxPool) else next(remaining)
        stage = next_stage(step, lanes, planned, first=index == 0, runtime_weights=runtime_weights)
        yield stage
        lanes = stage.pe


def next_stage(step: Step, lanes: int, planned: LayerPlan | None, *, first: bool, runtime_weights: bool = False) -> Stage:
    """Returns the stage of a layer that takes words of `lanes` elements, of images if it is the first one.

    A pooling works on the words that come, so `planned` is None for it.
    """
    # The elements that the words that come are laid out for: an image, or what the layer before gives at a place.
    vector = step.input.size if first else step.input.shape[-1]
    if planned is None:
        width = max(divisor for divisor in divisors(step.input.shape[-1]) if divisor <= lanes) if first else lanes
        return Stage(step, width, width, _conversions(vector, vector, lanes, width), runtime_weights=runtime_weights)
    if isinstance(step.layer, Conv):
        conversions = _conversions(vector, vector, lanes, min(planned.simd, step.input.shape[2]))
    else:
        conversions = _conversions(vector, step.input.size, lanes, planned.simd)
    return Stage(step, planned.simd, planned.pe, conversions, planned.lut_bits, runtime_weights)


def input_lanes(network: Network) -> int:
    """Returns the elements of an image in a word of the input stream."""
    return STREAM_BITS // element_bits(network.input.signal)


def input_cycles(network: Network) -> int:
    """Returns the words of `STREAM_BITS` bits that an image takes on the input stream, one a cycle."""
    return -(-network.input.signal.size // input_lanes(network))


def signed_bits(value: int) -> int:
    """Returns the bits of a signed integer that holds `value`."""
    return max(value, -value - 1).bit_length() + 1


def divisors(count: int) -> list[int]:
    """Returns the divisors of a number, rising."""
    return [divisor for divisor in range(1, count + 1) if count % divisor == 0]


def _conversions(vector_in: int, vector_out: int, lanes_in: int, lanes_out: int) -> tuple[Conversion, ...]:
    """Returns what makes vectors of `vector_in` elements into longer ones, or into the same in other words."""
    if vector_in != vector_out and vector_in % lanes_in:  # the words have gaps, which a longer vector has not
        return (Conversion(vector_in, lanes_in, vector_in), *_conversions(vector_in, vector_out, vector_in, lanes_out))
    return () if lanes_in == lanes_out else (Conversion(vector_out, lanes_in, lanes_out),)
