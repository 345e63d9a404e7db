# SPDX-License-Identifier: Apache-2.0
"""Whole networks by the kernels themselves, run on the CPU by the emulator: every bit of every layer against golden."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bnn_gpu.inference import Inference, classify, infer
from bnn_gpu.layout import unpack_rows
from bnn_gpu.products import Method
from bnn_hw.errors import ArtefactError
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.network import Dense, Input, Network, Scores
from support.gpu_device import needs_emulator
from support.gpu_emulator import EmulatedDevice
from support.strategies import WindowShape, random_conv_network, random_inputs, random_network

TARGETS = ("sm_75", "sm_80", "sm_90a", "sm_100")


def check(network: Network, images: np.ndarray, target: str, methods: tuple[Method, ...] = (), few_rows: int = 8) -> None:
    device = EmulatedDevice(target, seed=len(images))
    inference = Inference(network, len(images), images.dtype.name, device, methods=methods, few_rows=few_rows)
    scores = device.download(inference(device.upload(images)))
    trace = golden.trace(network, images)
    for index, (signal, wanted) in enumerate(zip(inference.activations, trace.activations, strict=True)):
        words = device.download(signal.array)
        found = unpack_rows(words, signal.layout)
        assert np.array_equal(found, wanted), f"layer {index} on {target}: {(found != wanted).sum()} of {wanted.size} differ"
        ones = np.unpackbits(np.ascontiguousarray(words).view(np.uint8)).sum()
        assert ones == wanted.sum()  # and zeros between, which the next layer's AND relies on
    assert np.array_equal(scores, trace.scores)
    assert np.array_equal(device.download(inference.classes), trace.scores.argmax(axis=1))


@needs_emulator
@pytest.mark.parametrize("target", TARGETS)
def test_dense_networks(target: str) -> None:
    for seed, (dtype, kind) in enumerate((("bit", "mixed"), ("uint8", "widest"), ("int8", "twins"))):
        network = random_network(Input((99,), dtype), (130, 33, 7), seed, kind)  # type: ignore[arg-type]
        check(network, random_inputs(network, 11, seed), target, few_rows=0)  # by tiles
        check(network, random_inputs(network, 3, seed), target)  # by rows


@needs_emulator
@pytest.mark.parametrize("target", TARGETS)
def test_convolutions_with_all_paddings(target: str) -> None:
    windows = [
        WindowShape((3, 2), (1, 2), 9, (1, 0, 2, 1), 0),
        WindowShape((2, 2), (1, 1)),
        WindowShape((3, 3), (2, 1), 40, (1, 1, 1, 1), 0),
        WindowShape((2, 2), (1, 1), 70, (0, 1, 1, 0), -1),
        WindowShape((1, 3), (1, 1), 5, (0, 0, 1, 1), 1),
    ]
    for seed, dtype in enumerate(("bit", "uint8", "int8")):
        network = random_conv_network(Input((9, 8, 3), dtype), windows, (20, 4), seed)  # type: ignore[arg-type]
        check(network, random_inputs(network, 2, seed), target)


@needs_emulator
@pytest.mark.parametrize("target", ["sm_90a"])
def test_packaged_networks(target: str) -> None:
    for name, count in (("mnist-tiny", 9), ("cifar10", 1)):
        network = packaged_network(name)
        images = packaged_test_images(network)
        assert images is not None
        check(network, images.images[:count], target)


@needs_emulator
def test_more_tiles_than_blocks_and_clusters_with_a_tile_over() -> None:
    network = random_network(Input((200,), "bit"), (300, 10), 5)
    check(network, random_inputs(network, 128 * 5 + 1, 5), "sm_90a")


@needs_emulator
def test_infer_and_classify() -> None:
    network = random_network(Input((5, 5, 1), "bit", 100), (9, 4), 3)
    device = EmulatedDevice("sm_80")
    images = np.random.default_rng(0).integers(0, 256, (10, 5, 5), np.uint8)
    placed = device.upload(images)
    assert np.array_equal(device.download(infer(network, placed, device=device)), golden.scores(network, images))
    assert np.array_equal(device.download(classify(network, placed, device=device)), golden.classify(network, images))
    for one in (images[3], images[3][..., None], images[3].reshape(25)):
        placed = device.upload(one)
        scores, classes = (device.download(what(network, placed, device=device)) for what in (infer, classify))
        assert (scores.shape, classes.shape) == ((4,), ())
        assert np.array_equal(scores, golden.scores(network, one))
        assert classes == golden.classify(network, one) == golden.classify(network, images)[3]
        prepared = device.download(Inference(network, 1, "uint8", device)(placed))
        assert prepared.tolist() == [scores.tolist()]


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((0, 12), "uint8", r"images must be at least 1, not an empty batch"),
        ((2, 13), "uint8", r"images must be \[images, 12\] or one \[12\], not \[2, 13\]"),
        ((), "uint8", r"images must be \[images, 12\] or one \[12\], not \[\]"),
        ((2, 12), "float32", r"images must be uint8 for random, not float32"),
        ((2, 12), "bool", r"images must be uint8 for random, not bool"),
    ],
)
def test_images_that_do_not_fit(shape: tuple[int, ...], dtype: str, message: str) -> None:
    network, device = random_network(Input((12,), "uint8"), (3,), 0), EmulatedDevice()
    with pytest.raises(ArtefactError, match=f"^{message}$"):
        infer(network, device.upload(np.zeros(shape, dtype)), device=device)


def test_an_inference_takes_what_it_was_prepared_for() -> None:
    network, device = random_network(Input((12,), "int8"), (3,), 0), EmulatedDevice()
    inference = Inference(network, 2, "uint8", device)
    with pytest.raises(ArtefactError, match=r"^images must be uint8, as the inference was prepared for, not int8$"):
        inference(device.upload(np.zeros((2, 12), np.int8)))
    with pytest.raises(ArtefactError, match=r"^images must be 2, as the inference was prepared for, not 3$"):
        inference(device.upload(np.zeros((3, 12), np.uint8)))
    with pytest.raises(ArtefactError, match=r"^images must be at least 1, not 0$"):
        Inference(network, 0, "uint8", device)


@needs_emulator
def test_few_images_take_a_kernel_a_layer_and_equal_scores_the_lowest_class() -> None:
    network = random_network(Input((40,), "bit"), (33, 32), 1)
    scores = network.layers[-1]
    assert isinstance(scores, Scores)
    alike = replace(scores, weights=np.repeat(scores.weights[:4], 8, axis=0), scale=0 * scores.scale + 1, offset=0 * scores.offset)
    network = replace(network, layers=(*network.layers[:-1], alike))
    images = random_inputs(network, 3, 1)
    inference = Inference(network, 3, "bool", device := EmulatedDevice())
    launches = inference.launches(device.upload(images))
    assert [launch.kernel.name for launch in launches] == ["pack_rows", "matvec", "matvec"]
    check(network, images, "sm_90a")
    more = random_network(Input((40,), "bit"), (33,), 1)  # more classes than a block has
    launches = Inference(more, 3, "bool", device).launches(device.upload(images))
    assert [launch.kernel.name for launch in launches] == ["pack_rows", "matvec", "argmax"]
    check(more, images, "sm_90a")


def test_launches_are_prepared_once_for_each_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network, device, prepared = random_network(Input((12,), "int8"), (3,), 0), EmulatedDevice(), list[int]()
    launches = Inference.launches
    monkeypatch.setattr(Inference, "launches", lambda self, images: prepared.append(images.address) or launches(self, images))
    monkeypatch.setattr(EmulatedDevice, "replay", lambda self, graph, stream=0: None)
    inference = Inference(network, 2, "int8", device)
    first, second = (device.upload(np.zeros((2, 12), np.int8)) for _ in range(2))
    for images in (first, second, first, second, first):
        inference(images)
    assert prepared == [first.address, second.address]


def test_a_layer_without_a_kernel_is_named() -> None:
    @dataclass(frozen=True, eq=False)
    class Strange(Dense):
        pass

    class Other:
        name = "odd"

    network, device = random_network(Input((12,), "bit"), (5, 3), 0), EmulatedDevice()
    inference = Inference(network, 1, "bool", device)
    step = network.steps[0]
    object.__setattr__(step, "layer", Other())
    with pytest.raises(ArtefactError, match=r"^layer odd: bnn_gpu has no kernel for layers of type Other$"):
        inference._prepare(step, inference._input)


def test_more_places_than_a_launch_can_have() -> None:
    network = random_conv_network(Input((64, 64, 1), "bit"), [WindowShape((1, 1), (1, 1), 1)], (2,), 0)

    class Nothing(EmulatedDevice):
        def allocate(self, shape, dtype, stream=0, *, zero=False):  # type: ignore[no-untyped-def]
            return super().allocate((1,) * len(shape), dtype, stream, zero=zero)

    with pytest.raises(ArtefactError, match=r"^layer conv1: images must be at most 524,287 at a time, not 600,000$"):
        Inference(network, 600_000, "bool", Nothing())
