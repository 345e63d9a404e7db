# SPDX-License-Identifier: Apache-2.0
"""Network files: the documented format, round trips, and bad input of every kind."""

import hashlib
import json
import os
import pickle
import re
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from bnn_hw.design.lower import lower
from bnn_hw.errors import ArtefactError
from bnn_hw.network import golden
from bnn_hw.network.file import load_network, network_bytes, network_digest, save_network
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, MaxPool, Network, Scores
from bnn_rtl.emit import emit_verilog
from bnn_rtl.shell import Shell
from support.strategies import conv_networks, networks, random_plan

MODELS = Path(__file__).parents[2] / "bnn_hw" / "models"
DOCUMENT = Path(__file__).parents[2] / "docs" / "network-format.md"
IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)

# A network file of each version, as values that a test breaks one at a time and `encode` makes into bytes.
DESCRIPTION: Mapping[str, Any] = {
    "version": 1,
    "name": "net",
    "input": {"shape": [1, 11, 1], "dtype": "bit", "pixel_threshold": 128},
    "layers": [
        {"type": "dense", "name": "fc1", "inputs": 11, "outputs": 3},
        {"type": "scores", "name": "scores", "inputs": 3, "outputs": 2},
    ],
    "provenance": {"from": "a test"},
}
TENSORS: Mapping[str, np.ndarray] = {
    "fc1.weights": np.array([[255, 7], [0, 0], [170, 2]], np.uint8),
    "fc1.thresholds": np.array([0, 6, 12], "<i4"),
    "scores.weights": np.array([[5], [2]], np.uint8),
    "scores.scale": np.array([1, -2], "<i4"),
    "scores.offset": np.array([0, 7], "<i4"),
}
# The image has 4 rows and 5 columns of 3 channels, what the convolution gives 4, 3 and 2, the pooling 2, 2 and 2.
CONV_DESCRIPTION: Mapping[str, Any] = {
    "version": 2,
    "name": "net",
    "input": {"shape": [4, 5, 3], "dtype": "bit"},
    "layers": [
        {
            "type": "conv",
            "name": "conv1",
            "kernel": [2, 3],
            "channels": 3,
            "outputs": 2,
            "stride": [1, 2],
            "padding": [1, 0, 0, 2],
            "padding_value": 0,
        },
        {"type": "maxpool", "name": "pool1", "size": [2, 2], "stride": [2, 1], "channels": 2},
        {"type": "scores", "name": "scores", "inputs": 8, "outputs": 2},
    ],
    "provenance": {},
}
CONV_TENSORS: Mapping[str, np.ndarray] = {
    "conv1.weights": np.array([[255, 0, 3], [1, 2, 1]], np.uint8),
    "conv1.thresholds": np.array([0, 37], "<i4"),
    "pool1.and_channels": np.array([2], np.uint8),
    "scores.weights": np.array([[5], [192]], np.uint8),
    "scores.scale": np.array([1, -2], "<i4"),
    "scores.offset": np.array([0, 7], "<i4"),
}
RELU_DESCRIPTION: Mapping[str, Any] = {
    "version": 3,
    "name": "net",
    "input": {"shape": [9], "dtype": "uint8"},
    "layers": [
        {"type": "dense_relu", "name": "relu1", "inputs": 9, "outputs": 3, "shift": 5},
        {"type": "scores", "name": "scores", "inputs": 3, "outputs": 2},
    ],
    "provenance": {},
}
RELU_TENSORS: Mapping[str, np.ndarray] = {
    "relu1.weights": np.array([[255, 1], [0, 0], [170, 1]], np.uint8),
    "relu1.scale": np.array([1, -3, 2**31 - 1], "<i4"),
    "relu1.offset": np.array([-(2**31), 0, 9], "<i4"),
    "scores.weights": np.array([[5], [2]], np.uint8),
    "scores.scale": np.array([1, -2], "<i4"),
    "scores.offset": np.array([0, 7], "<i4"),
}
FILES = {1: (DESCRIPTION, TENSORS), 2: (CONV_DESCRIPTION, CONV_TENSORS), 3: (RELU_DESCRIPTION, RELU_TENSORS)}
VERSIONS = pytest.mark.parametrize("version", FILES)
DTYPES = {"|u1": "U8", "<i4": "I32", "<f4": "F32", "<i8": "I64", "|i1": "I8", "|b1": "BOOL"}


def encode(description: object, tensors: Mapping[str, np.ndarray], *, digest: bytes | None = None) -> bytes:
    """Returns a network file with its right digest, however wrong the rest is; a string is a description's own text."""
    text = description if isinstance(description, str) else json.dumps(description)
    whole = hashlib.sha256(text.encode() + b"".join(tensor.tobytes() for tensor in tensors.values())).digest()
    tensors = {**tensors, "sha256": np.frombuffer(whole if digest is None else digest, np.uint8)}
    header: dict[str, Any] = {"__metadata__": {"bnn_hw.network": text}}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": DTYPES[tensor.dtype.str], "shape": tensor.shape, "data_offsets": offsets}
        data += tensor.tobytes()
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def load(content: bytes, folder: Path) -> Network:
    path = folder / "n.safetensors"
    path.write_bytes(content)
    return load_network(path)


def refused(content: bytes, folder: Path, message: str) -> None:
    """Asserts that a file is refused with a message that starts with its path and goes on with exactly this pattern."""
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(folder))}/n.safetensors{message}$"):
        load(content, folder)


def same(a: Network, b: Network) -> bool:
    """Returns whether two networks are equal in every field, without the code that writes files."""
    return (a.name, a.input, a.provenance, len(a.layers)) == (b.name, b.input, b.provenance, len(b.layers)) and all(
        type(x) is type(y)
        and vars(x).keys() == vars(y).keys()
        and all(np.array_equal(vars(x)[key], vars(y)[key]) for key in vars(x))
        for x, y in zip(a.layers, b.layers, strict=True)
    )


def block(language: str, index: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[index]


# The document.


def run_the_documents_writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs the document's code in a folder; returns what it defines."""
    monkeypatch.chdir(folder)
    writer, conv = block("python", 0), block("python", 1)
    assert set(re.findall(r"^(?:import|from) (\w+)", writer + conv, re.MULTILINE)) == {"hashlib", "json", "struct", "numpy"}
    defined: dict[str, Any] = {}
    exec(writer, defined)
    exec(conv, defined)
    return defined


def test_the_documents_writer_writes_what_the_document_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_the_documents_writer(tmp_path, monkeypatch)
    content = (tmp_path / "tiny.safetensors").read_bytes()
    network = load_network(tmp_path / "tiny.safetensors")
    (length,) = struct.unpack("<Q", content[:8])
    data = content[8 + length :]
    assert json.loads(content[8 : 8 + length])["__metadata__"]["bnn_hw.network"] == block("text", 0).strip()
    assert network_digest(network) == data[-32:].hex() == block("text", 1).strip()
    assert data == bytes.fromhex(block("text", 2))
    assert network_bytes(network) == content
    trace = golden.trace(network, np.array([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]], bool))
    assert trace.activations[0].tolist() == [[True] * 3]
    assert trace.scores.tolist() == [[1, 3]]


def test_the_documents_convolution_computes_what_the_document_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_the_documents_writer(tmp_path, monkeypatch)
    network = load_network(tmp_path / "image.safetensors")
    assert network_bytes(network) == (tmp_path / "image.safetensors").read_bytes()
    assert network_digest(network) == block("text", 3).strip()
    image = np.array([[bit == "1" for bit in block("text", 4).split()]])
    trace = golden.trace(network, image)
    assert trace.scores.tolist() == [[2, -1]]
    table = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in DOCUMENT.read_text().splitlines() if row.startswith("| ")}
    outputs = [[int(bit) for bit in table[f"output, halves >= {threshold}"]] for threshold in (4, 3)]
    assert trace.activations[0].reshape(6, 2).T.astype(int).tolist() == outputs
    assert trace.activations[1].astype(int).tolist() == [[1, 0]]
    conv = network.layers[0]
    assert isinstance(conv, Conv)
    for neuron, name in enumerate(("first neuron: halves", "second neuron: halves")):
        for place, halves in enumerate(map(int, table[name])):
            for threshold in (halves, halves + 1):
                layer = replace(conv, thresholds=np.full(2, threshold, np.int32))
                fired = golden.trace(replace(network, layers=(layer, *network.layers[1:])), image).activations[0]
                assert fired.reshape(6, 2)[place, neuron] == (threshold == halves)


def test_the_document_names_each_layer_type_and_field() -> None:
    text = DOCUMENT.read_text()
    described = [*DESCRIPTION["layers"], *CONV_DESCRIPTION["layers"], *RELU_DESCRIPTION["layers"]]
    for layer in described:
        assert f'"{layer["type"]}"' in text
        assert all(f"`{field}`" in text or f"layers[i].{field}" in text for field in layer)


def test_a_strangers_cnv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of BNN-PYNQ's CNV shape, written with the document's own code from foreign weights, runs and becomes Verilog."""
    write = run_the_documents_writer(tmp_path, monkeypatch)["write"]
    rng, tensors, layers = np.random.default_rng(1), dict[str, np.ndarray](), list[dict[str, Any]]()
    foreign: list[tuple[np.ndarray, np.ndarray] | None] = []  # each layer's signs and least sums, None for a pooling

    def binary(name: str, shape: tuple[int, ...], order: tuple[int, ...], bits: bool) -> None:
        outputs, inputs = shape[0], int(np.prod(shape[1:]))
        weights = rng.random(shape) < 0.5
        packed = np.packbits(weights.transpose(order).reshape(outputs, inputs), axis=1, bitorder="little")
        tensors[f"{name}.weights"] = packed
        spread = inputs**0.5 * (1 if bits else 74)
        thresholds = np.rint(rng.normal(inputs / 2 if bits else 0, spread / 4, outputs)).astype("<i4")
        tensors[f"{name}.thresholds"] = thresholds
        foreign.append((np.where(weights, 1.0, -1.0), (2 * thresholds - inputs if bits else thresholds).astype(float)))

    channels = 3
    for index, outputs in enumerate((64, 64, 128, 128, 256, 256), 1):
        name = f"conv{index}"
        binary(name, (outputs, channels, 3, 3), (0, 2, 3, 1), bits=index > 1)  # as PyTorch has them
        layer = {"type": "conv", "name": name, "kernel": [3, 3], "channels": channels, "outputs": outputs, "stride": [1, 1]}
        layers.append({**layer, "padding": [0, 0, 0, 0], "padding_value": 0})
        if index in (2, 4):
            pool = {"type": "maxpool", "name": f"pool{index}", "size": [2, 2], "stride": [2, 2], "channels": outputs}
            layers.append(pool)
            tensors[f"pool{index}.and_channels"] = np.zeros(outputs // 8, np.uint8)
            foreign.append(None)
        channels = outputs
    for name, inputs, outputs in (("fc1", 256, 512), ("fc2", 512, 512)):
        binary(name, (outputs, inputs), (0, 1), bits=True)
        layers.append({"type": "dense", "name": name, "inputs": inputs, "outputs": outputs})
    weights = rng.random((10, 512)) < 0.5
    layers.append({"type": "scores", "name": "fc3", "inputs": 512, "outputs": 10})
    tensors["fc3.weights"] = np.packbits(weights, axis=1, bitorder="little")
    tensors |= {"fc3.scale": np.ones(10, "<i4"), "fc3.offset": np.zeros(10, "<i4")}
    description = {
        "version": 2,
        "name": "cnv",
        "input": {"shape": [32, 32, 3], "dtype": "int8"},
        "layers": layers,
        "provenance": {},
    }
    write("cnv.safetensors", description, tensors)

    network = load_network(tmp_path / "cnv.safetensors")
    assert network_bytes(network) == (tmp_path / "cnv.safetensors").read_bytes()
    assert network.weight_bits == 1_542_848
    images = rng.integers(-128, 128, (4, 32, 32, 3)).astype(np.int8)
    trace = golden.trace(network, images)
    x = torch.from_numpy(images.astype(float)).permute(0, 3, 1, 2)
    for layer, found in zip(foreign, trace.activations, strict=True):
        if layer is None:
            x = torch.nn.functional.max_pool2d(x, 2)
        else:
            signs, least = (torch.from_numpy(values) for values in layer)
            sums = torch.nn.functional.conv2d(x, signs) if signs.dim() == 4 else x.flatten(1) @ signs.T
            x = torch.where(sums >= least.view(-1, *[1] * (sums.dim() - 2)), 1.0, -1.0).double()
        expected = (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).flatten(1) > 0
        assert np.array_equal(found, expected.numpy())
        assert 0.1 < found.mean() < 0.9
    assert np.array_equal(trace.scores, (x.numpy() @ np.where(weights, 1, -1).T).astype(int))
    shell = Shell(lower(network, random_plan(network, 2, max_products=64)))
    assert "module \\cnv.core.accelerator.layer_conv6 " in emit_verilog(shell, "cnv", shell.parts)


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    network = load(encode(DESCRIPTION, TENSORS), tmp_path)
    fc1, scores = network.layers
    assert isinstance(fc1, Dense)
    assert isinstance(scores, Scores)
    assert (network.name, network.input, network.provenance) == ("net", Input((1, 11, 1), "bit", 128), {"from": "a test"})
    assert fc1.weights.astype(int).tolist() == [[1] * 11, [0] * 11, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]]
    assert scores.weights.astype(int).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert (fc1.thresholds.tolist(), scores.scale.tolist(), scores.offset.tolist()) == ([0, 6, 12], [1, -2], [0, 7])


def test_a_file_of_version_2_written_by_hand(tmp_path: Path) -> None:
    network = load(encode(CONV_DESCRIPTION, CONV_TENSORS), tmp_path)
    conv, pool, scores = network.layers
    assert isinstance(conv, Conv)
    assert isinstance(pool, MaxPool)
    assert isinstance(scores, Scores)
    assert (network.name, network.input, network.provenance) == ("net", Input((4, 5, 3), "bit"), {})
    first = [[[1, 1, 1], [1, 1, 1], [1, 1, 0]], [[0, 0, 0], [0, 0, 0], [0, 1, 1]]]
    second = [[[1, 0, 0], [0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0], [0, 1, 0]]]
    assert conv.weights.astype(int).tolist() == [first, second]
    assert (conv.thresholds.tolist(), conv.stride, conv.padding, conv.padding_value) == ([0, 37], (1, 2), (1, 0, 0, 2), 0)
    assert (pool.size, pool.stride, pool.and_channels.tolist()) == ((2, 2), (2, 1), [False, True])
    assert [step.output.shape for step in network.steps] == [(4, 3, 2), (2, 2, 2), (2,)]


def test_a_file_of_version_3_written_by_hand(tmp_path: Path) -> None:
    network = load(encode(RELU_DESCRIPTION, RELU_TENSORS), tmp_path)
    relu, scores = network.layers
    assert isinstance(relu, DenseRelu)
    assert isinstance(scores, Scores)
    assert (network.name, network.input, network.provenance) == ("net", Input((9,), "uint8"), {})
    assert relu.weights.astype(int).tolist() == [[1] * 9, [0] * 9, [0, 1, 0, 1, 0, 1, 0, 1, 1]]
    assert (relu.scale.tolist(), relu.offset.tolist(), relu.shift) == ([1, -3, 2**31 - 1], [-(2**31), 0, 9], 5)
    content = network_bytes(network)
    assert b'version\\":3' in content
    assert same(load(content, tmp_path), network)


def test_every_field_of_a_rectified_layer_is_in_the_digest() -> None:
    weights, one = np.arange(6).reshape(2, 3) % 2 == 0, np.ones(2, np.int32)
    relu, last = DenseRelu("relu1", weights, one, 2 * one, 3), Scores("scores", weights[:, :2], one, one)
    variants = [
        relu,
        replace(relu, name="relu2"),
        replace(relu, weights=~weights),
        replace(relu, scale=2 * one),
        replace(relu, offset=one),
        replace(relu, scale=2 * one, offset=one),
        replace(relu, shift=4),
        Dense("relu1", weights, one),
    ]
    digests = {network_digest(Network("net", Input((3,), "bit"), (layer, last))) for layer in variants}
    assert len(digests) == len(variants)


def test_a_layer_of_version_1_may_stand_in_version_2(tmp_path: Path) -> None:
    """It loads, and is written again as version 1, which is another description and so another digest."""
    network = load(encode({**DESCRIPTION, "version": 2}, TENSORS), tmp_path)
    assert same(network, load(encode(DESCRIPTION, TENSORS), tmp_path))
    assert b'version\\":1' in network_bytes(network)


def test_later_versions_are_written_only_where_they_have_to_be() -> None:
    one, classes = np.ones(1, np.int32), Scores("scores", np.ones((1, 4), bool), np.ones(1, np.int32), np.ones(1, np.int32))
    conv, four = Conv("conv1", np.ones((1, 1, 1, 1), bool), one), np.ones(4, np.int32)
    layers = {
        1: (Dense("fc1", np.ones((4, 4), bool), four),),
        2: (conv,),
        3: (MaxPool("pool1", (1, 1), (1, 1), np.zeros(1, bool)),),
        4: (conv, DenseRelu("relu1", np.ones((4, 4), bool), four, four, 0)),
    }
    for number, hidden in layers.items():
        content = network_bytes(Network("net", Input((2, 2, 1), "bit"), (*hidden, classes)))
        assert (b'version\\":%d' % {3: 2, 4: 3}.get(number, number)) in content


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_packaged_networks_are_written_again_byte_for_byte(path: Path) -> None:
    network = load_network(path)
    assert network_bytes(network) == path.read_bytes()


def test_a_network_of_version_1_keeps_its_bytes() -> None:
    weights = np.arange(33).reshape(3, 11) % 3 == 0
    last = Scores("scores", np.eye(2, 3, dtype=bool), np.array([1, -2], np.int32), np.array([0, 7], np.int32))
    network = Network("net", Input((1, 11, 1), "bit", 128), (Dense("fc1", weights, np.array([0, 6, 12], np.int32)), last), {"a": 1})
    assert hashlib.sha256(network_bytes(network)).hexdigest() == "1bcbba624f34153c89e666c8b1c22e07a3854116fb4ab0b037090a8940c9d820"


def test_optional_fields_and_tensor_order_are_free(tmp_path: Path) -> None:
    description: dict[str, Any] = deepcopy(dict(DESCRIPTION))
    del description["provenance"], description["input"]["pixel_threshold"]
    content = encode(description, TENSORS)
    network = load(content, tmp_path)
    assert (network.provenance, network.input.pixel_threshold) == ({}, None)
    digest = content[-32:]
    description_text = json.dumps(description)
    shuffled = dict(reversed(list(TENSORS.items())))
    assert same(load(encode(description_text, shuffled, digest=digest), tmp_path), network)


# Round trips.


@IN_ONE_FOLDER
@given(
    network=networks() | conv_networks(),
    provenance=st.dictionaries(st.text(max_size=8), JSON_VALUES.filter(lambda value: value == value), max_size=3),
)
def test_round_trip(network: Network, provenance: dict[str, Any], tmp_path: Path) -> None:
    try:
        json.dumps(provenance, allow_nan=False)
    except ValueError:
        provenance = {}
    network = replace(network, provenance=provenance)
    path = tmp_path / "round.safetensors"
    save_network(network, path)
    loaded = load_network(path)
    assert same(loaded, network)
    assert network_bytes(loaded) == path.read_bytes()
    assert path.read_bytes()[-32:].hex() == network_digest(network)
    assert [file.name for file in tmp_path.iterdir() if "round" in file.name] == ["round.safetensors"]


def test_equal_networks_give_equal_bytes() -> None:
    def make(provenance: dict[str, Any], order: str) -> Network:
        weights = np.asarray(np.arange(15).reshape(3, 5) % 2 == 0, order=order)  # type: ignore[call-overload]
        layer = Scores("scores", weights, np.arange(3, dtype=np.int32), np.arange(6, dtype=np.int32)[::2])
        return Network("net", Input((5,), "bit"), (layer,), provenance)

    a, b = make({"x": 1, "y": {"p": 1, "q": 2}}, "C"), make({"y": {"q": 2, "p": 1}, "x": 1}, "F")
    assert network_bytes(a) == network_bytes(b)
    assert network_digest(a) == network_digest(b)
    assert network_digest(a) != network_digest(replace(a, provenance={}))


def test_every_field_is_in_the_digest() -> None:
    weights, one = np.ones((2, 3), bool), np.ones(2, np.int32)
    base = (Dense("fc1", weights, one), Scores("scores", weights[:, :2], one, one))
    flipped = weights.copy()
    flipped[1, 2] = False
    variants = [
        Network("net", Input((3,), "bit"), base),
        Network("other", Input((3,), "bit"), base),
        Network("net", Input((3, 1, 1), "bit"), base),
        Network("net", Input((3,), "int8"), base),
        Network("net", Input((3,), "uint8"), base),
        Network("net", Input((3,), "bit", 128), base),
        Network("net", Input((3,), "bit", 129), base),
        Network("net", Input((3,), "bit"), (replace(base[0], name="fc2"), base[1])),
        Network("net", Input((3,), "bit"), (replace(base[0], weights=flipped), base[1])),
        Network("net", Input((3,), "bit"), (replace(base[0], thresholds=2 * one), base[1])),
        Network("net", Input((3,), "bit"), (base[0], replace(base[1], scale=2 * one))),
        Network("net", Input((3,), "bit"), (base[0], replace(base[1], offset=2 * one))),
    ]
    assert len({network_digest(network) for network in variants}) == len(variants)


def test_every_field_of_a_window_is_in_the_digest() -> None:
    weights = np.arange(16).reshape(2, 2, 2, 2) % 3 == 0
    conv = Conv("conv1", weights, np.array([1, 2], np.int32), (1, 1), (1, 0, 0, 0), 1)
    pool = MaxPool("pool1", (2, 2), (2, 2), np.array([True, False]))

    def make(inputs: int, conv: Conv = conv, pool: MaxPool = pool) -> Network:
        one = np.ones(1, np.int32)
        scores = Scores("scores", np.ones((1, inputs), bool), one, one)
        return Network("net", Input((4, 4, 2), "bit"), (conv, pool, scores))

    variants = [
        make(4),
        make(4, replace(conv, name="conv2")),
        make(4, replace(conv, weights=~weights)),
        make(4, replace(conv, weights=weights.reshape(2, 4, 1, 2))),
        make(4, replace(conv, thresholds=np.array([1, 3], np.int32))),
        make(2, replace(conv, stride=(2, 1))),
        make(4, replace(conv, stride=(1, 2))),
        make(4, replace(conv, padding=(0, 1, 0, 0))),
        make(4, replace(conv, padding=(0, 0, 1, 0))),
        make(4, replace(conv, padding=(0, 0, 0, 1))),
        make(4, replace(conv, padding_value=0)),
        make(4, replace(conv, padding_value=-1)),
        make(4, pool=replace(pool, name="pool2")),
        make(4, pool=replace(pool, size=(1, 2))),
        make(8, pool=replace(pool, size=(2, 1))),
        make(6, pool=replace(pool, stride=(1, 2))),
        make(8, pool=replace(pool, stride=(2, 1))),
        make(4, pool=replace(pool, and_channels=np.array([True, True]))),
    ]
    assert len({network_digest(network) for network in variants}) == len(variants)


def test_what_is_no_network_file_is_not_replaced(tmp_path: Path) -> None:
    """Such as the checkpoint that is exported, under its own name."""
    network = load(encode(DESCRIPTION, TENSORS), tmp_path)
    path = tmp_path / "best.safetensors"
    for content in (save({"a": np.zeros(1)}, metadata={"bnn_hw.checkpoint": "{}"}), b"", b"notes"):
        path.write_bytes(content)
        with pytest.raises(
            ArtefactError, match=rf"^{path} exists and is not a network file, so it is left alone; give another name "
        ):
            save_network(network, path)
        assert path.read_bytes() == content
    path.unlink()
    for name in ("one", "two"):
        save_network(replace(network, name=name), path)
        assert load_network(path).name == name


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), float("inf"), b"bytes", {("a",): 1}])
def test_provenance_that_is_no_json_cannot_be_saved(value: object, tmp_path: Path) -> None:
    network = replace(load(encode(DESCRIPTION, TENSORS), tmp_path), provenance={"x": value})
    with pytest.raises(ArtefactError, match=r"^provenance must be made of JSON values: "):
        save_network(network, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))


def test_provenance_nested_too_deep_cannot_be_saved() -> None:
    nested: list[Any] = []
    for _ in range(200_000):
        nested = [nested]
    layer = Scores("scores", np.ones((1, 1), bool), np.ones(1, np.int32), np.ones(1, np.int32))
    with pytest.raises(ArtefactError, match=r"^provenance must be made of JSON values: "):
        network_bytes(Network("net", Input((1,), "bit"), (layer,), {"x": nested}))
    while nested:  # taken apart by hand, since freeing it in one go can overflow the stack of old Pythons
        nested = nested.pop()


# What is not a network file.

WHAT = r" is not a readable safetensors file"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 64,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000_001) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        b"PK\x03\x04" + b"\0" * 100,
        b"\x93NUMPY\x01\x00" + b"\0" * 100,
        '{"version": 1}'.encode("utf-16"),
    ],
    ids=range(14),
)
def test_foreign_bytes(content: bytes, tmp_path: Path) -> None:
    refused(content, tmp_path, WHAT + ": .*")


def test_foreign_safetensors(tmp_path: Path) -> None:
    message = r": no network file: the safetensors metadata must have the key 'bnn_hw\.network'"
    for metadata in ('{"__metadata__":{"format":"pt"}}', '{"__metadata__":{}}', "{}"):
        refused(struct.pack("<Q", len(metadata)) + metadata.encode(), tmp_path, message)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path, tmp_path / "absent" / "n.safetensors"):
        with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))} is not a readable safetensors file: "):
            load_network(path)


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    bomb = pickle.dumps(_Bomb(str(trap)))
    refused(bomb, tmp_path, WHAT + ": .*")
    tensors = {**TENSORS, "fc1.weights": np.frombuffer(bomb, np.uint8)}
    refused(encode(DESCRIPTION, tensors), tmp_path, r": fc1\.weights must be U8 \[3, 2\], not U8 \[\d+\]")
    assert not trap.exists()
    pickle.loads(bomb)
    assert trap.exists()  # the bomb is a live one


@VERSIONS
def test_every_truncation_is_refused(version: int, tmp_path: Path) -> None:
    content = encode(*FILES[version])
    for length in range(0, len(content), 7):
        refused(content[:length], tmp_path, WHAT + ": .*")
    refused(content + b"\0", tmp_path, WHAT + ": .*")


@VERSIONS
def test_every_altered_byte_is_refused(version: int, tmp_path: Path) -> None:
    content = encode(*FILES[version])
    network = load(content, tmp_path)
    (length,) = struct.unpack("<Q", content[:8])
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << at % 8
        if at >= 8 + length:
            refused(bytes(altered), tmp_path, ": sha256 does not agree with the content: .*; fetch or export it again")
            continue
        with pytest.raises(ArtefactError, match=f"^{re.escape(str(tmp_path))}") as raised:
            load(bytes(altered), tmp_path)
        assert "\n" not in str(raised.value)
    assert same(network, load(content, tmp_path))


def test_too_large_a_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "n.safetensors").open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(ArtefactError, match=r": a network file may have 268,435,456 bytes, not 268,435,457$"):
        load_network(tmp_path / "n.safetensors")


# What is a network file, but a wrong one.


def change(path: str, value: object) -> Callable[[Any], None]:
    """Returns a function that sets one field of a description, or removes it where `value` is Ellipsis."""

    def apply(description: Any) -> None:
        *outer, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in outer:
            description = description[key]
        if value is ...:
            del description[last]
        else:
            description[last] = value

    return apply


INT, LARGE = "must be an integer, not", 10**30
SHAPE = r"input\.shape must be integers \[features\] or \[rows, columns, channels\], each 1\.\.1048576, not"
WRONG_FIELDS: list[tuple[str, object, str]] = [
    ("version", 4, "version must be one of 1, 2, 3, not 4; this bnn_hw reads no other"),
    ("version", 0, "version must be one of 1, 2, 3, not 0; this bnn_hw reads no other"),
    ("version", LARGE, f"version must be one of 1, 2, 3, not {LARGE}; this bnn_hw reads no other"),
    ("version", 1.0, f"version {INT} 1.0"),
    ("version", True, f"version {INT} True"),
    ("version", "1", f"version {INT} '1'"),
    ("version", ..., f"version {INT} None"),
    ("name", ..., "name must be a string, not None"),
    ("name", 5, "name must be a string, not 5"),
    ("name", "Net", "network name must be .*, not 'Net'"),
    ("name", "\ud800", r"network name must be .*, not '\\ud800'"),
    ("padding", 1, "description may have the fields version, name, input, layers, provenance, not 'padding'"),
    ("input", ..., "input must be an object, not None"),
    ("input", [], r"input must be an object, not \[\]"),
    ("input/shape", ..., r"input\.shape must be a list, not None"),
    ("input/shape", 11, r"input\.shape must be a list, not 11"),
    ("input/shape", [], SHAPE + r" \(\)"),
    ("input/shape", [11, 1], SHAPE + r" \(11, 1\)"),
    ("input/shape", [-11], SHAPE + r" \(-11,\)"),
    ("input/shape", ["11"], SHAPE + r" \('11',\)"),
    ("input/shape", [[11]], SHAPE + r" \(\[11\],\)"),
    ("input/shape", [11.0], SHAPE + r" \(11\.0,\)"),
    ("input/shape", [LARGE], SHAPE + rf" \({LARGE},\)"),
    ("input/shape", [1 << 20, 1 << 20, 1 << 20], r"layer fc1: weights of shape \(3, 11\) take 11 inputs, but .*"),
    ("input/shape", [12], r"layer fc1: weights of shape \(3, 11\) take 11 inputs, but what comes before gives 12 .*"),
    ("input/dtype", ..., r"input\.dtype must be a string, not None"),
    ("input/dtype", ["bit"], r"input\.dtype must be a string, not \['bit'\]"),
    ("input/dtype", "int32", r"input\.dtype must be one of bit, uint8, int8, not 'int32'"),
    ("input/pixel_threshold", -1, r"input\.pixel_threshold must be 0\.\.256 and goes with dtype bit, not -1"),
    ("input/pixel_threshold", LARGE, rf"input\.pixel_threshold must be 0\.\.256 and goes with dtype bit, not {LARGE}"),
    ("input/pixel_threshold", "128", r"input\.pixel_threshold must be .*, not '128'"),
    ("input/dtype", "uint8", r"input\.pixel_threshold must be 0\.\.256 and goes with dtype bit, not 128"),
    ("input/scale", 2, "input may have the fields shape, dtype, pixel_threshold, not 'scale'"),
    ("layers", ..., "layers must be a list, not None"),
    ("layers", {}, r"layers must be a list, not \{\}"),
    ("layers/0", 5, r"layers\[0\] must be an object, not 5"),
    ("layers/0/type", ..., r"layers\[0\]\.type must be a string, not None"),
    ("layers/0/type", "relu", r"layers\[0\]\.type must be one of dense, scores in version 1, not 'relu'"),
    ("layers/0/type", "conv", r"layers\[0\]\.type must be one of dense, scores in version 1, not 'conv'"),
    ("layers/1/type", "maxpool", r"layers\[1\]\.type must be one of dense, scores in version 1, not 'maxpool'"),
    ("layers/0/name", 5, r"layers\[0\]\.name must be a string, not 5"),
    ("layers/0/name", "fc2", r"tensors must be those of the layers; missing: \['fc2\..*\], not expected: \['fc1\..*\]"),
    ("layers/0/name", "\ud800", r"tensors must be those of the layers; missing: \['\\ud800\..*\], not expected: \['fc1\..*\]"),
    ("layers/0/name", "scores", r"layer names must differ, not \['scores', 'scores'\]"),
    ("layers/0/stride", 1, r"layers\[0\] may have the fields type, name, inputs, outputs, not 'stride'"),
    ("layers/0/inputs", ..., rf"layers\[0\]\.inputs {INT} None"),
    ("layers/0/inputs", True, rf"layers\[0\]\.inputs {INT} True"),
    ("layers/0/inputs", 11.0, rf"layers\[0\]\.inputs {INT} 11\.0"),
    ("layers/0/inputs", -11, r"layers\[0\]\.inputs must be in 1\.\.67108864, not -11"),
    ("layers/0/inputs", 0, r"layers\[0\]\.inputs must be in 1\.\.67108864, not 0"),
    ("layers/0/inputs", LARGE, rf"layers\[0\]\.inputs must be in 1\.\.67108864, not {LARGE}"),
    ("layers/0/outputs", -3, r"layers\[0\]\.outputs must be in 1\.\.67108864, not -3"),
    ("layers/0/outputs", LARGE, rf"layers\[0\]\.outputs must be in 1\.\.67108864, not {LARGE}"),
    ("layers/0/inputs", 1 << 26, r"fc1\.weights must be U8 \[3, 8388608\], not U8 \[3, 2\]"),
    ("layers/0/outputs", 1 << 26, r"fc1\.weights must be U8 \[67108864, 2\], not U8 \[3, 2\]"),
    ("layers/0/inputs", 10, r"fc1\.weights: the bits past the first 10 of each row must be 0"),
    ("layers/1/inputs", 4, r"layer scores: weights of shape \(2, 4\) take 4 inputs, but what comes before gives 3 .*"),
    ("layers/1/type", "dense", r"tensors must be .*; missing: \['scores\.thresholds'\], not expected: \['scores\.offset', .*\]"),
    ("provenance", [], r"provenance must be an object, not \[\]"),
    ("provenance", None, "provenance must be an object, not None"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG_FIELDS, ids=lambda value: str(value)[:30])
def test_wrong_field(path: str, value: object, message: str, tmp_path: Path) -> None:
    description: dict[str, Any] = deepcopy(dict(DESCRIPTION))
    change(path, value)(description)
    refused(encode(description, TENSORS), tmp_path, f": {message}")


def list_of(count: int) -> str:
    return rf"must be {count} integers, not"


KERNEL = r"layers\[0\]\.kernel must be two integers in 1\.\.1024, not"
PAIR = r"must be integers \(rows, columns\), each 1\.\.1024, not"
CHANNELS = r"a window of {0} channels takes \[rows, columns, {0}\], but what comes before gives"
WRONG_WINDOWS: list[tuple[str, object, str]] = [
    ("version", 1, r"layers\[0\]\.type must be one of dense, scores in version 1, not 'conv'"),
    ("layers/0/type", "dense", r"layers\[0\] may have the fields type, name, inputs, outputs, not 'kernel'"),
    ("layers/0/type", "pool", r"layers\[0\]\.type must be one of dense, conv, maxpool, scores in version 2, not 'pool'"),
    ("layers/0/dilation", 1, r"layers\[0\] may have the fields type, name, kernel, channels, .*, padding_value, not 'dilation'"),
    ("layers/0/inputs", 18, r"layers\[0\] may have the fields type, name, kernel, channels, .*, padding_value, not 'inputs'"),
    ("layers/0/kernel", ..., r"layers\[0\]\.kernel must be a list, not None"),
    ("layers/0/kernel", 2, r"layers\[0\]\.kernel must be a list, not 2"),
    ("layers/0/kernel", [2], rf"layers\[0\]\.kernel {list_of(2)} \[2\]"),
    ("layers/0/kernel", [2, 3, 1], rf"layers\[0\]\.kernel {list_of(2)} \[2, 3, 1\]"),
    ("layers/0/kernel", [2, 3.0], rf"layers\[0\]\.kernel {list_of(2)} \[2, 3\.0\]"),
    ("layers/0/kernel", [True, 3], rf"layers\[0\]\.kernel {list_of(2)} \[True, 3\]"),
    ("layers/0/kernel", ["2", 3], rf"layers\[0\]\.kernel {list_of(2)} \['2', 3\]"),
    ("layers/0/kernel", [[2], 3], rf"layers\[0\]\.kernel {list_of(2)} \[\[2\], 3\]"),
    ("layers/0/kernel", [0, 3], KERNEL + r" \[0, 3\]"),
    ("layers/0/kernel", [2, -3], KERNEL + r" \[2, -3\]"),
    ("layers/0/kernel", [-2, -3], KERNEL + r" \[-2, -3\]"),
    ("layers/0/kernel", [1025, 1], KERNEL + r" \[1025, 1\]"),
    ("layers/0/kernel", [1, LARGE], KERNEL + rf" \[1, {LARGE}\]"),
    ("layers/0/kernel", [1024, 1024], r"conv1\.weights must be U8 \[2, 393216\], not U8 \[2, 3\]"),
    ("layers/0/kernel", [2, 2], r"conv1\.weights must be U8 \[2, 2\], not U8 \[2, 3\]"),
    ("layers/0/kernel", [6, 1], r"layer conv1: the window of 6x1 is larger than the input of 5x7 .*"),
    ("layers/0/channels", ..., rf"layers\[0\]\.channels {INT} None"),
    ("layers/0/channels", True, rf"layers\[0\]\.channels {INT} True"),
    ("layers/0/channels", 0, r"layers\[0\]\.channels must be in 1\.\.67108864, not 0"),
    ("layers/0/channels", LARGE, rf"layers\[0\]\.channels must be in 1\.\.67108864, not {LARGE}"),
    ("layers/0/channels", 4, "layer conv1: " + CHANNELS.format(4) + r" \[4, 5, 3\]"),
    ("layers/0/outputs", 0, r"layers\[0\]\.outputs must be in 1\.\.67108864, not 0"),
    ("layers/0/outputs", 3, r"conv1\.weights must be U8 \[3, 3\], not U8 \[2, 3\]"),
    ("layers/0/stride", [1], rf"layers\[0\]\.stride {list_of(2)} \[1\]"),
    ("layers/0/stride", [1, True], rf"layers\[0\]\.stride {list_of(2)} \[1, True\]"),
    ("layers/0/stride", [0, 1], rf"layer conv1: stride {PAIR} \(0, 1\)"),
    ("layers/0/stride", [1, LARGE], rf"layer conv1: stride {PAIR} \(1, {LARGE}\)"),
    ("layers/0/padding", 1, r"layers\[0\]\.padding must be a list, not 1"),
    ("layers/0/padding", [1, 0], rf"layers\[0\]\.padding {list_of(4)} \[1, 0\]"),
    ("layers/0/padding", [1, 0, 0, 2, 0], rf"layers\[0\]\.padding {list_of(4)} \[1, 0, 0, 2, 0\]"),
    ("layers/0/padding", [1, 0, False, 2], rf"layers\[0\]\.padding {list_of(4)} \[1, 0, False, 2\]"),
    ("layers/0/padding", [1, 0, 0, None], rf"layers\[0\]\.padding {list_of(4)} \[1, 0, 0, None\]"),
    ("layers/0/padding", [1, 0, 0, -2], r"layer conv1: padding must be .*, each 0\.\.1024, not \(1, 0, 0, -2\)"),
    ("layers/0/padding", [1, 0, 0, LARGE], rf"layer conv1: padding must be .*, each 0\.\.1024, not \(1, 0, 0, {LARGE}\)"),
    ("layers/0/padding", [0, 0, 0, 0], r"layer conv1: thresholds\[1\] must be in 0\.\.19, not 37"),
    ("layers/0/padding_value", ..., rf"layers\[0\]\.padding_value {INT} None"),
    ("layers/0/padding_value", 0.0, rf"layers\[0\]\.padding_value {INT} 0\.0"),
    ("layers/0/padding_value", False, rf"layers\[0\]\.padding_value {INT} False"),
    ("layers/0/padding_value", 2, "layer conv1: padding_value must be -1, 0 or 1, and 0 without padding, not 2"),
    ("layers/0/padding_value", LARGE, f"layer conv1: padding_value must be -1, 0 or 1, and 0 without padding, not {LARGE}"),
    ("layers/0/padding_value", -1, r"layer conv1: thresholds\[1\] must be in 0\.\.19, not 37"),
    ("input/shape", [60], "layer conv1: " + CHANNELS.format(3) + r" \[60\]"),
    ("layers/1/size", ..., r"layers\[1\]\.size must be a list, not None"),
    ("layers/1/size", [2], rf"layers\[1\]\.size {list_of(2)} \[2\]"),
    ("layers/1/size", [2, True], rf"layers\[1\]\.size {list_of(2)} \[2, True\]"),
    ("layers/1/size", [2, 0], rf"layer pool1: size {PAIR} \(2, 0\)"),
    ("layers/1/size", [1025, 1], rf"layer pool1: size {PAIR} \(1025, 1\)"),
    ("layers/1/size", [5, 2], r"layer pool1: the window of 5x2 is larger than the input of 4x3 \(shape \[4, 3, 2\]\)"),
    ("layers/1/size", [1, 1], r"layer scores: weights of shape \(2, 8\) take 8 inputs, but what comes before gives 12 .*"),
    ("layers/1/stride", [2, 1, 1], rf"layers\[1\]\.stride {list_of(2)} \[2, 1, 1\]"),
    ("layers/1/stride", [2, -1], rf"layer pool1: stride {PAIR} \(2, -1\)"),
    ("layers/1/padding", [0, 0, 0, 0], r"layers\[1\] may have the fields type, name, size, stride, channels, not 'padding'"),
    ("layers/1/channels", 0, r"layers\[1\]\.channels must be in 1\.\.67108864, not 0"),
    ("layers/1/channels", 3, "layer pool1: " + CHANNELS.format(3) + r" \[4, 3, 2\]"),
    ("layers/1/channels", 9, r"pool1\.and_channels must be U8 \[2\], not U8 \[1\]"),
    ("layers/1/channels", 1, r"pool1\.and_channels: the bits past the first 1 of each row must be 0"),
    ("layers/1/channels", 1 << 26, r"pool1\.and_channels must be U8 \[8388608\], not U8 \[1\]"),
    ("layers/1/name", "conv1", r"layer names must differ, not \['conv1', 'conv1', 'scores'\]"),
    ("layers/2/inputs", 9, r"scores\.weights must be U8 \[2, 2\], not U8 \[2, 1\]"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG_WINDOWS, ids=lambda value: str(value)[:30])
def test_wrong_field_of_version_2(path: str, value: object, message: str, tmp_path: Path) -> None:
    description: dict[str, Any] = deepcopy(dict(CONV_DESCRIPTION))
    change(path, value)(description)
    refused(encode(description, CONV_TENSORS), tmp_path, f": (?:{message})")


RELU_FIELDS = r"layers\[0\] may have the fields type, name, inputs, outputs, shift, not"
WRONG_RELUS: list[tuple[str, object, str]] = [
    ("version", 1, r"layers\[0\]\.type must be one of dense, scores in version 1, not 'dense_relu'"),
    ("version", 2, r"layers\[0\]\.type must be one of dense, conv, maxpool, scores in version 2, not 'dense_relu'"),
    ("layers/0/type", "relu", r"layers\[0\]\.type must be one of dense, dense_relu, conv, .* in version 3, not 'relu'"),
    ("layers/0/type", "dense", r"layers\[0\] may have the fields type, name, inputs, outputs, not 'shift'"),
    ("layers/1/type", "dense_relu", rf"layers\[1\]\.shift {INT} None"),
    ("layers/0/scale", 1, rf"{RELU_FIELDS} 'scale'"),
    ("layers/0/shift", ..., rf"layers\[0\]\.shift {INT} None"),
    ("layers/0/shift", 5.0, rf"layers\[0\]\.shift {INT} 5\.0"),
    ("layers/0/shift", True, rf"layers\[0\]\.shift {INT} True"),
    ("layers/0/shift", [5], rf"layers\[0\]\.shift {INT} \[5\]"),
    ("layers/0/shift", -1, r"layer relu1: shift must be an integer in 0\.\.31, not -1"),
    ("layers/0/shift", 32, r"layer relu1: shift must be an integer in 0\.\.31, not 32"),
    ("layers/0/shift", LARGE, rf"layer relu1: shift must be an integer in 0\.\.31, not {LARGE}"),
    ("layers/0/inputs", 0, r"layers\[0\]\.inputs must be in 1\.\.67108864, not 0"),
    ("layers/0/inputs", 8, r"relu1\.weights must be U8 \[3, 1\], not U8 \[3, 2\]"),
    ("layers/0/outputs", 4, r"relu1\.weights must be U8 \[4, 2\], not U8 \[3, 2\]"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG_RELUS, ids=lambda value: str(value)[:30])
def test_wrong_field_of_version_3(path: str, value: object, message: str, tmp_path: Path) -> None:
    description: dict[str, Any] = deepcopy(dict(RELU_DESCRIPTION))
    change(path, value)(description)
    refused(encode(description, RELU_TENSORS), tmp_path, f": (?:{message})")


METADATA = r": metadata 'bnn_hw\.network' must be"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"{METADATA} JSON: Expecting value: .*"),
        ("{", f"{METADATA} JSON: .*"),
        ("[]", f"{METADATA} a JSON object"),
        ("null", f"{METADATA} a JSON object"),
        ('{"version": 1} x', f"{METADATA} JSON: Extra data: .*"),
        ('{"version": NaN}', f"{METADATA} JSON: NaN is no JSON number"),
        ('{"version": 1, "provenance": {"x": -Infinity}}', f"{METADATA} JSON: -Infinity is no JSON number"),
        ('{"version": 1, "provenance": {"x": 1e999}}', f"{METADATA} JSON: 1e999 is no JSON number"),
        ('{"version": 2, "version": 1}', rf"{METADATA} JSON: the keys \['version', 'version'\] must differ"),
        ("[" * 100_000 + "]" * 100_000, f"{METADATA} JSON: maximum recursion depth .*"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, f"{METADATA} JSON: maximum recursion depth .*"),
        ('{"version": 1' + "0" * 5000 + "}", f"{METADATA} JSON: .*digits.*|: version must be one of 1, 2, 3, not .*"),
    ],
    ids=range(12),
)
def test_wrong_json(text: str, message: str, tmp_path: Path) -> None:
    refused(encode(text, TENSORS), tmp_path, f"(?:{message})")


@pytest.mark.parametrize("depth", range(700, 1000, 13))
def test_json_nested_as_deep_as_python_reads(depth: int, tmp_path: Path) -> None:
    refused(encode('{"version": 1, "layers": ' + "[" * depth + "]" * depth + "}", TENSORS), tmp_path, ": .*")


def test_a_long_value_makes_no_long_message(tmp_path: Path) -> None:
    for field in ("version", "name", "input", "layers"):
        with pytest.raises(ArtefactError, match=r"/n\.safetensors: ") as raised:
            load(encode({**DESCRIPTION, field: ["x" * 100_000] * 100}, TENSORS), tmp_path)
        assert len(str(raised.value)) < 1000


def float_array(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, "<f4")


WRONG_TENSORS: list[tuple[dict[str, np.ndarray | None], str]] = [
    ({"fc1.weights": None}, r"tensors must be those of the layers; missing: \['fc1\.weights'\], not expected: none"),
    ({"scores.offset": None}, r"tensors must be those of the layers; missing: \['scores\.offset'\], not expected: none"),
    ({"fc1.bias": float_array(3)}, r"tensors must be those of the layers; missing: none, not expected: \['fc1\.bias'\]"),
    ({"fc1.weights": float_array(3, 2)}, r"fc1\.weights must be U8 \[3, 2\], not F32 \[3, 2\]"),
    ({"fc1.weights": np.ones((3, 2), bool)}, r"fc1\.weights must be U8 \[3, 2\], not BOOL \[3, 2\]"),
    ({"fc1.weights": np.zeros((2, 3), np.uint8)}, r"fc1\.weights must be U8 \[3, 2\], not U8 \[2, 3\]"),
    ({"fc1.weights": np.zeros(6, np.uint8)}, r"fc1\.weights must be U8 \[3, 2\], not U8 \[6\]"),
    (
        {"fc1.weights": np.array([[0, 0], [0, 0], [0, 8]], np.uint8)},
        r"fc1\.weights: the bits past the first 11 of each row must be 0",
    ),
    ({"scores.weights": np.array([[0], [128]], np.uint8)}, r"scores\.weights: the bits past the first 3 of each row must be 0"),
    ({"fc1.thresholds": float_array(3)}, r"fc1\.thresholds must be I32 \[3\], not F32 \[3\]"),
    ({"fc1.thresholds": np.zeros(3, "<i8")}, r"fc1\.thresholds must be I32 \[3\], not I64 \[3\]"),
    ({"fc1.thresholds": np.zeros((3, 1), "<i4")}, r"fc1\.thresholds must be I32 \[3\], not I32 \[3, 1\]"),
    ({"fc1.thresholds": np.array([0, -1, 0], "<i4")}, r"layer fc1: thresholds\[1\] must be in 0\.\.12, not -1"),
    ({"fc1.thresholds": np.array([0, 0, 13], "<i4")}, r"layer fc1: thresholds\[2\] must be in 0\.\.12, not 13"),
    ({"fc1.thresholds": np.array([-(2**31), 0, 0], "<i4")}, r"layer fc1: thresholds\[0\] must be in 0\.\.12, not -2147483648"),
    ({"scores.scale": np.array([0, -(2**31)], "<i4")}, r"layer scores: scale\[1\] and offset\[1\] reach scores of .*"),
    ({"scores.offset": np.array([2**31 - 1, 0], "<i4")}, r"layer scores: scale\[0\] and offset\[0\] reach scores of .*"),
    ({"scores.scale": np.zeros(0, "<i4")}, r"scores\.scale must be I32 \[2\], not I32 \[0\]"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG_TENSORS, ids=range(len(WRONG_TENSORS)))
def test_wrong_tensor(changed: Mapping[str, np.ndarray | None], message: str, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in {**TENSORS, **changed}.items() if tensor is not None}
    refused(encode(DESCRIPTION, tensors), tmp_path, f": {message}")


WRONG_WINDOW_TENSORS: list[tuple[dict[str, np.ndarray | None], str]] = [
    ({"conv1.weights": None}, r"tensors must be those of the layers; missing: \['conv1\.weights'\], not expected: none"),
    ({"pool1.and_channels": None}, r"tensors must be those of the layers; missing: \['pool1\.and_channels'\], .*"),
    ({"pool1.weights": np.zeros(1, np.uint8)}, r"tensors must be .*; missing: none, not expected: \['pool1\.weights'\]"),
    ({"conv1.weights": np.zeros((2, 2, 3, 3), np.uint8)}, r"conv1\.weights must be U8 \[2, 3\], not U8 \[2, 2, 3, 3\]"),
    ({"conv1.weights": np.zeros((2, 18), np.uint8)}, r"conv1\.weights must be U8 \[2, 3\], not U8 \[2, 18\]"),
    ({"conv1.weights": np.array([[0, 0, 3], [0, 0, 4]], np.uint8)}, r"conv1\.weights: the bits past the first 18 of each row .* 0"),
    ({"conv1.thresholds": np.array([38, 0], "<i4")}, r"layer conv1: thresholds\[0\] must be in 0\.\.37, not 38"),
    ({"conv1.thresholds": np.array([0, -1], "<i4")}, r"layer conv1: thresholds\[1\] must be in 0\.\.37, not -1"),
    ({"conv1.thresholds": np.zeros((4, 3, 2), "<i4")}, r"conv1\.thresholds must be I32 \[2\], not I32 \[4, 3, 2\]"),
    ({"pool1.and_channels": np.array([[2]], np.uint8)}, r"pool1\.and_channels must be U8 \[1\], not U8 \[1, 1\]"),
    ({"pool1.and_channels": np.array([0, 1], np.uint8)}, r"pool1\.and_channels must be U8 \[1\], not U8 \[2\]"),
    ({"pool1.and_channels": np.array([True])}, r"pool1\.and_channels must be U8 \[1\], not BOOL \[1\]"),
    ({"pool1.and_channels": np.array([4], np.uint8)}, r"pool1\.and_channels: the bits past the first 2 of each row must be 0"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG_WINDOW_TENSORS, ids=range(len(WRONG_WINDOW_TENSORS)))
def test_wrong_tensor_of_version_2(changed: Mapping[str, np.ndarray | None], message: str, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in {**CONV_TENSORS, **changed}.items() if tensor is not None}
    refused(encode(CONV_DESCRIPTION, tensors), tmp_path, f": {message}")


WRONG_RELU_TENSORS: list[tuple[dict[str, np.ndarray | None], str]] = [
    ({"relu1.scale": None}, r"tensors must be those of the layers; missing: \['relu1\.scale'\], not expected: none"),
    ({"relu1.offset": None}, r"tensors must be those of the layers; missing: \['relu1\.offset'\], not expected: none"),
    ({"relu1.thresholds": np.zeros(3, "<i4")}, r"tensors must be .*; missing: none, not expected: \['relu1\.thresholds'\]"),
    ({"relu1.scale": np.zeros(3, "<f4")}, r"relu1\.scale must be I32 \[3\], not F32 \[3\]"),
    ({"relu1.offset": np.zeros(2, "<i4")}, r"relu1\.offset must be I32 \[3\], not I32 \[2\]"),
    ({"relu1.weights": np.full((3, 2), 2, np.uint8)}, r"relu1\.weights: the bits past the first 9 of each row must be 0"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG_RELU_TENSORS, ids=range(len(WRONG_RELU_TENSORS)))
def test_wrong_tensor_of_version_3(changed: Mapping[str, np.ndarray | None], message: str, tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in {**RELU_TENSORS, **changed}.items() if tensor is not None}
    refused(encode(RELU_DESCRIPTION, tensors), tmp_path, f": {message}")


def test_wrong_digest(tmp_path: Path) -> None:
    refused(encode(DESCRIPTION, TENSORS, digest=bytes(32)), tmp_path, ": sha256 does not agree with the content: .*")
    refused(encode(DESCRIPTION, TENSORS, digest=bytes(31)), tmp_path, r": sha256 must be U8 \[32\], not U8 \[31\]")


def test_two_layers_of_one_name_allocate_nothing(tmp_path: Path) -> None:
    """The first layer's inputs with the second's many rows would be 2**46 bytes."""
    layers = [
        {"type": "dense", "name": "a", "inputs": 1 << 26, "outputs": 1},
        {"type": "dense", "name": "a", "inputs": 1, "outputs": 1 << 20},
    ]
    tensors = {"a.weights": np.zeros((1 << 20, 1), np.uint8), "a.thresholds": np.zeros(1 << 20, "<i4")}
    refused(encode({**DESCRIPTION, "layers": layers}, tensors), tmp_path, r": layer names must differ, not \['a', 'a'\]")


def test_claimed_sizes_allocate_nothing(tmp_path: Path) -> None:
    layers = [{"type": "scores", "name": "a", "inputs": 1 << 26, "outputs": 1 << 26}]
    content = encode({**DESCRIPTION, "layers": layers}, {"a.weights": TENSORS["fc1.weights"]})
    assert peak_bytes_of(lambda: refused(content, tmp_path, r": tensors must be .*")) < 1 << 20


def peak_bytes_of(function: Callable[[], None]) -> int:
    tracemalloc.start()
    function()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input/shape", [1 << 20, 1 << 20, 3]),
        ("layers/0/kernel", [1024, 1024]),
        ("layers/0/channels", 1 << 26),
        ("layers/0/outputs", 1 << 26),
        ("layers/1/channels", 1 << 26),
    ],
)
def test_claimed_sizes_of_version_2_allocate_nothing(path: str, value: object, tmp_path: Path) -> None:
    description: dict[str, Any] = deepcopy(dict(CONV_DESCRIPTION))
    change(path, value)(description)
    content = encode(description, CONV_TENSORS)
    assert peak_bytes_of(lambda: refused(content, tmp_path, ": .*")) < 1 << 20


# Fuzz: only `ArtefactError`, or an equal network, ever comes out.


@IN_ONE_FOLDER
@given(
    version=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes(version: int, flips: list[tuple[float, int]], tmp_path: Path) -> None:
    content = encode(*FILES[version])
    network, altered = load(content, tmp_path), bytearray(content)
    for share, mask in flips:
        altered[int(share * len(content))] ^= mask
    try:
        assert same(load(bytes(altered), tmp_path), network)
    except ArtefactError as error:
        str(error).encode()


@IN_ONE_FOLDER
@given(data=st.data())
def test_random_description(data: st.DataObject, tmp_path: Path) -> None:
    """A field, or the whole description, replaced by any JSON, with a digest that agrees: a network, or refused."""
    version = data.draw(st.sampled_from(sorted(FILES)), "version")
    description: Any = deepcopy(dict(FILES[version][0]))
    paths = ["", "version", "name", "input", "layers", "layers/0", "layers/1", "provenance"]
    if version == 2:
        windows = ("kernel", "kernel/1", "channels", "outputs", "stride", "stride/0", "padding", "padding/2", "padding_value")
        paths += [f"layers/0/{key}" for key in windows] + [f"layers/1/{key}" for key in ("size", "size/0", "stride/1", "channels")]
    paths += [f"input/{key}" for key in ("shape", "shape/0", "dtype", "pixel_threshold")]
    paths += [f"layers/{index}/{key}" for index in (0, 1) for key in ("type", "name", "inputs", "outputs", "shift", "more")]
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=2, unique=True)):
        value = data.draw(
            JSON_VALUES
            | st.sampled_from(
                [0, 1, 2, 3, 11, [1, 1], [2, 2], [0, 0, 0, 0], "conv", "bit", "int8", "dense", "scores", "fc1", 1 << 26]
            )
        )
        try:
            if path:
                change(path, value)(description)
            else:
                description = value
        except (TypeError, KeyError, IndexError, AttributeError):
            continue  # the first change took away what the second one is about
    try:
        network = load(encode(json.dumps(description), FILES[version][1]), tmp_path)
    except ArtefactError as error:
        str(error).encode()
    else:
        (tmp_path / "again").mkdir(exist_ok=True)
        assert same(load(network_bytes(network), tmp_path / "again"), network)
