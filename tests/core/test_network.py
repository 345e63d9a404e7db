# SPDX-License-Identifier: Apache-2.0
"""The rules of a network: each broken once, and met by its message."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from bnn_hw.design.plan import weight_layers
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.network import (
    Conv,
    Dense,
    DenseRelu,
    Input,
    Layer,
    MaxPool,
    Network,
    Scores,
    Signal,
    Sums,
    element_bits,
    layer_sums,
    scaled_reach,
    weight_matrix,
    window_places,
)
from support.strategies import conv_networks, networks, random_inputs


def dense(name: str = "fc1", outputs: int = 2, inputs: int = 3, threshold: int = 1) -> Dense:
    return Dense(name, np.ones((outputs, inputs), bool), np.full(outputs, threshold, np.int32))


def scores(name: str = "scores", classes: int = 2, inputs: int = 2, scale: int = 1, offset: int = 0) -> Scores:
    ones = np.ones(classes, np.int32)
    return Scores(name, np.ones((classes, inputs), bool), scale * ones, offset * ones)


def relu(outputs: int = 2, inputs: int = 3, scale: int = 1, offset: int = 0, shift: int = 0) -> DenseRelu:
    ones = np.ones(outputs, np.int32)
    return DenseRelu("relu1", np.ones((outputs, inputs), bool), scale * ones, offset * ones, shift)


def conv(
    window: tuple[int, int, int] = (2, 2, 1),
    threshold: int = 1,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    value: int = 0,
    outputs: int = 2,
) -> Conv:
    return Conv("conv1", np.ones((outputs, *window), bool), np.full(outputs, threshold, np.int32), stride, padding, value)


def pool(size: tuple[int, int] = (2, 2), stride: tuple[int, int] = (2, 2), channels: int = 2) -> MaxPool:
    return MaxPool("pool1", size, stride, np.zeros(channels, bool))


def image(*layers: Layer, shape: tuple[int, ...] = (4, 5, 1), dtype: str = "bit") -> Network:
    """Returns a network on images, without scores that fit: for what must fail before them."""
    return network(*layers, scores(), input_=Input(shape, dtype))  # type: ignore[arg-type]


def network(*layers: Layer, name: str = "net", input_: Input | None = None) -> Network:
    return Network(name, input_ or Input((3,), "bit"), layers or (dense(), scores()))


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


INPUT_SHAPE = r"^input\.shape must be integers \[features\] or \[rows, columns, channels\], each 1\.\.1048576, not "
PIXEL = r"^input\.pixel_threshold must be 0\.\.256 and goes with dtype bit, not "
LAYER_NAME = r"^layer name must be lower-case letters, digits and _, from a letter on, not "
NETWORK_NAME = r"^network name must be lower-case letters, digits, - and _, from a letter on, not "
WEIGHTS_ARRAY = r"^layer fc1: weights must be an array \[outputs, inputs\], each at least 1$"
NO_SCORES = r"^the last layer must be of type scores$"
CONV_WEIGHTS = r"^layer conv1: weights must be an array \[outputs, rows, columns, channels\], each at least 1$"
KERNEL = r"^layer conv1: kernel must be integers \(rows, columns\), each 1\.\.1024, not "
CONV_STRIDE = r"^layer conv1: stride must be integers \(rows, columns\), each 1\.\.1024, not "
PADDING = r"^layer conv1: padding must be integers \(above, below, left, right\), each 0\.\.1024, not "
PADDING_VALUE = r"^layer conv1: padding_value must be -1, 0 or 1, and 0 without padding, not "
SHIFT = r"^layer relu1: shift must be an integer in 0\.\.31, not "
PAST_48_BITS = r" before the shift, past 48 bits; make both smaller, and shift less$"
POOL = r"^layer pool1: (size|stride) must be integers \(rows, columns\), each 1\.\.1024, not "
AND_CHANNELS = r"^layer pool1: and_channels must be an array \[channels\], at least 1$"
BEFORE = r", but what comes before gives "
TOO_FAR = r"past int32; make both smaller by the same factor in every class$"

RULES: dict[str, tuple[Callable[[], Any], str]] = {
    "shape of no dimension": (lambda: Input((), "bit"), INPUT_SHAPE + r"\(\)$"),
    "shape of two dimensions": (lambda: Input((2, 3), "bit"), INPUT_SHAPE + r"\(2, 3\)$"),
    "shape with 0": (lambda: Input((0,), "bit"), INPUT_SHAPE + r"\(0,\)$"),
    "shape below 0": (lambda: Input((2, -2, 1), "bit"), INPUT_SHAPE + r"\(2, -2, 1\)$"),
    "shape of one number": (lambda: Input(28, "bit"), INPUT_SHAPE + "28$"),  # type: ignore[arg-type]
    "shape of a list": (lambda: Input([28], "bit"), INPUT_SHAPE + r"\[28\]$"),  # type: ignore[arg-type]
    "shape of a boolean": (lambda: Input((True,), "bit"), INPUT_SHAPE + r"\(True,\)$"),
    "shape of a float": (lambda: Input((2.0,), "bit"), INPUT_SHAPE + r"\(2\.0,\)$"),  # type: ignore[arg-type]
    "shape too wide": (lambda: Input(((1 << 20) + 1,), "bit"), INPUT_SHAPE + r"\(1048577,\)$"),
    "input dtype": (
        lambda: Input((3,), "int32"),  # type: ignore[arg-type]
        r"^input\.dtype must be one of bit, uint8, int8, not 'int32'$",
    ),
    "pixel threshold of 8-bit inputs": (lambda: Input((3,), "uint8", 5), PIXEL + "5$"),
    "pixel threshold below": (lambda: Input((3,), "bit", -1), PIXEL + "-1$"),
    "pixel threshold above": (lambda: Input((3,), "bit", 257), PIXEL + "257$"),
    "pixel threshold a boolean": (lambda: Input((3,), "bit", True), PIXEL + "True$"),
    "pixel threshold a string": (lambda: Input((3,), "bit", "1"), PIXEL + "'1'$"),  # type: ignore[arg-type]
    "layer name upper case": (lambda: dense("Fc1"), LAYER_NAME + "'Fc1'$"),
    "layer name empty": (lambda: dense(""), LAYER_NAME + "''$"),
    "layer name with a dot": (lambda: dense("a.b"), LAYER_NAME + r"'a\.b'$"),
    "layer name with a dash": (lambda: dense("a-b"), LAYER_NAME + "'a-b'$"),
    "layer name with a line end": (lambda: dense("a\n"), LAYER_NAME + r"'a\\n'$"),
    "layer name too long": (lambda: scores("a" * 65), LAYER_NAME + "'a{65}'$"),
    "layer name no string": (lambda: dense(1), LAYER_NAME + "1$"),  # type: ignore[arg-type]
    "weights no array": (lambda: Dense("fc1", [[True]], int32(1)), WEIGHTS_ARRAY),  # type: ignore[arg-type]
    "weights of one dimension": (lambda: Dense("fc1", np.ones(3, bool), int32(1)), WEIGHTS_ARRAY),
    "weights without inputs": (lambda: Dense("fc1", np.ones((1, 0), bool), int32(1)), WEIGHTS_ARRAY),
    "weights of integers": (
        lambda: Dense("fc1", np.ones((2, 3), np.int32), int32(1, 1)),
        r"^layer fc1: weights must be bool \(2, 3\), not int32 \(2, 3\)$",
    ),
    "thresholds of floats": (
        lambda: Dense("fc1", np.ones((2, 3), bool), np.array([np.nan, 1])),
        r"^layer fc1: thresholds must be int32 \(2,\), not float64 \(2,\)$",
    ),
    "thresholds big-endian": (
        lambda: Dense("fc1", np.ones((1, 3), bool), np.array([1], ">i4")),
        r"^layer fc1: thresholds must be int32 \(1,\), not >i4 \(1,\)$",
    ),
    "thresholds too many": (
        lambda: Dense("fc1", np.ones((2, 3), bool), int32(1, 1, 1)),
        r"^layer fc1: thresholds must be int32 \(2,\), not int32 \(3,\)$",
    ),
    "thresholds no array": (
        lambda: Dense("fc1", np.ones((1, 3), bool), [1]),  # type: ignore[arg-type]
        r"^layer fc1: thresholds must be int32 \(1,\), not list$",
    ),
    "scale of another type": (
        lambda: Scores("s", np.ones((1, 3), bool), np.ones(1, np.int64), int32(0)),
        r"^layer s: scale must be int32 \(1,\), not int64 \(1,\)$",
    ),
    "offset of another shape": (
        lambda: Scores("s", np.ones((1, 3), bool), int32(1), int32(0, 0)),
        r"^layer s: offset must be int32 \(1,\), not int32 \(2,\)$",
    ),
    "network name": (lambda: network(name="Net"), NETWORK_NAME + "'Net'$"),
    "network name a path": (lambda: network(name="../net"), NETWORK_NAME + r"'\.\./net'$"),
    "network name no string": (lambda: network(name=None), NETWORK_NAME + "None$"),  # type: ignore[arg-type]
    "names twice": (lambda: network(dense("a"), scores("a")), r"^layer names must differ, not a, a$"),
    "no layers": (lambda: Network("net", Input((3,), "bit"), ()), NO_SCORES),
    "no scores": (lambda: network(dense()), NO_SCORES),
    "scores in the middle": (
        lambda: network(scores("a", 2, 3), scores("b", 2, 2)),
        r"^layer b follows the scores; scores must be the last layer$",
    ),
    "widths that do not meet": (
        lambda: network(dense("a", 4, 3), scores("b", 2, 5)),
        r"^layer b: weights of shape \(2, 5\) take 5 inputs, but what comes before gives 4 \(shape \(4,\)\)$",
    ),
    "input that does not meet": (
        lambda: network(dense("a", 4, 3), scores("b", 2, 4), input_=Input((2, 2, 1), "int8")),
        r"^layer a: weights of shape \(4, 3\) take 3 inputs, but what comes before gives 4 \(shape \(2, 2, 1\)\)$",
    ),
    "threshold below": (
        lambda: network(dense(threshold=-1), scores()),
        r"^layer fc1: thresholds\[0\] must be in 0\.\.4, not -1$",
    ),
    "threshold above": (
        lambda: network(Dense("fc1", np.ones((2, 3), bool), int32(4, 5)), scores()),
        r"^layer fc1: thresholds\[1\] must be in 0\.\.4, not 5$",
    ),
    "threshold below the sums of uint8": (
        lambda: network(dense(threshold=-766), scores(), input_=Input((3,), "uint8")),
        r"^layer fc1: thresholds\[0\] must be in -765\.\.766, not -766$",
    ),
    "threshold above the sums of int8": (
        lambda: network(dense(threshold=386), scores(), input_=Input((3,), "int8")),
        r"^layer fc1: thresholds\[0\] must be in -384\.\.385, not 386$",
    ),
    "scores past int32": (
        lambda: network(scores(inputs=3, scale=1 << 30)),
        r"^layer scores: scale\[0\] and offset\[0\] reach scores of 3,221,225,472, " + TOO_FAR,
    ),
    "scores past int32 by one": (
        lambda: network(scores(inputs=1, offset=-(2**31 - 1)), input_=Input((1,), "bit")),
        r"^layer scores: scale\[0\] and offset\[0\] reach scores of 2,147,483,648, " + TOO_FAR,
    ),
    "scores of the least scale": (
        lambda: network(scores(inputs=1, scale=-(2**31)), input_=Input((1,), "bit")),
        r"^layer scores: scale\[0\] and offset\[0\] reach scores of 2,147,483,648, " + TOO_FAR,
    ),
    "sums past int32": (
        lambda: network(scores(classes=1, inputs=8_422_400), input_=Input((8225, 1024, 1), "uint8")),
        r"^layer scores: the sums of 8,422,400 uint8 inputs pass int32; take fewer inputs$",
    ),
    "relu name": (lambda: DenseRelu("R", np.ones((1, 3), bool), int32(1), int32(0), 0), LAYER_NAME + "'R'$"),
    "relu weights of one dimension": (
        lambda: DenseRelu("relu1", np.ones(3, bool), int32(1), int32(0), 0),
        r"^layer relu1: weights must be an array \[outputs, inputs\], each at least 1$",
    ),
    "relu scale of another shape": (
        lambda: DenseRelu("relu1", np.ones((2, 3), bool), int32(1), int32(0, 0), 0),
        r"^layer relu1: scale must be int32 \(2,\), not int32 \(1,\)$",
    ),
    "relu offset of another type": (
        lambda: DenseRelu("relu1", np.ones((1, 3), bool), int32(1), np.zeros(1), 0),
        r"^layer relu1: offset must be int32 \(1,\), not float64 \(1,\)$",
    ),
    "shift below 0": (lambda: relu(shift=-1), SHIFT + "-1$"),
    "shift too far": (lambda: relu(shift=32), SHIFT + "32$"),
    "shift a boolean": (lambda: relu(shift=True), SHIFT + "True$"),
    "shift a float": (lambda: relu(shift=1.0), SHIFT + r"1\.0$"),  # type: ignore[arg-type]
    "shift of each output": (lambda: relu(shift=int32(1, 1)), SHIFT + r"array\(\[1, 1\], dtype=int32\)$"),  # type: ignore[arg-type]
    "relu inputs that do not meet": (
        lambda: network(relu(inputs=4), scores()),
        r"^layer relu1: weights of shape \(2, 4\) take 4 inputs, but what comes before gives 3 \(shape \(3,\)\)$",
    ),
    "relu past 48 bits": (
        lambda: network(relu(2, 1 << 18, scale=1 << 30, shift=31), scores(), input_=Input((1 << 18,), "bit")),
        r"^layer relu1: scale\[0\] and offset\[0\] reach 281,474,976,710,656" + PAST_48_BITS,
    ),
    "relu past 48 bits by one": (
        lambda: network(relu(2, (1 << 20) - 1, -(1 << 27), -(1 << 27)), scores(), input_=Input(((1 << 20) - 1,), "bit")),
        r"^layer relu1: scale\[0\] and offset\[0\] reach 140,737,488,355,328" + PAST_48_BITS,
    ),
    "relu sums past int32": (
        lambda: network(relu(1, 8_422_400), scores(), input_=Input((8225, 1024, 1), "uint8")),
        r"^layer relu1: the sums of 8,422,400 uint8 inputs pass int32; take fewer inputs$",
    ),
    "relu after the scores": (
        lambda: network(scores("a", 2, 3), relu(inputs=2), scores("b")),
        r"^layer relu1 follows the scores; scores must be the last layer$",
    ),
    "relu as the last layer": (lambda: network(relu()), NO_SCORES),
    "threshold below the sums of rectified integers": (
        lambda: network(relu(), dense(inputs=2, threshold=-511), scores()),
        r"^layer fc1: thresholds\[0\] must be in -510\.\.511, not -511$",
    ),
    "scores of rectified integers past int32": (
        lambda: network(relu(), scores(scale=1 << 22, offset=8_388_608)),
        r"^layer scores: scale\[0\] and offset\[0\] reach scores of 2,147,483,648, " + TOO_FAR,
    ),
    "pool on rectified integers": (
        lambda: network(relu(), pool(), scores()),
        r"^layer pool1: a max pooling takes bits, not uint8; put it after a convolution$",
    ),
    "kernel on rectified integers": (
        lambda: network(relu(), conv(), scores()),
        r"^layer conv1: a window of 1 channels takes \[rows, columns, 1\]" + BEFORE + r"\[2\]$",
    ),
    "kernel of three dimensions": (lambda: Conv("conv1", np.ones((2, 3, 3), bool), int32(1, 1)), CONV_WEIGHTS),
    "kernel without channels": (lambda: conv((2, 2, 0)), CONV_WEIGHTS),
    "kernel of integers": (
        lambda: Conv("conv1", np.ones((1, 2, 2, 1), np.int8), int32(1)),
        r"^layer conv1: weights must be bool \(1, 2, 2, 1\), not int8 \(1, 2, 2, 1\)$",
    ),
    "thresholds for each place": (
        lambda: Conv("conv1", np.ones((2, 2, 2, 1), bool), np.ones((2, 3, 4), np.int32)),
        r"^layer conv1: thresholds must be int32 \(2,\), not int32 \(2, 3, 4\)$",
    ),
    "kernel of too many rows": (lambda: conv((1025, 1, 1)), KERNEL + r"\(1025, 1\)$"),
    "kernel of too many columns": (lambda: conv((1, 1025, 1)), KERNEL + r"\(1, 1025\)$"),
    "stride 0": (lambda: conv(stride=(1, 0)), CONV_STRIDE + r"\(1, 0\)$"),
    "stride too long": (lambda: conv(stride=(1025, 1)), CONV_STRIDE + r"\(1025, 1\)$"),
    "stride of one number": (lambda: conv(stride=(1,)), CONV_STRIDE + r"\(1,\)$"),  # type: ignore[arg-type]
    "stride not a pair": (lambda: conv(stride=2), CONV_STRIDE + "2$"),  # type: ignore[arg-type]
    "stride a list": (lambda: conv(stride=[1, 1]), CONV_STRIDE + r"\[1, 1\]$"),  # type: ignore[arg-type]
    "padding not four": (lambda: conv(padding=1), PADDING + "1$"),  # type: ignore[arg-type]
    "stride a boolean": (lambda: conv(stride=(True, 1)), CONV_STRIDE + r"\(True, 1\)$"),
    "padding below 0": (lambda: conv(padding=(0, -1, 0, 0)), PADDING + r"\(0, -1, 0, 0\)$"),
    "padding too wide": (lambda: conv(padding=(0, 0, 0, 1025)), PADDING + r"\(0, 0, 0, 1025\)$"),
    "padding of two numbers": (lambda: conv(padding=(1, 1)), PADDING + r"\(1, 1\)$"),  # type: ignore[arg-type]
    "padding of floats": (lambda: conv(padding=(1.0, 1, 1, 1)), PADDING + r"\(1\.0, 1, 1, 1\)$"),  # type: ignore[arg-type]
    "padding value of 2": (lambda: conv(padding=(1, 1, 1, 1), value=2), PADDING_VALUE + "2$"),
    "padding value of a boolean": (lambda: conv(padding=(1, 1, 1, 1), value=True), PADDING_VALUE + "True$"),
    "padding value without padding": (lambda: conv(value=-1), PADDING_VALUE + "-1$"),
    "pool of no size": (lambda: pool((0, 2)), POOL + r"\(0, 2\)$"),
    "pool too large": (lambda: pool((1025, 2)), POOL + r"\(1025, 2\)$"),
    "pool that stands still": (lambda: pool(stride=(2, 0)), POOL + r"\(2, 0\)$"),
    "pool of a float": (lambda: pool((2.0, 2)), POOL + r"\(2\.0, 2\)$"),  # type: ignore[arg-type]
    "pool without channels": (lambda: pool(channels=0), AND_CHANNELS),
    "pool of two dimensions": (lambda: MaxPool("pool1", (2, 2), (2, 2), np.zeros((2, 2), bool)), AND_CHANNELS),
    "pool of a list": (lambda: MaxPool("pool1", (2, 2), (2, 2), [[True], [True, False]]), AND_CHANNELS),  # type: ignore[arg-type]
    "pool of integers": (
        lambda: MaxPool("pool1", (2, 2), (2, 2), np.zeros(3, np.uint8)),
        r"^layer pool1: and_channels must be bool \(3,\), not uint8 \(3,\)$",
    ),
    "pool name": (lambda: MaxPool("Pool", (2, 2), (2, 2), np.zeros(3, bool)), LAYER_NAME + "'Pool'$"),
    "kernel name": (lambda: Conv("1", np.ones((1, 1, 1, 1), bool), int32(1)), LAYER_NAME + "'1'$"),
    "kernel with more rows than the image": (
        lambda: image(conv((5, 2, 1))),
        r"^layer conv1: the window of 5x2 is larger than the input of 4x5 \(shape \[4, 5, 1\]\)$",
    ),
    "kernel with more columns than the padded image": (
        lambda: image(conv((2, 9, 1), padding=(0, 0, 1, 2))),
        r"^layer conv1: the window of 2x9 is larger than the input of 4x8 \(shape \[4, 5, 1\], padding \[0, 0, 1, 2\]\)$",
    ),
    "no window touches the rows": (
        lambda: image(conv((1, 1, 1), stride=(3, 1), padding=(2, 0, 0, 0)), shape=(1, 5, 1)),
        r"^layer conv1: with a stride of 3x1 no window of 1x1 touches the image in the input of 3x5 "
        r"\(shape \[1, 5, 1\], padding \[2, 0, 0, 0\]\)$",
    ),
    "no window touches the columns": (
        lambda: image(conv((1, 2, 1), stride=(1, 5), padding=(0, 0, 4, 3)), shape=(4, 1, 1)),
        r"^layer conv1: with a stride of 1x5 no window of 1x2 touches the image in the input of 4x8 "
        r"\(shape \[4, 1, 1\], padding \[0, 0, 4, 3\]\)$",
    ),
    "window before the image": (
        lambda: image(conv((2, 2, 1), stride=(1, 4), padding=(0, 0, 2, 0)), shape=(4, 2, 1)),
        r"^layer conv1: with a stride of 1x4 no window of 2x2 touches the image in the input of 4x4 "
        r"\(shape \[4, 2, 1\], padding \[0, 0, 2, 0\]\)$",
    ),
    "channels that do not meet": (
        lambda: image(conv((2, 2, 3)), shape=(4, 5, 2)),
        r"^layer conv1: a window of 3 channels takes \[rows, columns, 3\]" + BEFORE + r"\[4, 5, 2\]$",
    ),
    "kernel on features": (
        lambda: image(conv(), shape=(20,)),
        r"^layer conv1: a window of 1 channels takes \[rows, columns, 1\]" + BEFORE + r"\[20\]$",
    ),
    "kernel after a dense layer": (
        lambda: image(dense(inputs=20), conv()),
        r"^layer conv1: a window of 1 channels takes \[rows, columns, 1\]" + BEFORE + r"\[2\]$",
    ),
    "pool channels that do not meet": (
        lambda: image(conv(), pool(channels=3)),
        r"^layer pool1: a window of 3 channels takes \[rows, columns, 3\]" + BEFORE + r"\[3, 4, 2\]$",
    ),
    "pool larger than the image": (
        lambda: image(conv(), pool((4, 2))),
        r"^layer pool1: the window of 4x2 is larger than the input of 3x4 \(shape \[3, 4, 2\]\)$",
    ),
    "pool on pixels": (
        lambda: image(pool(channels=1), dtype="uint8"),
        r"^layer pool1: a max pooling takes bits, not uint8; put it after a convolution$",
    ),
    "pool after the scores": (
        lambda: image(scores("a", 2, 20), pool()),
        r"^layer pool1 follows the scores; scores must be the last layer$",
    ),
    "pool as the last layer": (lambda: network(conv(), pool(), input_=Input((4, 5, 1), "bit")), NO_SCORES),
    "dense inputs that do not meet an image": (
        lambda: image(conv(), pool(), dense(inputs=3)),
        r"^layer fc1: weights of shape \(2, 3\) take 3 inputs, but what comes before gives 4 \(shape \(1, 2, 2\)\)$",
    ),
    "padding of -1 on uint8": (
        lambda: image(conv(padding=(1, 0, 0, 0), value=-1), dtype="uint8"),
        r"^layer conv1: padding_value must be 0 or 1 on uint8, not -1$",
    ),
    "kernel threshold below": (lambda: image(conv(threshold=-1)), r"^layer conv1: thresholds\[0\] must be in 0\.\.5, not -1$"),
    "kernel threshold above": (lambda: image(conv(threshold=6)), r"^layer conv1: thresholds\[0\] must be in 0\.\.5, not 6$"),
    "kernel threshold above in whole matches": (
        lambda: image(conv(threshold=6, padding=(1, 0, 0, 0), value=1)),
        r"^layer conv1: thresholds\[0\] must be in 0\.\.5, not 6$",
    ),
    "kernel threshold above in half matches": (
        lambda: image(conv(threshold=10, padding=(1, 0, 0, 0))),
        r"^layer conv1: thresholds\[0\] must be in 0\.\.9, not 10$",
    ),
    "kernel threshold below the sums of int8": (
        lambda: image(conv(threshold=-513, padding=(1, 0, 0, 0)), dtype="int8"),
        r"^layer conv1: thresholds\[0\] must be in -512\.\.513, not -513$",
    ),
    "kernel threshold above the sums of uint8": (
        lambda: image(conv(threshold=1022), dtype="uint8"),
        r"^layer conv1: thresholds\[0\] must be in -1020\.\.1021, not 1022$",
    ),
    "kernel sums of int8 past int32": (
        lambda: image(conv((1, 64, 1 << 18), outputs=1), shape=(1, 64, 1 << 18), dtype="int8"),
        r"^layer conv1: the sums of 16,777,216 int8 inputs pass int32; take fewer inputs$",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_broken_rule(rule: str) -> None:
    make, message = RULES[rule]
    with pytest.raises(ArtefactError, match=message):
        make()


def test_too_many_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn_hw.network.network.MAX_WEIGHT_BITS", 9)
    with pytest.raises(ArtefactError, match=r"^a network may have at most 9 weights, not 10$"):
        network()


def test_too_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn_hw.network.network._MAX_ELEMENTS", 2)
    with pytest.raises(ArtefactError, match=r"^layer fc1: input and output may have 2 elements, not \(3,\) and \("):
        network()


def test_ends_of_each_range_are_allowed() -> None:
    for dtype, low, high in (("bit", 0, 4), ("uint8", -765, 766), ("int8", -384, 385)):
        for threshold in (low, high):
            network(dense(threshold=threshold), scores(), input_=Input((3,), dtype))  # type: ignore[arg-type]
    network(scores(inputs=3, scale=-((2**31 - 1) // 3)))
    for threshold in (-510, 511):
        network(relu(shift=31), dense(inputs=2, threshold=threshold), scores())
    network(relu(2, (1 << 20) - 1, -(1 << 27), 1 - (1 << 27)), scores(), input_=Input(((1 << 20) - 1,), "bit"))
    Input((1 << 20,), "bit", 256)


def test_arrays_are_read_only_copies() -> None:
    weights, thresholds = np.ones((2, 3), bool), int32(1, 2)
    scale, offset = int32(1, 2), int32(3, 4)
    layers = Dense("fc1", weights, thresholds), Scores("scores", weights[:, :2], scale, offset)
    for array in (weights, thresholds, scale, offset):
        array[:] = 0
    held = (layers[0].weights, layers[0].thresholds, layers[1].weights, layers[1].scale, layers[1].offset)
    assert [array.tolist() for array in held] == [[[True] * 3] * 2, [1, 2], [[True] * 2] * 2, [1, 2], [3, 4]]
    for array in held:
        with pytest.raises(ValueError, match=r"^assignment destination is read-only$"):
            array[0] = 0


def test_rectified_integers_are_read_only_copies() -> None:
    weights, scale, offset = np.ones((2, 3), bool), int32(1, 2), int32(3, 4)
    layer = DenseRelu("relu1", weights, scale, offset, 5)
    for array in (weights, scale, offset):
        array[:] = 0
    held = (layer.weights, layer.scale, layer.offset)
    assert [array.tolist() for array in held] == [[[True] * 3] * 2, [1, 2], [3, 4]]
    for array in held:
        with pytest.raises(ValueError, match=r"^assignment destination is read-only$"):
            array[0] = 0


def test_rectified_integers_on_the_way() -> None:
    net = network(relu(5, 12), dense(outputs=4, inputs=5), scores(inputs=4), input_=Input((2, 3, 2), "int8"))
    assert [(step.output.shape, step.output.dtype) for step in net.steps] == [((5,), "uint8"), ((4,), "bit"), ((2,), "int32")]
    assert net.weight_bits == 5 * 12 + 4 * 5 + 2 * 4


def test_steps_and_counts() -> None:
    net = network(dense("a", 5, 12), dense("b", 7, 5), scores("c", 3, 7), input_=Input((2, 3, 2), "uint8"))
    assert [(step.layer.name, step.input, step.output) for step in net.steps] == [
        ("a", Signal((2, 3, 2), "uint8"), Signal((5,), "bit")),
        ("b", Signal((5,), "bit"), Signal((7,), "bit")),
        ("c", Signal((7,), "bit"), Signal((3,), "int32")),
    ]
    assert (net.classes, net.weight_bits) == (3, 5 * 12 + 7 * 5 + 3 * 7)


def test_ranges_by_hand() -> None:
    cases = {"bit": ((-6, 2, 0), 7, 7, 1), "uint8": ((-1530, 1, -1530), 3061, 1531, 8), "int8": ((-768, 1, -768), 1537, 769, 8)}
    for dtype, (sums, count, never, bits) in cases.items():
        found = Sums.of(6, dtype)
        assert (found, found.count, found.never) == (Sums(*sums), count, never)
        assert element_bits(Signal((1, 2, 3), dtype)) == bits  # type: ignore[arg-type]
    halves = Sums.of(6, "bit", zeros=True)
    assert (halves, halves.count, halves.never) == (Sums(-6, 1, 0), 13, 13)


@pytest.mark.parametrize(
    ("dtype", "padding", "value", "expected"),
    [
        ("bit", (0, 0, 0, 0), 0, Sums(-4, 2, 0)),
        ("bit", (0, 0, 0, 1), -1, Sums(-4, 2, 0)),
        ("bit", (1, 0, 0, 0), 1, Sums(-4, 2, 0)),
        ("bit", (0, 0, 0, 1), 0, Sums(-4, 1, 0)),
        ("bit", (0, 1, 0, 0), 0, Sums(-4, 1, 0)),
        ("uint8", (1, 1, 1, 1), 0, Sums(-1020, 1, -1020)),
        ("int8", (1, 1, 1, 1), -1, Sums(-512, 1, -512)),
    ],
)
def test_sums_of_a_convolution(dtype: Any, padding: tuple[int, int, int, int], value: int, expected: Sums) -> None:
    layer = conv(padding=padding, value=value)
    signal = Signal((4, 5, 1), dtype)
    assert layer_sums(layer, signal) == expected
    for threshold in (expected.always, expected.never):
        image_network(conv(threshold=threshold, padding=padding, value=value), signal)


def image_network(layer: Conv, signal: Signal) -> Network:
    """Returns a network of a convolution and scores that fit."""
    above, below, left, right = layer.padding
    places = [
        len(range(0, extent + padding - size + 1, stride))
        for extent, padding, size, stride in zip(
            signal.shape[:2], (above + below, left + right), layer.kernel, layer.stride, strict=True
        )
    ]
    last = scores(inputs=places[0] * places[1] * len(layer.weights))
    return network(layer, last, input_=Input(signal.shape, signal.dtype))  # type: ignore[arg-type]


def test_window_places_by_hand() -> None:
    assert [window_places(5, size, stride) for size, stride in ((1, 1), (2, 1), (5, 1), (2, 2), (3, 2), (1, 3), (4, 5))] == [
        5,
        4,
        1,
        2,
        2,
        2,
        1,
    ]


def test_convolutions_on_the_way() -> None:
    first = conv((3, 2, 1), stride=(2, 1), padding=(1, 0, 0, 1), outputs=4)
    second = Conv("conv2", np.ones((3, 1, 2, 4), bool), int32(1, 2, 3))
    net = network(first, pool((1, 3), (1, 2), channels=4), second, dense(inputs=6), scores(), input_=Input((4, 6, 1), "bit"))
    shapes = [(step.input.shape, step.output.shape, step.output.dtype) for step in net.steps]
    assert shapes == [
        ((4, 6, 1), (2, 6, 4), "bit"),
        ((2, 6, 4), (2, 2, 4), "bit"),
        ((2, 2, 4), (2, 1, 3), "bit"),
        ((2, 1, 3), (2,), "bit"),
        ((2,), (2,), "int32"),
    ]
    assert net.weight_bits == 4 * 6 + 3 * 8 + 2 * 6 + 2 * 2


def test_a_window_may_leave_out_all_but_one_pixel() -> None:
    """The one place of a 1x1 window with the longest stride that there may be, on the last row and column of padding."""
    net = image_network(conv((1, 1, 1), stride=(3, 4), padding=(0, 2, 0, 3)), Signal((1, 1, 1), "bit"))
    assert net.steps[0].output.shape == (1, 1, 2)


def test_a_stride_may_be_longer_than_the_image() -> None:
    net = image(conv((4, 2, 1), stride=(5, 9)), pool((1, 1), (2, 1024)), dense(inputs=2))
    assert [step.output.shape for step in net.steps] == [(1, 1, 2), (1, 1, 2), (2,), (2,)]


def test_weight_matrix_has_rows_columns_channels_in_order() -> None:
    weights = np.random.default_rng(1).random((3, 2, 4, 5)) < 0.5
    matrix = weight_matrix(Conv("conv1", weights, int32(1, 1, 1)))
    assert matrix.shape == (3, 40)
    assert all(
        matrix[neuron, (row * 4 + column) * 5 + channel] == weights[neuron, row, column, channel]
        for neuron, row, column, channel in np.ndindex(3, 2, 4, 5)
    )


def test_sizes_past_64_bits_do_not_wrap() -> None:
    assert Signal((1 << 20, 1 << 20, 1 << 26), "bit").size == 1 << 66


def test_convolutions_are_read_only_copies() -> None:
    weights, thresholds, and_channels = np.ones((1, 2, 2, 1), bool), int32(3), np.ones(2, bool)
    layers = Conv("conv1", weights, thresholds), MaxPool("pool1", (2, 2), (1, 1), and_channels)
    for array in (weights, thresholds, and_channels):
        array[:] = 0
    held = (layers[0].weights, layers[0].thresholds, layers[1].and_channels)
    assert [array.tolist() for array in held] == [[[[[True], [True]], [[True], [True]]]], [3], [True, True]]
    for array in held:
        with pytest.raises(ValueError, match=r"^assignment destination is read-only$"):
            array[0] = 0


@given(networks())
def test_random_networks_cover_their_promises(net: Network) -> None:
    assert 1 <= len(net.layers) <= 4
    assert all(1 <= extent <= 200 for layer in weight_layers(net) for extent in layer.weights.shape)


def after(kind: type, before: type) -> Callable[[Network], bool]:
    """Returns whether a network has a layer of one kind right after one of another."""
    return lambda net: any(isinstance(a, before) and isinstance(b, kind) for a, b in pairwise(net.layers))


def has(kind: type, rule: Callable[[Any, Signal], bool]) -> Callable[[Network], bool]:
    """Returns whether a network has a layer of a kind that, with what it takes, meets a rule."""
    return lambda net: any(isinstance(step.layer, kind) and rule(step.layer, step.input) for step in net.steps)


def leaves_out(layer: MaxPool, signal: Signal) -> bool:
    return any((extent - size) % stride for extent, size, stride in zip(signal.shape, layer.size, layer.stride, strict=False))


def follow(*kinds: type) -> Callable[[Network], bool]:
    """Returns whether a network is of just these layers."""
    return lambda net: tuple(map(type, net.layers)) == kinds


def gives(rule: Callable[[np.ndarray], bool]) -> Callable[[Network], bool]:
    """Returns whether the first layer gives rectified integers, which meet a rule for some random inputs."""
    return lambda net: isinstance(net.layers[0], DenseRelu) and rule(golden.trace(net, random_inputs(net, 20, 1)).activations[0])


GENERATE = settings(max_examples=2000, deadline=None, database=None, phases=(Phase.generate,))
PROMISES: dict[str, Callable[[Network], bool]] = {
    "pooling first": lambda net: isinstance(net.layers[0], MaxPool),
    "pooling after pooling": after(MaxPool, MaxPool),
    "convolution after pooling": after(Conv, MaxPool),
    "dense after convolution": after(Dense, Conv),
    "scores after pooling": after(Scores, MaxPool),
    "pooling that leaves out": has(MaxPool, leaves_out),
    "pooling that overlaps": has(MaxPool, lambda layer, _: layer.stride[0] < layer.size[0]),
    "pooling of ands and ors": has(MaxPool, lambda layer, _: 0 < layer.and_channels.sum() < len(layer.and_channels)),
    "different strides": has(Conv, lambda layer, _: layer.stride == (2, 1)),
    "rectangular kernel": has(Conv, lambda layer, _: layer.kernel == (3, 2)),
    "true zeros": has(Conv, lambda layer, signal: layer.pads_bits_with_zeros(signal)),
    "padding of -1": has(Conv, lambda layer, signal: layer.padding_value == -1 and signal.dtype == "bit"),
    "padding of 1 on uint8": has(Conv, lambda layer, signal: layer.padding_value == 1 and signal.dtype == "uint8"),
    "padding of -1 on int8": has(Conv, lambda layer, signal: layer.padding_value == -1 and signal.dtype == "int8"),
    "four different paddings": has(
        Conv, lambda layer, _: layer.padding[0] != layer.padding[1] and layer.padding[2] != layer.padding[3]
    ),
    "never in halves": has(
        Conv, lambda layer, signal: layer.pads_bits_with_zeros(signal) and layer.thresholds.max() == 2 * layer.weights[0].size + 1
    ),
}


DENSE_PROMISES: dict[str, Callable[[Network], bool]] = {
    "rectified integers only": follow(DenseRelu, DenseRelu, Scores),
    "bits of rectified integers": follow(DenseRelu, Dense, Scores),
    "rectified integers of bits": follow(Dense, DenseRelu, Scores),
    "rectified integers of pixels": has(DenseRelu, lambda _, signal: signal.dtype == "uint8" and len(signal.shape) == 3),
    "scale of 0": has(DenseRelu, lambda layer, _: bool((layer.scale == 0).any())),
    "scales of both signs": has(DenseRelu, lambda layer, _: layer.scale.min() < 0 < layer.scale.max()),
    "no shift": has(DenseRelu, lambda layer, _: layer.shift == 0),
    "all the shift": has(DenseRelu, lambda layer, _: layer.shift == 31),
    "past 32 bits": has(DenseRelu, lambda layer, signal: scaled_reach(layer, signal).max() > 1 << 45),
    "values in between": gives(lambda values: bool(((values > 0) & (values < 255)).mean() > 0.2)),
    "both ends": gives(lambda values: 0 in values and 255 in values),
}


@pytest.mark.parametrize("promise", DENSE_PROMISES)
def test_random_networks_cover_rectified_integers(promise: str) -> None:
    find(networks(), DENSE_PROMISES[promise], settings=GENERATE)


@pytest.mark.parametrize("promise", PROMISES)
def test_random_convolutions_cover_their_promises(promise: str) -> None:
    find(conv_networks(), PROMISES[promise], settings=GENERATE)
