# SPDX-License-Identifier: Apache-2.0
"""The units of an accelerator, a closed union: what each is made for, and the cycles that it needs for an image.

Between units flow words of some elements each. A vector, which is an image at the input, else what a layer gives at one
place, starts with a word of its own.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from bnn_hw.network.network import Dtype, Sums, dtype_bits, window_places

__all__ = ["Argmax", "Compare", "Convert", "Dot", "MatVec", "Pool", "Rescale", "Slide", "Unit", "Window", "signed_bits"]


@dataclass(frozen=True)
class Window:
    """A window that slides over images of `rows` x `columns` pixels, `words` words a pixel; it reads one word a cycle."""

    rows: int
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
        """The cycles to write or to read an image, whichever takes longer."""
        read = self.places[0] * self.places[1] * self.kernel[0] * self.kernel[1] * self.words
        return max(read, self.rows * self.columns * self.words)

    @property
    def buffer_rows(self) -> int:
        """The rows that the line buffer holds, so that it stops neither side where both are at work all the time.

        Both take the same time for an image: the writer a `rows`-th of it for each row, the reader a `places`-th for each
        row of places, and the reader starts as early as it can without having to wait. The buffer then holds most at the end
        of some row of places: what has been written by then less what the reader has left behind. Rows of padding above
        count as if they were stored.
        """
        above, height, step = self.padding[0], self.kernel[0], self.stride[0]
        pace = Fraction(self.rows, self.places[0])  # rows written while the reader does a row of places
        last = self.places[0] - 1
        # Both maxima are of piecewise linear functions, so they lie where a piece ends: where the window enters and leaves.
        enters, leaves = (above - height) // step + 1, (self.rows + above - height) // step
        bends = {place for place in (0, enters, leaves, leaves + 1, last) if 0 <= place <= last}
        lead = max(min(self.rows, max(0, place * step - above + height)) - place * pace for place in bends)
        held = max((place + 1) * pace + lead - (place * step - above) for place in (0, last))
        return max(-(-held.numerator // held.denominator), height) + self.rows_past

    @property
    def rows_past(self) -> int:
        """The rows between the end of an image and the last row of places, where all of that is padding."""
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
class Convert:
    """Vectors of `count` elements from words of `lanes_in` elements to words of `lanes_out`; `vectors` of them an image.

    `name`: of the instance in the accelerator. `layer`: in front of which it stands, or None behind the last one.
    `joins_pixels`: its elements are the pixels of a window, each a word, with `mark_bits` beside its `element_bits` where the
    window marks padding.
    """

    name: str
    layer: str | None
    element_bits: int
    count: int
    lanes_in: int
    lanes_out: int
    vectors: int
    joins_pixels: bool = False
    mark_bits: int = 0

    @property
    def cycles(self) -> int:
        """The cycles that an image takes: a word a cycle on the side that has more of them."""
        return self.vectors * -(-self.count // min(self.lanes_in, self.lanes_out))


@dataclass(frozen=True)
class Slide:
    """The window in front of a layer's engine; a word has `lanes` elements of one pixel.

    `padding_word`: the word beyond the image, or None where such words are marked by a bit of their own, as true zeros
    among bits are. `words_first`: each word of a pixel for all the window's pixels before the next word, for poolings.
    """

    name: str
    layer: str
    window: Window
    lanes: int
    element_bits: int
    padding_word: int | None = 0
    words_first: bool = False

    @property
    def mark_bits(self) -> int:
        """The bits of an output word beside its elements."""
        return int(self.padding_word is None)

    @property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        return self.window.cycles


@dataclass(frozen=True)
class Dot:
    """A kind of dot product with `lanes` binary weights: layers that have the same share its circuit.

    `pixel_lanes`: the lanes of a pixel, where bits come with a mark for pixels of true zeros; else None.
    """

    dtype: Dtype  # of the inputs
    lanes: int
    pixel_lanes: int | None = None

    @property
    def element_bits(self) -> int:
        """The width of an input."""
        return dtype_bits(self.dtype)


@dataclass(frozen=True, eq=False)
class Compare:
    """An output is a bit: whether the sum reaches its threshold. `thresholds`: [outputs] int32."""

    thresholds: np.ndarray


@dataclass(frozen=True, eq=False)
class Rescale:
    """An output is ``scale * sum + offset``, a score; with a `shift`, shifted right and clamped to 0..255.

    `scale`, `offset`: [outputs] int32. `reach`: the greatest magnitude of the result before the shift. `scale_limit` and
    `limit`: the greatest magnitudes of a scale and of a result that any layer of this shape may have.
    """

    scale: np.ndarray
    offset: np.ndarray
    reach: int
    scale_limit: int
    limit: int
    shift: int | None = None


@dataclass(frozen=True, eq=False)
class MatVec:
    """The engine of a layer with weights: a matrix-vector product, `pe` outputs and ``dot.lanes`` inputs a cycle.

    `weights`: [outputs, inputs] bool, a convolution's inputs those of a window. `sums`: those that a neuron can come to.
    `lut_bits`: of the weights of a cycle, those that are held in look-up tables, not in block RAM. `places`: the vectors of an
    image.
    """

    name: str
    layer: str
    dot: Dot
    weights: np.ndarray
    sums: Sums
    finish: Compare | Rescale
    pe: int
    lut_bits: int
    places: int
    runtime_weights: bool = False

    @property
    def outputs(self) -> int:
        """The number of neurons."""
        return len(self.weights)

    @property
    def inputs(self) -> int:
        """The inputs of a neuron."""
        return self.weights.shape[1]

    @property
    def simd(self) -> int:
        """The inputs a cycle."""
        return self.dot.lanes

    @property
    def neuron_groups(self) -> int:
        """The groups of `pe` neurons, which are computed one after the other."""
        return -(-self.outputs // self.pe)

    @property
    def input_words(self) -> int:
        """The words of `simd` elements of a vector."""
        return -(-self.inputs // self.simd)

    @property
    def weight_words(self) -> int:
        """The words of the weight memory: the cycles that the products take for one vector."""
        return self.neuron_groups * self.input_words

    @property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        return self.places * self.weight_words

    @property
    def reach(self) -> tuple[int, int]:
        """The least and the greatest value of a sum of matches or of products, less its threshold where it has one.

        With run-time weights thresholds may be any.
        """
        sums = self.sums
        match self.finish:
            case Rescale():
                return sums.always, sums.never - 1
            case Compare() if self.runtime_weights:
                return sums.always - sums.never, sums.never - 1 - sums.always
            case Compare(thresholds=thresholds):
                # Outputs past the last neuron never fire.
                greatest = sums.never if self.outputs % self.pe else int(thresholds.max())
                return sums.always - greatest, sums.never - 1 - int(thresholds.min())

    @property
    def sum_bits(self) -> int:
        """The bits of a sum less its threshold."""
        return max(map(signed_bits, self.reach))

    @property
    def scaled_bits(self) -> int:
        """The bits of a `Rescale`'s result before its shift, or 0 without one; with run-time weights of any that it may have."""
        match self.finish:
            case Compare():
                return 0
            case Rescale(limit=limit) if self.runtime_weights:
                return signed_bits(limit)
            case Rescale(reach=reach):
                return max(signed_bits(reach), 2)

    @property
    def result_bits(self) -> int:
        """The bits of an output."""
        match self.finish:
            case Compare():
                return 1
            case Rescale(shift=None):
                return self.scaled_bits
            case Rescale():
                return 8


@dataclass(frozen=True, eq=False)
class Pool:
    """The engine of a max pooling: the OR of a window's `taps` pixels, or their AND in the channels that `and_channels` names.

    `and_channels`: [channels] bool. `places`: the pixels that it gives for an image, each in words of `lanes` channels.
    """

    name: str
    layer: str
    taps: int
    lanes: int
    and_channels: np.ndarray
    places: int
    runtime_weights: bool = False

    @property
    def words(self) -> int:
        """The words of a pixel."""
        return -(-len(self.and_channels) // self.lanes)

    @property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        return self.places * self.taps * self.words


@dataclass(frozen=True)
class Argmax:
    """What finds the class: the scores of an image pass through, then the index of the greatest follows."""

    name: str
    classes: int
    score_bits: int
    layer: None = None  # it belongs to none

    @property
    def cycles(self) -> int:
        """The cycles that an image takes."""
        return self.classes + 1


Unit: TypeAlias = Convert | Slide | MatVec | Pool | Argmax


def signed_bits(value: int) -> int:
    """Returns the bits of a signed integer that holds `value`."""
    return max(value, -value - 1).bit_length() + 1
