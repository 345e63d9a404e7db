# SPDX-License-Identifier: Apache-2.0
"""On a GPU: networks and products of random sizes against golden and numpy, by every method that the GPU has."""

import os
import random

import numpy as np
import pytest

import bnn_gpu
from bnn_gpu.device import Device
from bnn_gpu.first_steps import FEATURES
from bnn_gpu.layout import Layout, unpack_rows
from bnn_gpu.products import methods
from bnn_hw.models.packaged import packaged_models, packaged_network, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.network import Input, Network
from support.gpu_device import needs_gpu
from support.strategies import WindowShape, random_conv_network, random_inputs, random_network

pytestmark = [pytest.mark.gpu, needs_gpu]
WITHOUT = os.environ.get("BNN_GPU_WITHOUT", "").split(",")  # what of Hopper is not used, where it has been seen to hang
SEED = int(os.environ.get("BNN_HW_SEED", random.SystemRandom().randrange(2**32)))


@pytest.fixture(scope="module")
def device() -> Device:
    print(f"BNN_HW_SEED={SEED}")
    overlap, clusters, wgmma = (feature not in WITHOUT for feature in FEATURES)
    return bnn_gpu.open_device(overlap=overlap, clusters=clusters, wgmma=wgmma)


def check(device: Device, network: Network, images: np.ndarray) -> None:
    trace = golden.trace(network, images)
    for methods_ in [(method,) for method in methods(device.target)]:
        for graphs in (False, True):
            inference = bnn_gpu.Inference(network, len(images), images.dtype.name, device, methods=methods_, graphs=graphs)
            placed = device.upload(images)
            for _ in range(3):
                scores = device.download(inference(placed))
                assert np.array_equal(scores, trace.scores), f"{network.name}, {methods_}, BNN_HW_SEED={SEED}"
            for signal, wanted in zip(inference.activations, trace.activations, strict=True):
                assert np.array_equal(unpack_rows(device.download(signal.array), signal.layout), wanted), f"BNN_HW_SEED={SEED}"
            assert np.array_equal(device.download(inference.classes), trace.scores.argmax(axis=1))


def test_packaged_networks(device: Device) -> None:
    for name in packaged_models():
        network = packaged_network(name)
        images = packaged_test_images(network)
        assert images is not None
        for count in (1, 8, len(images.images)):
            check(device, network, images.images[:count])
        assert np.array_equal(
            device.download(bnn_gpu.classify(network, device.upload(images.images))), golden.classify(network, images.images)
        )


def test_random_networks(device: Device) -> None:
    rng = np.random.default_rng(SEED)
    for dtype in ("bit", "uint8", "int8"):
        widths = [int(width) for width in rng.integers(1, 1500, 3)]
        network = random_network(Input((int(rng.integers(1, 2000)),), dtype), (*widths, 10), int(rng.integers(1 << 31)), "mixed")
        check(device, network, random_inputs(network, int(rng.integers(9, 700)), 1))
        windows = [
            WindowShape((3, 3), (1, 1), int(rng.integers(1, 200)), (1, 1, 1, 1), 0),
            WindowShape((2, 2), (2, 2)),
            WindowShape((3, 2), (1, 2), int(rng.integers(1, 200)), (0, 2, 1, 1), -1),
            WindowShape((2, 3), (2, 1), int(rng.integers(1, 90)), (1, 0, 1, 2), 1),
        ]
        input_ = Input((18, 17, int(rng.integers(1, 70))), dtype)
        network = random_conv_network(input_, windows, (33, 10), int(rng.integers(1 << 31)))
        check(device, network, random_inputs(network, int(rng.integers(1, 50)), 2))


def test_products_of_sizes_that_fill_no_tile(device: Device) -> None:
    rng = np.random.default_rng(SEED)
    sizes = [(1, 1, 1), (127, 255, 1023), (128, 256, 1024), (129, 257, 1025), (1000, 777, 8193)]
    sizes += [tuple(int(extent) for extent in rng.integers(1, 3000, 3)) for _ in range(5)]
    for rows, columns, inner in sizes:
        x, w = rng.choice(np.array([-1, 1], np.float32), (rows, inner)), rng.choice(np.array([-1, 1], np.float32), (inner, columns))
        a, b = bnn_gpu.pack(device.upload(x), device=device), bnn_gpu.pack_columns(device.upload(w), device=device)
        sums = x @ w
        thresholds = rng.integers(0, inner + 2, columns).astype(np.int32)
        for method in methods(device.target):
            message = f"{rows}x{columns}x{inner} by {method}, BNN_HW_SEED={SEED}"
            for dtype in ("int32", "float32"):
                found = device.download(bnn_gpu.xnor_gemm(a, b, dtype=dtype, method=method, device=device))  # type: ignore[arg-type]
                assert np.array_equal(found, sums), message
            bits = bnn_gpu.xnor_gemm_bits(a, b, device.upload(thresholds), method=method, device=device)
            found = unpack_rows(device.download(bits.words), Layout(1, columns, 1))
            assert np.array_equal(found, (sums + inner) // 2 >= thresholds), message


def test_torch_tensors_and_streams(device: Device) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    network = packaged_network("mnist-small")
    images = packaged_test_images(packaged_network("mnist"))
    assert images is not None
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        placed = torch.from_numpy(images.images.copy()).cuda(non_blocking=True)
        scores = torch.as_tensor(bnn_gpu.infer(network, placed), device="cuda")
    stream.synchronize()
    assert np.array_equal(scores.cpu().numpy(), golden.scores(network, images.images))
