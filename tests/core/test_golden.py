# SPDX-License-Identifier: Apache-2.0
"""The golden model against a naive one and against PyTorch, on every bit and every score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, MaxPool, Network, Scores, Sums, layer_sums
from bnn_training.binarize import sign
from bnn_training.binary_layers import BinaryConv2d, BinaryLinear
from bnn_training.folding import export_network, float_scores, to_tensor
from bnn_training.model import BinaryBlock, BinaryNetwork
from bnn_training.normalization import BatchNorm
from bnn_training.topology import build_network
from support.naive import naive_class, naive_trace
from support.strategies import DTYPES, WindowShape, conv_networks, networks, random_conv_network, random_inputs, random_network

torch.set_num_threads(1)  # the products are small: threads would only wait for each other


def check_against_naive(network: Network, inputs: np.ndarray) -> None:
    trace, classes = golden.trace(network, inputs), golden.classify(network, inputs)
    dtypes = [np.uint8 if isinstance(layer, DenseRelu) else np.bool_ for layer in network.layers[:-1]]
    assert [activations.dtype for activations in trace.activations] == dtypes
    assert trace.scores.dtype == np.int32
    for index, image in enumerate(inputs):
        activations, scores = naive_trace(network, image.tolist())
        assert [bits[index].astype(int).tolist() for bits in trace.activations] == activations
        assert trace.scores[index].tolist() == scores
        assert classes[index] == naive_class(scores)


@settings(deadline=None, max_examples=60)
@given(network=networks(max_width=97), seed=st.integers(0, 2**32 - 1))
def test_golden_is_naive(network: Network, seed: int) -> None:
    check_against_naive(network, random_inputs(network, 4, seed))


@settings(deadline=None, max_examples=150)
@given(network=conv_networks(), seed=st.integers(0, 2**32 - 1))
def test_golden_is_naive_on_images(network: Network, seed: int) -> None:
    check_against_naive(network, random_inputs(network, 4, seed))


@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_is_naive_on_images_of_real_channels(dtype: str) -> None:
    """The form of the papers' networks: 3x3 with and without padding, pooling, 64 channels and more."""
    windows = [
        WindowShape((3, 3), (1, 1), 64, (1, 1, 1, 1)),
        WindowShape((3, 3), (1, 1), 67),
        WindowShape((2, 2), (2, 2)),
        WindowShape((3, 3), (1, 1), 70, (1, 1, 1, 1)),
        WindowShape((2, 2), (2, 2)),
    ]
    network = random_conv_network(Input((9, 8, 3), dtype), windows, (65, 10), 9)  # type: ignore[arg-type]
    check_against_naive(network, random_inputs(network, 3, 10))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "twins", "zero", "widest", "mixed"])
def test_golden_is_naive_at_full_width(dtype: str, kind: str) -> None:
    network = random_network(Input((10, 5, 4), dtype), (199, 200, 11), 7, kind)  # type: ignore[arg-type]
    check_against_naive(network, random_inputs(network, 5, 8))


def test_random_networks_are_no_constants() -> None:
    """Random layers pass information on: neurons that fire for some images and not for others, images apart, ties."""
    network = random_network(Input((200,), "bit"), (200, 200, 10), 3)
    trace = golden.trace(network, random_inputs(network, 200, 4))
    for bits in trace.activations:
        assert (bits.any(axis=0) & ~bits.all(axis=0)).mean() > 0.3
    best = trace.scores.max(axis=1, keepdims=True)
    assert ((trace.scores == best).sum(axis=1) > 1).any()
    assert len(np.unique(trace.scores.argmax(axis=1))) > 3


def test_random_convolutions_are_no_constants() -> None:
    windows = [WindowShape((3, 3), (1, 1), 40, (1, 1, 1, 1)), WindowShape((2, 2), (2, 2)), WindowShape((3, 3), (1, 1), 40)]
    network = random_conv_network(Input((10, 10, 3), "int8"), windows, (50, 10), 6)
    trace = golden.trace(network, random_inputs(network, 200, 7))
    for bits in trace.activations:
        assert (bits.any(axis=0) & ~bits.all(axis=0)).mean() > 0.3
    assert len(np.unique(trace.scores.argmax(axis=1))) > 3


def test_a_convolution_by_hand() -> None:
    """Two rows of three bits; a kernel of 2x2 of which each place counts in halves, a true zero for one."""
    weights = np.array([[[[1], [0]], [[1], [1]]]], bool)
    image = np.array([[1, 0, 1, 0, 0, 1]], bool)
    places = {  # the window's four bits at each place, with z for a true zero, against 1 0 1 1
        (0, 0): "zzz1",
        (0, 1): "zz10",
        (0, 2): "zz01",
        (1, 0): "z1z0",
        (1, 1): "1000",
        (1, 2): "0101",
    }
    halves = [sum({"z": 1, wanted: 2}.get(bit, 0) for bit, wanted in zip(bits, "1011", strict=True)) for bits in places.values()]
    assert halves == [5, 4, 4, 2, 4, 2]
    last = Scores("scores", np.ones((1, 6), bool), np.ones(1, np.int32), np.zeros(1, np.int32))
    for threshold in range(10):
        conv = Conv("conv1", weights, np.array([threshold], np.int32), padding=(1, 0, 1, 0))
        trace = golden.trace(Network("net", Input((2, 3, 1), "bit"), (conv, last)), image)
        assert trace.activations[0].tolist() == [[half >= threshold for half in halves]]


def test_a_pooling_by_hand() -> None:
    """Windows of 2x2 on 3x5, two columns on and one row; the last column is left out. Channel 0 is an OR, 1 an AND."""
    rows = ["11 00 01 10 11", "01 01 11 10 11", "00 01 00 00 11"]
    image = np.array([[int(bit) for row in rows for bit in row.replace(" ", "")]], bool)
    pool = MaxPool("pool1", (2, 2), (1, 2), np.array([False, True]))
    last = Scores("scores", np.ones((1, 8), bool), np.ones(1, np.int32), np.zeros(1, np.int32))
    trace = golden.trace(Network("net", Input((3, 5, 2), "bit"), (pool, last)), image)
    assert trace.activations[0].astype(int).tolist() == [[1, 0, 1, 0, 0, 0, 1, 0]]
    assert trace.scores.tolist() == [[-2]]


def test_the_lowest_of_equal_scores_wins() -> None:
    last = Scores("scores", np.array([[0], [1], [0], [1]], bool), np.ones(4, np.int32), np.zeros(4, np.int32))
    network = Network("net", Input((1,), "bit"), (last,))
    assert golden.classify(network, np.array([[True], [False]])).tolist() == [1, 0]


@pytest.mark.parametrize("images_at_a_time", [1, 4, 11, 1000])
def test_chunks_join_as_one(images_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = random_network(Input((20,), "uint8"), (13, 7), 1)
    windows = [WindowShape((3, 2), (1, 2), 3, (1, 0, 0, 1)), WindowShape((2, 2), (2, 1))]
    conv = random_conv_network(Input((5, 4, 1), "int8"), windows, (7,), 1)
    for network, elements in ((dense, 20), (conv, 4 * 2 * 6)):  # places times inputs of a convolution's window
        inputs = random_inputs(network, 11, 2)
        monkeypatch.setattr(golden, "_CHUNK_ELEMENTS", 1 << 22)
        whole = golden.trace(network, inputs)
        monkeypatch.setattr(golden, "_CHUNK_ELEMENTS", elements * images_at_a_time)
        assert [len(chunk) for chunk in golden._chunks(network, inputs)][:1] == [min(images_at_a_time, 11)]
        parts = golden.trace(network, inputs)
        assert np.array_equal(whole.scores, parts.scores)
        assert np.array_equal(whole.scores, golden.scores(network, inputs))
        assert all(np.array_equal(a, b) for a, b in zip(whole.activations, parts.activations, strict=True))


def test_an_image_larger_than_a_chunk_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(Input((20,), "uint8"), (13, 7), 1)
    monkeypatch.setattr(golden, "_CHUNK_ELEMENTS", 5)
    assert [len(chunk) for chunk in golden._chunks(network, random_inputs(network, 3, 2))] == [1, 1, 1]


def test_no_images() -> None:
    network = random_network(Input((20,), "int8"), (13, 7), 1)
    trace = golden.trace(network, np.zeros((0, 20), np.int8))
    assert (trace.activations[0].shape, trace.scores.shape) == ((0, 13), (0, 7))
    assert golden.classify(network, np.zeros((0, 20), np.int8)).tolist() == []
    network = random_conv_network(Input((5, 4, 1), "bit"), [WindowShape((2, 2), (1, 1), 3), WindowShape((2, 2), (2, 2))], (7,), 1)
    trace = golden.trace(network, np.zeros((0, 20), bool))
    assert [bits.shape for bits in trace.activations] == [(0, 36), (0, 6)]
    assert trace.scores.shape == (0, 7)


# Sums that float32 would round.


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("int8", -127)])
def test_sums_past_the_integers_of_float32(dtype: str, value: int) -> None:
    """An odd sum above 2**24, one past an even one, does not exist in float32."""
    inputs = 132_113 if dtype == "int8" else 65_795
    total = abs(value) * inputs
    assert total > 2**24
    assert total % 2
    assert np.float32(total) != total
    weights = np.full((3, inputs), value > 0)
    first = Dense("fc1", weights, np.array([total - 1, total, total + 1], np.int32))
    last = Scores("scores", np.eye(3, dtype=bool), np.ones(3, np.int32), np.zeros(3, np.int32))
    network = Network("net", Input((inputs,), dtype), (first, last))  # type: ignore[arg-type]
    trace = golden.trace(network, np.full((1, inputs), value, dtype))
    assert trace.activations[0].tolist() == [[True, True, False]]
    scores = Network("net", Input((inputs,), dtype), (Scores("s", weights[:1], np.ones(1, np.int32), np.zeros(1, np.int32)),))  # type: ignore[arg-type]
    assert golden.scores(scores, np.full((1, inputs), value, dtype)).tolist() == [[total]]


def test_the_widest_sums_that_float32_holds() -> None:
    inputs = 65_793
    assert Sums.of(inputs, "uint8").low == 1 - 2**24
    last = Scores("scores", np.ones((1, inputs), bool), np.ones(1, np.int32), np.zeros(1, np.int32))
    images = np.full((2, inputs), 255, np.uint8)
    images[1, 0] = 254
    assert golden.scores(Network("net", Input((inputs,), "uint8"), (last,)), images).tolist() == [[2**24 - 1], [2**24 - 2]]


def test_extremes_of_int32_scores() -> None:
    scale = np.array([2**31 - 1, -(2**31 - 1)], np.int32)
    last = Scores("scores", np.ones((2, 1), bool), scale, np.zeros(2, np.int32))
    network = Network("net", Input((1,), "bit"), (last,))
    assert golden.scores(network, np.array([[True], [False]])).tolist() == [[2**31 - 1, 1 - 2**31], [1 - 2**31, 2**31 - 1]]


# PyTorch.


@torch.no_grad()
def randomized(network: BinaryNetwork, seed: int, input_reach: float) -> BinaryNetwork:
    """Returns the network with random weights and batch norms: slopes of either sign, zero and tiny, means within reach."""
    generator = torch.Generator().manual_seed(seed)
    for index, block in enumerate(network.eval().stages):
        spread = (block.product.weight[0].numel() ** 0.5) * (input_reach if index == 0 else 1.0)
        outputs = block.product.bias.shape[0]

        def normal(count: int = outputs) -> torch.Tensor:
            return torch.randn(count, generator=generator)

        block.product.weight.uniform_(-1, 1, generator=generator)
        block.product.weight.view(-1)[0] = 0.0  # sign(0) is +1
        block.product.bias.copy_(normal())
        block.normalize.running_mean.copy_((normal() * spread).round())
        block.normalize.running_var.copy_(torch.rand(outputs, generator=generator) * spread**2 + 1e-3)
        chosen = torch.randint(0, 10, (outputs,), generator=generator)
        gamma = torch.where(chosen == 0, torch.tensor(0.0), normal())
        block.normalize.weight.copy_(torch.where(chosen == 1, torch.tensor(-1e-30), gamma))
        block.normalize.bias.copy_(torch.where(chosen < 4, torch.tensor(0.0), normal()))
    return network


def trained(widths: list[int], seed: int, input_reach: float) -> BinaryNetwork:
    """Returns a network of fully connected layers as `randomized` makes them."""
    *hidden, classes = widths[1:]
    return randomized(build_network("-".join(map(str, hidden)), (widths[0],), classes), seed, input_reach)


@torch.no_grad()
def torch_trace(network: BinaryNetwork, inputs: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Returns the network's own hidden signs, as bits, flattened; of a block that pools also those of the unpooled sums."""
    x, bits = to_tensor(inputs, shape), []

    def flat(x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x

    for block in network.stages[:-1]:
        x = flat(x) if isinstance(block.product, BinaryLinear) else x
        if block.pool > 1:
            bits.append(flat(block.normalized(block.product.products(x)) >= 0).numpy())
        x = sign(block(x))
        bits.append(flat(x > 0).numpy())
    return bits


def score_unit(model: BinaryNetwork, network: Network) -> tuple[float, float]:
    """Returns what 1 in an integer score stands for, a power of two, and how far integer and float32 scores may differ."""
    *_, step = network.steps
    block, last = model.stages[-1], step.layer
    assert isinstance(last, Scores)
    norm = block.normalize
    parts = (norm.running_mean, norm.running_var, norm.weight, norm.bias, block.product.bias)
    mean, variance, gamma, beta, bias = (part.detach().double().numpy() for part in parts)
    slope = gamma / np.sqrt(variance + norm.epsilon)
    real = np.concatenate([slope, (bias - mean) * slope + beta])
    integers = np.concatenate([last.scale, last.offset])
    greatest = int(np.abs(integers).argmax())
    unit = 2.0 ** np.rint(np.log2(abs(real[greatest] / integers[greatest]))) if integers[greatest] else 0.0
    reach = -layer_sums(last, step.input).low
    float32_rounding = 2.0**-20 * (np.abs(slope) * (reach + np.abs(mean) + np.abs(bias)) + np.abs(beta)).max()
    return float(unit), float(float32_rounding + unit * (reach + 1) / 2)


def check_against_pytorch(model: BinaryNetwork, network: Network, inputs: np.ndarray) -> None:
    """Every hidden bit; every score within its rounding; every decision that this rounding cannot turn."""
    trace = golden.trace(network, inputs)
    for expected, found in zip(torch_trace(model, inputs, network.input.shape), trace.activations, strict=True):
        assert np.array_equal(expected, found)
    real = float_scores(model, inputs, network.input.shape).astype(np.float64)
    unit, tolerance = score_unit(model, network)
    assert np.abs(real - trace.scores * unit).max() <= tolerance
    second = np.sort(real)[:, -2] if network.classes > 1 else -np.inf
    decided = np.sort(real)[:, -1] - second > 2 * tolerance
    assert np.array_equal(real.argmax(axis=1)[decided], trace.scores.argmax(axis=1)[decided])


REACH = {"bit": 1.0, "uint8": 150.0, "int8": 75.0}


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_golden_is_pytorch(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    widths = data.draw(st.lists(st.integers(1, 200), min_size=2, max_size=4), "widths")
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    model = trained(widths, seed, REACH[dtype])
    network = export_network("net", model, Input((widths[0],), dtype))
    assert [layer.name for layer in network.layers] == [f"fc{index}" for index in range(1, len(widths) - 1)] + ["scores"]
    check_against_pytorch(model, network, random_inputs(network, 64, seed))


@st.composite
def conv_blocks(draw: st.DrawFn, shape: tuple[int, int, int], dtype: str) -> tuple[BinaryBlock, tuple[int, int, int]]:
    """Random convolutions as PyTorch has them, and what shape they give: square kernels, strides, pooling or none."""
    padding = draw(st.integers(0, 2))
    value = draw(st.sampled_from((0, 1) if dtype == "uint8" else (0, -1, 1)))
    kernel = draw(st.integers(1, min(3, 2 * padding + min(shape[:2]))))
    stride = draw(st.sampled_from((1, 1, 2))) if kernel > padding else 1
    outputs = draw(st.integers(1, 12))
    product = BinaryConv2d(shape[2], outputs, kernel, stride=stride, padding=padding, padding_value=value)
    rows, columns = ((extent + 2 * padding - kernel) // stride + 1 for extent in shape[:2])
    pool = draw(st.integers(1, min(3, rows, columns)))
    return BinaryBlock(product, BatchNorm(outputs, epsilon=1e-4), pool), (rows // pool, columns // pool, outputs)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_golden_is_pytorch_on_images(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    shape = data.draw(st.tuples(st.integers(3, 9), st.integers(3, 9), st.integers(1, 4)), "shape")
    input_, blocks = Input(shape, dtype), list[BinaryBlock]()
    for index in range(data.draw(st.integers(1, 3), "convolutions")):
        block, shape = data.draw(conv_blocks(shape, "bit" if index else dtype))
        blocks.append(block)
    for outputs in data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=2), "widths"):
        blocks.append(BinaryBlock(BinaryLinear(int(np.prod(shape)), outputs), BatchNorm(outputs, epsilon=1e-4)))
        shape = (outputs, 1, 1)
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    model = randomized(BinaryNetwork(blocks), seed, REACH[dtype])
    network = export_network("net", model, input_)
    check_against_pytorch(model, network, random_inputs(network, 16, seed))


def test_every_decision_of_a_real_size() -> None:
    model = trained([784, 256, 256, 10], 11, 1.0)
    network = export_network("net", model, Input((28, 28, 1), "bit", 128))
    images = np.random.default_rng(12).integers(0, 256, (3000, 28, 28, 1), np.uint8)
    inputs = golden.prepare(network, images)
    trace = golden.trace(network, images)
    for expected, found in zip(torch_trace(model, inputs, (784,)), trace.activations, strict=True):
        assert np.array_equal(expected, found)
    assert np.array_equal(float_scores(model, inputs, (784,)).argmax(axis=1), golden.classify(network, images))


# What `prepare` takes.


def net(input_: Input) -> Network:
    classes = np.ones(2, np.int32)
    return Network("net", input_, (Scores("scores", np.ones((2, input_.signal.size), bool), classes, classes),))


def test_prepare() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1) * 10
    for shaped in (pixels, pixels[..., 0], pixels.reshape(2, 12)):
        assert np.array_equal(golden.prepare(net(Input((3, 4, 1), "uint8")), shaped), pixels.reshape(2, 12))
        prepared = golden.prepare(net(Input((3, 4, 1), "bit", 50)), shaped)
        assert prepared.dtype == np.bool_
        assert prepared.tolist() == [[value * 10 >= 50 for value in range(12)], [True] * 12]
    assert golden.prepare(net(Input((3,), "int8")), np.full((1, 3), -128, np.int8)).tolist() == [[-128] * 3]
    assert golden.prepare(net(Input((3,), "bit", 50)), np.ones((1, 3), bool)).tolist() == [[True] * 3]


def test_prepare_makes_int8_of_pixels() -> None:
    network = net(Input((1, 4, 1), "int8"))
    pixels = np.array([[0, 127, 128, 255]], np.uint8)
    for images in (pixels, pixels[:, None], pixels[:, None, :, None], np.asfortranarray(np.repeat(pixels, 3, 0))):
        prepared = golden.prepare(network, images)
        assert prepared.dtype == np.int8
        assert prepared.tolist() == [[-128, -1, 0, 127]] * len(images)
    assert pixels.tolist() == [[0, 127, 128, 255]]
    assert golden.scores(network, pixels).tolist() == golden.scores(network, (pixels.astype(int) - 128).astype(np.int8)).tolist()


@pytest.mark.parametrize(("threshold", "expected"), [(0, [True, True, True]), (255, [False, False, True]), (256, [False] * 3)])
def test_prepare_at_the_ends_of_the_pixel_threshold(threshold: int, expected: list[bool]) -> None:
    network = net(Input((3,), "bit", threshold))
    assert golden.prepare(network, np.array([[0, 254, 255]], np.uint8)).tolist() == [expected]


SHAPE = r"^images must be \[images, 3, 4, 2\] or one \[3, 4, 2\], not "


@pytest.mark.parametrize(
    ("input_", "images", "message"),
    [
        (Input((3, 4, 2), "bit"), np.zeros((5, 3, 4), bool), SHAPE + r"\[5, 3, 4\]$"),
        (Input((3, 4, 2), "bit"), np.zeros((3, 2, 4), bool), SHAPE + r"\[3, 2, 4\]$"),
        (Input((3, 4, 2), "bit"), np.zeros((5, 23), bool), SHAPE + r"\[5, 23\]$"),
        (Input((3, 4, 2), "bit"), np.zeros((5, 4, 3, 2), bool), SHAPE + r"\[5, 4, 3, 2\]$"),
        (Input((3, 4, 2), "bit"), np.zeros((), bool), SHAPE + r"\[\]$"),
        (Input((3,), "bit"), np.zeros((5, 4), bool), r"^images must be \[images, 3\] or one \[3\], not \[5, 4\]$"),
        (Input((3,), "bit"), np.full((5, 3), 2, np.uint8), r"^elements of images must be 0\.\.1 for bit inputs, not 2$"),
        (Input((3,), "bit", 128), np.zeros((5, 3), np.float32), "^images must be bool, or uint8 pixels, not float32; round "),
        (Input((3,), "bit", 128), np.full((5, 3), -1, np.int8), r"^elements .* 0\.\.1 .*, not -1; pixels must be uint8$"),
        (Input((3,), "uint8"), np.full((5, 3), -1, np.int8), r"^elements of images must be 0\.\.255 for uint8 inputs, not -1$"),
        (Input((3,), "uint8"), np.zeros((5, 3), bool), "^images must be uint8, not bool$"),
        (Input((3,), "int8"), np.full((5, 3), 128, np.int64), r"^elements .* -128\.\.127 .*, not 128; pixels must be uint8$"),
        (Input((3,), "int8"), np.zeros((5, 3), bool), "^images must be int8, or uint8 pixels, not bool$"),
        (Input((3, 4, 2), "int8"), np.zeros((5, 3, 4, 3), np.uint8), SHAPE + r"\[5, 3, 4, 3\]$"),
        (Input((3, 4, 2), "int8"), np.zeros((5, 4, 4, 2), np.uint8), SHAPE + r"\[5, 4, 4, 2\]$"),
        (Input((3, 4, 2), "int8"), np.zeros((5, 2, 3, 4), np.uint8), SHAPE + r"\[5, 2, 3, 4\]$"),
        (Input((3, 4, 2), "uint8"), np.zeros((5, 3, 4, 2, 1), np.uint8), SHAPE + r"\[5, 3, 4, 2, 1\]$"),
    ],
    ids=range(17),
)
def test_prepare_refuses(input_: Input, images: np.ndarray, message: str) -> None:
    for function in (golden.prepare, golden.trace, golden.scores, golden.classify):
        with pytest.raises(ArtefactError, match=message):
            function(net(input_), images)
