# SPDX-License-Identifier: Apache-2.0
"""The rules of a network: each broken once, and met by its message."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from bnn_hw.errors import ArtefactError
from bnn_hw.network import Dense, Input, Layer, Network, Scores, Signal, element_bits, sum_range, threshold_range
from strategies import networks


def dense(name: str = "fc1", outputs: int = 2, inputs: int = 3, threshold: int = 1) -> Dense:
    return Dense(name, np.ones((outputs, inputs), bool), np.full(outputs, threshold, np.int32))


def scores(name: str = "scores", classes: int = 2, inputs: int = 2, scale: int = 1, offset: int = 0) -> Scores:
    ones = np.ones(classes, np.int32)
    return Scores(name, np.ones((classes, inputs), bool), scale * ones, offset * ones)


def network(*layers: Layer, name: str = "net", input_: Input | None = None) -> Network:
    return Network(name, input_ or Input((3,), "bit"), layers or (dense(), scores()))


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


INPUT_SHAPE = r"^input\.shape must be \[features\] or \[rows, columns, channels\], each at least 1, not "
PIXEL = r"^input\.pixel_threshold must be 0\.\.256 and goes with dtype bit, not "
LAYER_NAME = r"^layer name must be lower-case letters, digits and _, from a letter on, not "
NETWORK_NAME = r"^network name must be lower-case letters, digits, - and _, from a letter on, not "
WEIGHTS_ARRAY = r"^layer fc1: weights must be an array \[outputs, inputs\], each at least 1$"
NO_SCORES = r"^the last layer must be of type scores$"
TOO_FAR = r"past int32; make both smaller by the same factor in every class$"

RULES: dict[str, tuple[Callable[[], Any], str]] = {
    "shape of no dimension": (lambda: Input((), "bit"), INPUT_SHAPE + r"\(\)$"),
    "shape of two dimensions": (lambda: Input((2, 3), "bit"), INPUT_SHAPE + r"\(2, 3\)$"),
    "shape with 0": (lambda: Input((0,), "bit"), INPUT_SHAPE + r"\(0,\)$"),
    "shape below 0": (lambda: Input((2, -2, 1), "bit"), INPUT_SHAPE + r"\(2, -2, 1\)$"),
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
}


@pytest.mark.parametrize("rule", RULES)
def test_broken_rule(rule: str) -> None:
    make, message = RULES[rule]
    with pytest.raises(ArtefactError, match=message):
        make()


def test_too_many_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn_hw.network._MAX_WEIGHT_BITS", 9)
    with pytest.raises(ArtefactError, match=r"^a network may have 9 weights at the most, not 10$"):
        network()


def test_ends_of_each_range_are_allowed() -> None:
    for dtype, low, high in (("bit", 0, 4), ("uint8", -765, 766), ("int8", -384, 385)):
        for threshold in (low, high):
            network(dense(threshold=threshold), scores(), input_=Input((3,), dtype))  # type: ignore[arg-type]
    network(scores(inputs=3, scale=-((2**31 - 1) // 3)))
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


def test_steps_and_counts() -> None:
    net = network(dense("a", 5, 12), dense("b", 7, 5), scores("c", 3, 7), input_=Input((2, 3, 2), "uint8"))
    assert [(step.layer.name, step.input, step.output) for step in net.steps()] == [
        ("a", Signal((2, 3, 2), "uint8"), Signal((5,), "bit")),
        ("b", Signal((5,), "bit"), Signal((7,), "bit")),
        ("c", Signal((7,), "bit"), Signal((3,), "int32")),
    ]
    assert (net.classes, net.weight_bits) == (3, 5 * 12 + 7 * 5 + 3 * 7)


def test_ranges_by_hand() -> None:
    cases = {"bit": ((-6, 6), (0, 7), 1), "uint8": ((-1530, 1530), (-1530, 1531), 8), "int8": ((-768, 768), (-768, 769), 8)}
    for dtype, expected in cases.items():
        signal = Signal((1, 2, 3), dtype)  # type: ignore[arg-type]
        assert (sum_range(signal), threshold_range(signal), element_bits(signal)) == expected


@given(networks())
def test_random_networks_cover_their_promises(net: Network) -> None:
    assert 1 <= len(net.layers) <= 4
    assert all(1 <= extent <= 200 for layer in net.layers for extent in layer.weights.shape)
