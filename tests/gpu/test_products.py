# SPDX-License-Identifier: Apache-2.0
"""The kernels' arithmetic in numpy: packed rows, the constants of each product, windows gathered word by word, against golden."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnn_gpu.layout import Layout, pack_rows, unpack_rows
from bnn_gpu.products import VALUE_LIMIT, Product, bit_product, layer_constants, methods
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.network import Conv, Dense, Input, MaxPool, Network, Scores, Signal, Step
from support.strategies import conv_networks, networks, random_inputs

SEEDS = st.integers(0, 2**32 - 1)
_BITS = np.array([bin(value).count("1") for value in range(256)])


def popcount(words: np.ndarray) -> np.ndarray:
    """Returns the ones in each row of words."""
    return _BITS[np.ascontiguousarray(words).view(np.uint8)].sum(axis=-1)


def value(product: Product, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns what the kernels compare with constants, for words [rows, words] and [columns, words]: [rows, columns]."""
    if product == Product.AND:
        return 2 * popcount(a[:, None] & b[None]) - popcount(a)[:, None]
    if product in (Product.POPC, Product.XOR):
        return -popcount(a[:, None] ^ b[None])
    left = np.ascontiguousarray(a).view(np.uint8 if product == Product.U8 else np.int8).astype(np.int64)
    return left @ np.ascontiguousarray(b).view(np.int8).astype(np.int64).T


def gathered(layer: Conv, step: Step, words: np.ndarray, layout: Layout) -> np.ndarray:
    """Returns the words under each place of a window, as gemm.cu loads them: [images * places, window words]; zeros outside."""
    rows, columns, _ = step.input.shape
    kernel_rows, kernel_columns = layer.kernel
    images = words[:, : layout.pixels * layout.pixel_words].reshape(len(words), rows, columns, layout.pixel_words)
    out = np.zeros((len(words), *step.output.shape[:2], kernel_rows, kernel_columns, layout.pixel_words), np.uint32)
    for place_row, place_column in np.ndindex(*step.output.shape[:2]):
        for kernel_row, kernel_column in np.ndindex(kernel_rows, kernel_columns):
            r = place_row * layer.stride[0] - layer.padding[0] + kernel_row
            c = place_column * layer.stride[1] - layer.padding[2] + kernel_column
            if 0 <= r < rows and 0 <= c < columns:
                out[:, place_row, place_column, kernel_row, kernel_column] = images[:, r, c]
    return out.reshape(len(words) * step.output.shape[0] * step.output.shape[1], -1)


def outputs(network: Network, inputs: np.ndarray, bits: Product, origin: int) -> Iterator[np.ndarray]:
    """Yields each layer's bits and at last the scores, computed as the kernels do; inputs are less `origin` already taken off."""
    product = bits if network.input.dtype == "bit" else Product.U8 if inputs.dtype == np.uint8 else Product.S8
    x = inputs
    for step in network.steps:
        layer, signal = step.layer, step.input
        if isinstance(layer, MaxPool):
            x = golden._pool(layer, x.reshape(-1, *signal.shape)).reshape(len(x), -1)
            yield x
            continue
        element_bits = 1 if signal.dtype == "bit" else 8
        layout = Layout(signal.size // signal.shape[-1], signal.shape[-1], element_bits)
        taps = layer.weights.shape[1] * layer.weights.shape[2] if isinstance(layer, Conv) else layout.pixels
        window = Layout(taps, signal.shape[-1], element_bits)
        weights = layer.weights if element_bits == 1 else np.where(layer.weights, np.int8(1), np.int8(-1))
        a, b = pack_rows(x, layout), pack_rows(weights, window)
        if isinstance(layer, Conv):
            a, b = gathered(layer, step, a, layout), b[:, : window.pixels * window.pixel_words]
        constants = layer_constants(layer, signal, product, origin)
        values, count = value(product, a, b), len(layer.weights)
        if isinstance(layer, Scores):
            with np.errstate(over="ignore"):
                yield constants.values[0, :count] * values.astype(np.int32) + constants.values[1, :count]
            return
        places = len(a) // len(x)
        classes = np.zeros(places, np.int64) if constants.place_classes is None else constants.place_classes
        fired = values.reshape(len(x), places, count) >= constants.values[classes][:, :count]
        assert (constants.values[:, count:] == VALUE_LIMIT).all()  # columns that are not there never fire
        x, product = fired.reshape(len(x), -1), bits
        yield x


def check(network: Network, images: np.ndarray, bits: Product) -> None:
    trace = golden.trace(network, images)
    origin = 128 if network.input.dtype == "int8" and images.dtype == np.uint8 else 0
    for found, wanted in zip(outputs(network, images, bits, origin), (*trace.activations, trace.scores), strict=True):
        assert np.array_equal(found, wanted)


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(networks(max_width=140, rectified=False), conv_networks(rectified=False)),
    SEEDS,
    st.sampled_from([Product.AND, Product.XOR]),
)
def test_kernels_arithmetic_is_goldens(network: Network, seed: int, bits: Product) -> None:
    check(network, random_inputs(network, 3, seed), bits)


@settings(deadline=None, max_examples=15)
@given(
    st.one_of(networks(dtypes=("int8",), max_width=60, rectified=False), conv_networks(dtypes=("int8",), rectified=False)), SEEDS
)
def test_pixels_multiply_as_they_are(network: Network, seed: int) -> None:
    check(network, random_inputs(network, 3, seed).view(np.uint8) ^ 0x80, Product.AND)


def test_a_wrong_constant_is_found() -> None:
    """The tests above can fail: a threshold of one more does not pass where a sum meets it."""
    layer = Dense("fc", np.ones((1, 3), np.bool_), np.array([3], np.int32))
    scores = Scores("scores", np.ones((1, 1), np.bool_), np.ones(1, np.int32), np.zeros(1, np.int32))
    check(Network("tiny", Input((3,), "bit"), (layer, scores)), np.ones((1, 3), np.bool_), Product.AND)
    constants = layer_constants(layer, Signal((3,), "bit"), Product.AND, 0)
    assert constants.values[0, 0] == 3  # 2 * 3 - 3, which all ones meet


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**32 - 1))
@example(1, 33, 0)
@settings(deadline=None, max_examples=25)
def test_rows_are_packed_bit_0_first(pixels: int, channels: int, seed: int) -> None:
    layout = Layout(pixels, channels, 1)
    bits = np.random.default_rng(seed).random((3, pixels * channels)) < 0.5
    words = pack_rows(bits, layout)
    assert words.shape[1] % 4 == 0
    for row in range(3):
        for index in range(pixels * channels):
            pixel, channel = divmod(index, channels)
            word = int(words[row, pixel * layout.pixel_words + channel // 32])
            assert word >> channel % 32 & 1 == bits[row, index]
    assert popcount(words).tolist() == bits.sum(axis=1).tolist()
    assert np.array_equal(unpack_rows(words, layout), bits)


@pytest.mark.parametrize(
    ("target", "of_bits", "of_bytes", "product"),
    [
        ("sm_75", ("mma", "popc"), ("mma",), Product.XOR),
        ("sm_86", ("mma", "popc"), ("mma",), Product.AND),
        ("sm_90a", ("wgmma", "mma", "popc"), ("wgmma", "mma"), Product.AND),
        ("sm_100", ("popc",), ("mma",), Product.POPC),
    ],
)
def test_methods_of_a_target(target: str, of_bits: tuple[str, ...], of_bytes: tuple[str, ...], product: Product) -> None:
    assert methods(target) == of_bits
    assert methods(target, 8) == of_bytes
    assert bit_product(target, methods(target)[0]) == product


def test_more_inputs_than_differences_of_32_bits_can_hold() -> None:
    inputs = VALUE_LIMIT // 255
    layer = Dense("fc1", np.zeros((1, inputs), bool), np.zeros(1, np.int32))
    message = r"layer fc1: a neuron must have fewer than 4,210,752 inputs on a GPU, not 4,210,752"
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        layer_constants(layer, Signal((inputs,), "uint8"), Product.U8, 0)
