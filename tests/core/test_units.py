# SPDX-License-Identifier: Apache-2.0
"""Units: the places, cycles and line buffers of windows, and the words that reach each engine."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.design.lower import divisors, input_cycles, input_lanes, layer_units, lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.design.units import Convert, MatVec, Window
from bnn_hw.network import golden
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, MaxPool, Network, Scores, Step
from support.naive import naive_dot, naive_half_matches, naive_matches
from support.stages import stages
from support.strategies import WindowShape, conv_networks, networks, random_conv_network, random_inputs, random_network, random_plan


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Windows on small images: any kernel, stride and padding that a layer may have, all four paddings of their own."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    padding = draw(st.just((0, 0, 0, 0)) | st.tuples(*[st.integers(0, 3)] * 4))
    kernel = draw(st.integers(1, min(5, rows + sum(padding[:2])))), draw(st.integers(1, min(3, columns + sum(padding[2:]))))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    window = Window(rows, columns, draw(st.integers(1, 2)), kernel, stride, padding)
    return window if any(word is not None for _, word in naive_reads(window)) else Window(rows, columns, 1, (1, 1), (1, 1), padding)


def naive_reads(window: Window) -> Iterator[tuple[int, int | None]]:
    """Yields for each word under each place of the window the row of places, and which word of the image it is.

    None is a word of padding.
    """
    above, below, left, right = window.padding
    line = window.columns * window.words
    tops = range(-above, window.rows + below - window.kernel[0] + 1, window.stride[0])
    for place_row, top in enumerate(tops):
        for start in range(-left, window.columns + right - window.kernel[1] + 1, window.stride[1]):
            for row, column, word in product(range(window.kernel[0]), range(window.kernel[1]), range(window.words)):
                inside = 0 <= top + row < window.rows and 0 <= start + column < window.columns
                yield place_row, (top + row) * line + (start + column) * window.words + word if inside else None


def naive_stalls(window: Window, depth: int, images: int = 4) -> bool:
    """Returns whether a line buffer of so many words ever stops a writer at work all the time.

    Both sides take `window.cycles` cycles an image, at a uniform pace; the reader starts as early as it can without
    having to wait for a word. What a row of places no longer needs is free once the row is done.
    """
    reads = list(naive_reads(window))
    line = window.columns * window.words
    write_time, read_time = Fraction(window.cycles, window.rows * line), Fraction(window.cycles, len(reads))
    lead = max((word + 1) * write_time - index * read_time for index, (_, word) in enumerate(reads) if word is not None)
    freed: list[tuple[Fraction, int]] = []  # when a row of places is done, and the first word that is needed after it
    rows = reads[-1][0] + 1
    for image in range(images):
        for place_row in range(rows):
            done = lead + image * window.cycles + len(reads) // rows * (place_row + 1) * read_time
            after = (image + 1) * window.rows * line if place_row == rows - 1 else image * window.rows * line
            below = 0 if place_row == rows - 1 else (place_row + 1) * window.stride[0]
            freed.append((done, after + (below - window.padding[0]) * line))
    needed = -window.padding[0] * line
    for word in range(images * window.rows * line):
        while freed and freed[0][0] <= word * write_time:
            needed = freed.pop(0)[1]
        if word - needed >= depth:
            return True
    return False


def layer_window(rows: int, kernel: int, stride: int, padding: int) -> Window:
    return Window(rows, rows, 1, (kernel, kernel), (stride, stride), (padding,) * 4)


@pytest.mark.parametrize(
    ("window", "places", "cycles", "buffer_rows"),
    [
        # At the end of the last of 30 rows of places, 3 rows are kept and 3 rows of the next image have come.
        (layer_window(32, 3, 1, 0), (30, 30), 30 * 30 * 9, 6),
        # A row goes for each that comes; a row of padding above counts as stored, and 2 rows have to come before the start.
        (layer_window(32, 3, 1, 1), (32, 32), 32 * 32 * 9, 4),
        # While the reader does 2 rows, the next 2 come.
        (layer_window(28, 2, 2, 0), (14, 14), 28 * 28, 4),
        (layer_window(28, 1, 1, 0), (28, 28), 28 * 28, 2),
        # An image in one window: the next one comes while it is read.
        (layer_window(5, 5, 1, 0), (1, 1), 25, 10),
        # Rows of padding below never come: the second of 5 places waits for the last row, so the start for 4 - 4/5 rows, and
        # with the first place done that makes 4/5 more.
        (Window(4, 4, 1, (3, 3), (1, 1), (0, 3, 0, 0)), (5, 2), 5 * 2 * 9, 4),
        # 2/3 and 4 - 2/3 rows in the same way, and one for the row of padding between the image and the last place.
        (Window(4, 4, 1, (3, 3), (1, 1), (0, 4, 0, 0)), (6, 2), 6 * 2 * 9, 5),
        # A window on every third row: so that the last place need not wait, the reader starts 7 - 14/3 rows after the writer;
        # when it is done with the first place, that makes 7/3 + 7/3 rows.
        (layer_window(7, 1, 3, 0), (3, 3), 49, 5),
    ],
)
def test_windows_by_hand(window: Window, places: tuple[int, int], cycles: int, buffer_rows: int) -> None:
    assert (window.places, window.cycles, window.buffer_rows) == (places, cycles, buffer_rows)


def test_sizes_of_a_line_buffer_by_hand() -> None:
    window = Window(32, 30, 2, (3, 3), (1, 1), (1, 1, 1, 1))
    assert (window.cycles, window.buffer_rows, window.buffer_words) == (32 * 30 * 9 * 2, 4, 256)  # 4 rows are 240 words
    assert window.images_held == 256 // 1920 + 2
    assert Window(4, 4, 1, (1, 1), (1, 1), (0, 0, 0, 0)).buffer_words == 8  # 2 rows of 4 are a power of two
    assert Window(1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0)).images_held == 4


@settings(deadline=None, max_examples=150)
@given(windows())
def test_a_window_is_read_as_often_as_it_says(window: Window) -> None:
    reads = list(naive_reads(window))
    assert reads[-1][0] + 1 == window.places[0]
    taps = window.kernel[0] * window.kernel[1] * window.words
    assert len(reads) == window.places[0] * window.places[1] * taps
    assert window.cycles == max(len(reads), window.rows * window.columns * window.words)


@settings(deadline=None, max_examples=200)
@given(windows())
def test_a_line_buffer_stops_neither_side(window: Window) -> None:
    """With the rows that it is to hold a buffer never stops the writer, and so with its words, which are no fewer."""
    line = window.columns * window.words
    assert not naive_stalls(window, window.buffer_rows * line)
    assert window.buffer_words >= window.buffer_rows * line > window.buffer_words // 2
    assert window.buffer_rows >= window.kernel[0]


@pytest.mark.parametrize(
    ("window", "rows_less"),
    [
        (layer_window(12, 3, 1, 0), 1),
        (layer_window(12, 3, 1, 1), 1),
        (layer_window(9, 1, 3, 0), 1),
        (layer_window(12, 2, 2, 0), 2),  # the bound counts whole rows, but the reader may start within one
        (layer_window(5, 5, 1, 0), 5),
    ],
)
def test_a_smaller_line_buffer_would_stop_the_writer(window: Window, rows_less: int) -> None:
    assert not naive_stalls(window, window.buffer_rows * window.columns)
    assert naive_stalls(window, (window.buffer_rows - rows_less) * window.columns)


# Engines, and the words that reach them.


def naive_stage_cycles(step: Step, pe: int, simd: int) -> int:
    """Returns the cycles of an engine for an image by going through its schedule; `simd` and `pe` are words' lanes."""
    layer, shape = step.layer, step.input.shape
    if isinstance(layer, Dense | DenseRelu | Scores):
        outputs, inputs = layer.weights.shape
        return len(range(0, outputs, pe)) * len(range(0, inputs, simd))
    words = len(range(0, shape[2], simd))
    if isinstance(layer, MaxPool):
        window = Window(shape[0], shape[1], words, layer.size, layer.stride, (0, 0, 0, 0))
        return max(len(list(naive_reads(window))), shape[0] * shape[1] * words)
    outputs, inputs = len(layer.weights), layer.weights[0].size
    window = Window(shape[0], shape[1], words, layer.kernel, layer.stride, layer.padding)
    products = step.output.shape[0] * step.output.shape[1] * len(range(0, outputs, pe)) * len(range(0, inputs, simd))
    return max(len(list(naive_reads(window))), shape[0] * shape[1] * words, products)


@settings(deadline=None, max_examples=100)
@given(network=networks(max_width=60) | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_cycles_of_stages(network: Network, seed: int) -> None:
    plan = random_plan(network, seed)
    found = stages(lower(network, plan))
    assert [stage.step.layer.name for stage in found] == [layer.name for layer in network.layers]
    for stage in found:
        assert stage.cycles == naive_stage_cycles(stage.step, stage.pe, stage.simd)
        if isinstance(stage.step.layer, Conv | MaxPool):
            assert stage.places == stage.step.output.shape[0] * stage.step.output.shape[1]
        else:
            assert (stage.places, stage.window) == (1, None)


@settings(deadline=None, max_examples=100)
@given(network=networks(max_width=60) | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_words_of_weights(network: Network, seed: int) -> None:
    """A word for each group of outputs and of inputs: what they hold together is at least the layer's weights."""
    for stage in stages(lower(network, random_plan(network, seed))):
        layer = stage.step.layer
        if isinstance(layer, MaxPool):
            assert stage.words == 1
            continue
        outputs, inputs = len(layer.weights), layer.weights[0].size
        assert stage.words == len(range(0, outputs, stage.pe)) * len(range(0, inputs, stage.simd))
        assert stage.words * stage.pe * stage.simd >= layer.weights.size


def naive_extremes(step: Step, neuron: int) -> tuple[int, int]:
    """Returns the least and the greatest sum of a neuron, those of the inputs that meet its weights worst and best.

    Sums are matches of bits, in halves where zeros are around them.
    """
    layer = step.layer
    assert not isinstance(layer, MaxPool)
    w = layer.weights[neuron].astype(int).reshape(-1).tolist()
    if step.input.dtype == "bit":
        best, worst = w, [1 - weight for weight in w]
        if isinstance(layer, Conv) and any(layer.padding) and layer.padding_value == 0:
            return naive_half_matches(worst, w), naive_half_matches(best, w)
        return naive_matches(worst, w), naive_matches(best, w)
    low, high = {"uint8": (0, 255), "int8": (-128, 127)}[step.input.dtype]
    return naive_dot([low if weight else high for weight in w], w), naive_dot([high if weight else low for weight in w], w)


@settings(deadline=None, max_examples=100)
@given(network=networks(max_width=60) | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_the_reach_of_sums(network: Network, seed: int) -> None:
    """It holds each sum less its neuron's threshold; on bits no number is too many, but for outputs that pad."""
    for stage in stages(lower(network, random_plan(network, seed))):
        layer = stage.step.layer
        if isinstance(layer, MaxPool):
            continue
        extremes = [naive_extremes(stage.step, neuron) for neuron in range(len(layer.weights))]
        thresholds = [0] * len(extremes) if isinstance(layer, DenseRelu | Scores) else layer.thresholds.tolist()
        least = min(low - threshold for (low, _), threshold in zip(extremes, thresholds, strict=True))
        greatest = max(high - threshold for (_, high), threshold in zip(extremes, thresholds, strict=True))
        low, high = stage.reach
        assert low <= least
        assert greatest <= high
        if stage.step.input.dtype == "bit":
            assert high == greatest
            if isinstance(layer, DenseRelu | Scores) or len(layer.weights) % stage.pe == 0:
                assert low == least
            else:  # what pads never fires: not where all weights match
                assert low == -max(high for _, high in extremes) - 1


def test_the_reach_of_sums_by_hand() -> None:
    bits = random_network(Input((9,), "bit"), (4, 2), 1)
    dense = Dense("fc1", np.ones((4, 9), bool), np.array([3, 5, 4, 3], np.int32))
    network = Network("hand", bits.input, (dense, *bits.layers[1:]))
    first, last = stages(lower(network, Plan((LayerPlan("fc1", 2, 9), LayerPlan("scores", 1, 4)))))
    assert (first.reach, last.reach) == ((-5, 6), (0, 4))
    padded, _ = stages(lower(network, Plan((LayerPlan("fc1", 3, 9), LayerPlan("scores", 1, 4)))))
    assert padded.reach == (-10, 6)
    assert (first.words, padded.words, last.words) == (2, 2, 2)


def naive_words_of(vectors: np.ndarray, lanes: int) -> list[list[int]]:
    """Returns vectors, [vectors, elements], as words of so many elements, each vector from a word of its own on."""
    words = []
    for vector in vectors.tolist():
        for start in range(0, len(vector), lanes):
            word = vector[start : start + lanes]
            words.append(word + [0] * (lanes - len(word)))
    return words


def converted(words: list[list[int]], conversion: tuple[int, int, int]) -> list[list[int]]:
    """Returns what a converter makes of words."""
    count, lanes_in, lanes_out = conversion
    assert all(len(word) == lanes_in for word in words)
    each = len(range(0, count, lanes_in))
    assert len(words) % each == 0
    vectors = []
    for start in range(0, len(words), each):
        vectors.append([element for word in words[start : start + each] for element in word][:count])
    return naive_words_of(np.array(vectors), lanes_out)


@settings(deadline=None, max_examples=150)
@given(network=networks(max_width=60) | conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_each_engine_gets_its_words(network: Network, seed: int) -> None:
    """From what a layer gives, the converters make the words that the next one takes: of a pixel's channels, or of a vector."""
    inputs = random_inputs(network, 2, seed)
    trace = golden.trace(network, inputs)
    words = naive_words_of(inputs.astype(int), input_lanes(network))
    for stage, given_ in zip(stages(lower(network, random_plan(network, seed))), (inputs, *trace.activations), strict=True):
        for conversion in stage.conversions:
            words = converted(words, conversion)
        values = given_.astype(int)
        if stage.window:
            vectors = values.reshape(-1, stage.step.input.shape[2])
            assert stage.window.words == len(range(0, vectors.shape[1], stage.window_lanes))
            assert stage.simd % stage.window_lanes == 0
        else:
            vectors = values
        assert words == naive_words_of(vectors, stage.window_lanes if stage.window else stage.simd)
        last = isinstance(stage.step.layer, Scores)
        if not last:
            index = list(network.layers).index(stage.step.layer)
            words = naive_words_of(trace.activations[index].astype(int).reshape(-1, stage.step.output.shape[-1]), stage.pe)


def test_conversions_by_hand() -> None:
    shapes = [WindowShape((3, 3), (1, 1), 6), WindowShape((2, 2), (2, 2)), WindowShape((1, 1), (1, 1), 5)]
    network = random_conv_network(Input((8, 8, 3), "int8"), shapes, (7, 2), 1)  # 6x6x6, 3x3x6, 3x3x5, 7 and 2
    plan = Plan((LayerPlan("conv1", 4, 9), LayerPlan("conv3", 3, 2), LayerPlan("fc1", 7, 15), LayerPlan("scores", 1, 7)))
    found = stages(lower(network, plan))
    assert [(stage.simd, stage.window_lanes, stage.pe, stage.conversions) for stage in found] == [
        (9, 3, 4, ((192, 8, 3),)),
        (4, 4, 4, ()),  # words of 4 and 2 channels, as they come
        (2, 2, 3, ((6, 4, 2),)),
        (15, 5, 7, ((5, 3, 5), (45, 5, 15))),  # 3 does not divide 5: first without the gaps
        (7, 7, 1, ()),
    ]
    assert [stage.cycles for stage in found] == [6 * 6 * 9, 3 * 3 * 4 * 2, 9 * 2 * 3, 3, 2]


def test_conversions_of_dense_layers_after_images_by_hand() -> None:
    network = random_conv_network(Input((2, 2, 6), "bit"), [WindowShape((1, 1), (1, 1), 6)], (3,), 1)
    _, step = network.steps
    for lanes, simd, expected in (
        (3, 3, ()),
        (3, 6, ((24, 3, 6),)),
        (6, 24, ((24, 6, 24),)),
        (2, 5, ((24, 2, 5),)),
        (4, 6, ((6, 4, 6),)),
        (4, 4, ((6, 4, 6), (24, 6, 4))),
        (5, 1, ((6, 5, 6), (24, 6, 1))),
    ):
        *converts, engine = layer_units(step, lanes, LayerPlan("scores", 1, simd, lut_bits=simd - 1), first=False)
        sizes = [(unit.count, unit.lanes_in, unit.lanes_out) for unit in converts if isinstance(unit, Convert)]
        assert (tuple(sizes), len(converts)) == (expected, len(expected))
        assert isinstance(engine, MatVec)
        assert (engine.simd, engine.pe, engine.lut_bits) == (simd, 1, simd - 1)


def test_a_pooling_first_takes_words_that_divide_a_pixel() -> None:
    for channels, lanes in ((1, 1), (6, 6), (64, 64), (96, 48), (128, 64), (67, 1)):
        network = random_conv_network(Input((2, 3, channels), "bit"), [WindowShape((2, 2), (1, 1))], (2,), 1)
        stage, *_ = stages(lower(network, Plan((LayerPlan("scores", 1, 1),))))
        assert (stage.simd, stage.pe) == (lanes, lanes)
        assert stage.conversions == (() if lanes == 64 else ((6 * channels, 64, lanes),))


def test_streams_and_products_by_hand() -> None:
    assert (
        input_lanes(random_network(Input((3,), "bit"), (2,), 1)),
        input_lanes(random_network(Input((3,), "int8"), (2,), 1)),
    ) == (64, 8)
    assert [input_cycles(random_network(Input((size,), "bit"), (2,), 1)) for size in (1, 64, 65, 784)] == [1, 1, 2, 13]
    assert input_cycles(random_network(Input((17,), "int8"), (10,), 1)) == 3
    network = random_conv_network(Input((3, 2, 5), "bit"), [WindowShape((3, 2), (1, 1), 7)], (2,), 1)
    for (pe, simd), expected in {(1, 1): 210, (7, 30): 1, (2, 5): 24, (3, 10): 9, (6, 5): 12}.items():
        first, _ = stages(lower(network, Plan((LayerPlan("conv1", pe, simd), LayerPlan("scores", 1, 7)))))
        assert first.matvec.cycles == first.words == expected
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]
