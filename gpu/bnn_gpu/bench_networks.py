# SPDX-License-Identifier: Apache-2.0
"""The benchmark's networks: the paper's 784-4096-4096-4096-10 on 10,000 images with its three kernels, ours, and by batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.gemm import Packed, pack_rows_into
from bnn_gpu.inference import Inference
from bnn_gpu.launches import plain_launch
from bnn_gpu.layout import Layout
from bnn_gpu.measure import Bench, as_array, as_tensor
from bnn_hw.network import golden
from bnn_hw.network.network import Dense, Input, Network, Scores, least_sums
from bnn_hw.network.random_images import random_images

if TYPE_CHECKING:
    import torch

__all__ = ["BATCHES", "PAPER_IMAGES", "QUICK_BATCHES", "bench_batches", "bench_paper_network", "paper_network"]

PAPER_IMAGES: Final = 10_000
BATCHES: Final = (1, 8, 16, 64, 256, 1024, 4096, 16384, 65536)
QUICK_BATCHES: Final = (1, 16, 1024)
_CHECKED: Final = 2048  # golden computes this many images of a batch; the rest repeat them


def paper_network(seed: int, hidden: int = 4096) -> Network:
    """Returns the paper's MNIST network on uint8 pixels: random weights, and thresholds where neurons fire about half the time."""
    rng = np.random.default_rng(seed)
    layers: list[Dense | Scores] = []
    inputs = 784
    for index in range(3):
        weights = rng.random((hidden, inputs)) < 0.5
        centre = 127.5 * (2.0 * weights.sum(axis=1) - inputs) if index == 0 else np.full(hidden, inputs / 2)
        spread = 74.0 * inputs**0.5 if index == 0 else inputs**0.5 / 2
        thresholds = np.rint(rng.normal(centre, spread / 2)).astype(np.int32)
        layers.append(Dense(f"fc{index + 1}", weights, thresholds))
        inputs = hidden
    ones = np.ones(10, np.int32)
    layers.append(Scores("scores", rng.random((10, hidden)) < 0.5, ones, 0 * ones))
    return Network("paper-mlp", Input((784,), "uint8"), tuple(layers))


def bench_paper_network(bench: Bench, network: Network, images: np.ndarray) -> None:
    """Adds the rows of a network of dense layers on 8-bit inputs with each kernel, all checked against golden on every image."""
    wanted = golden.classify(network, images)
    size, operations = f"{len(images):,} images", 2.0 * len(images) * network.weight_bits
    placed = bench.device.upload(images)
    inference = Inference(network, len(images), images.dtype.name, bench.device)
    check = lambda: _verdict(bench.device.download(inference.classes), wanted)  # noqa: E731
    launches, outputs = inference.launches(placed), [inference.scores, inference.classes]
    bench.add("network", "ours", "resident, images to classes", size, operations, launches, check, outputs=outputs)
    _transfers(bench, network, images, wanted, size, operations)
    layers = _Floats(bench, network, images)
    for name, multiply in (
        ("paper: baseline kernel", layers.baseline),
        ("paper: XNOR kernel", layers.xnor),
        ("cuBLAS fp32", layers.cublas),
    ):
        work = lambda multiply=multiply: layers.run(multiply)  # noqa: E731
        verdict = lambda: _verdict(layers.scores.argmax(1).cpu().numpy(), wanted)  # noqa: E731
        bench.add("network", name, "resident, images to scores", size, operations, work, verdict, outputs=[layers.scores])


def bench_batches(bench: Bench, network: Network, batches: tuple[int, ...], seed: int) -> None:
    """Adds our rows for each batch, resident, and for one image its latency, on the GPU and from the call to a class on the CPU."""
    checked = random_images(network.input, _CHECKED, seed)
    classes = golden.classify(network, checked)
    for batch in batches:
        images, wanted = (np.resize(array, (batch, *array.shape[1:])) for array in (checked, classes))
        placed, inference = bench.device.upload(images), Inference(network, batch, images.dtype.name, bench.device)
        check = lambda inference=inference, wanted=wanted: _verdict(bench.device.download(inference.classes), wanted)  # noqa: E731
        size, operations = f"{batch:,} image{'s' * (batch > 1)}", 2.0 * batch * network.weight_bits
        add = partial(
            bench.add,
            "batches",
            network.name,
            size=size,
            operations=operations,
            check=check,
            outputs=[inference.scores, inference.classes],
        )
        launches = inference.launches(placed)
        add(timed="resident, images to classes, one batch behind the other", work=launches)
        if batch == 1:
            add(timed="resident, image to class, one inference a replay", work=launches, how="alone")
            add(timed="call to class on the CPU, wall clock", work=_single_call(bench, inference, placed), how="wall")


def _single_call(bench: Bench, inference: Inference, images: DeviceArray) -> Callable[[], object]:
    def call() -> object:
        inference(images)
        return bench.device.download(inference.classes)

    return call


def _transfers(bench: Bench, network: Network, images: np.ndarray, wanted: np.ndarray, size: str, operations: float) -> None:
    import torch

    host = torch.from_numpy(images).pin_memory()
    on_device = torch.empty_like(host, device=bench.torch_device)
    result = torch.empty(len(images), dtype=torch.int32).pin_memory()
    inference = Inference(network, len(images), images.dtype.name, bench.device)
    classes = as_tensor(inference.classes)
    placed = as_array(on_device)

    def work() -> None:
        on_device.copy_(host, non_blocking=True)
        inference(placed)
        result.copy_(classes, non_blocking=True)

    check = lambda: _verdict(result.numpy(), wanted)  # noqa: E731
    bench.add(
        "network",
        "ours",
        "end to end, with transfers",
        size,
        operations,
        work,
        check,
        outputs=[inference.scores, inference.classes, result],
    )


@dataclass(eq=False)
class _Layer:
    weights: "torch.Tensor"  # [inputs, outputs] float32
    packed: Packed
    least: "torch.Tensor | None"  # [outputs] float32, the least sums that fire


class _Floats:
    """The same network with activations in float32: a product, a comparison, again; all sums are exact."""

    def __init__(self, bench: Bench, network: Network, images: np.ndarray) -> None:
        import torch

        self.device, self.layers, where = bench.device, list[_Layer](), bench.torch_device
        self.input = torch.from_numpy(images).to(where).float()
        for step in network.steps:
            layer = step.layer
            assert isinstance(layer, Dense | Scores)
            signs = torch.from_numpy(np.where(layer.weights, np.float32(1), np.float32(-1))).to(where)
            words = self.device.allocate((len(signs), Layout(1, signs.shape[1], 1).row_words), "<u4")
            self.device.launch(pack_rows_into(as_array(signs), "float", 0.0, words))
            self.device.synchronize()
            least = None
            if isinstance(layer, Dense):
                least = torch.from_numpy(least_sums(layer, step.input).astype(np.float32)).to(where)
            self.layers.append(_Layer(signs.t().contiguous(), Packed(words, signs.shape[1]), least))
        widest = max(layer.weights.shape[1] for layer in self.layers)
        self.out = torch.empty(len(images) * widest, device=where)
        self.scores = torch.empty(len(images), network.classes, device=where)
        self.bits = self.device.allocate((len(images), Layout(1, widest, 1).row_words), "<u4")

    def run(self, multiply: Callable[["torch.Tensor", _Layer], "torch.Tensor"]) -> None:
        """Computes `scores`, the scores' sums, with one way of multiplying."""
        import torch

        x = self.input
        for layer in self.layers:
            sums = multiply(x, layer)
            if layer.least is None:
                self.scores.copy_(sums)
                return
            x = torch.where(sums >= layer.least, 1.0, -1.0)

    def cublas(self, x: "torch.Tensor", layer: _Layer) -> "torch.Tensor":
        return x @ layer.weights

    def baseline(self, x: "torch.Tensor", layer: _Layer) -> "torch.Tensor":
        inner, columns = layer.weights.shape
        out = self.out[: len(x) * columns].view(len(x), columns)
        self.device.launch(
            plain_launch("float_gemm", x.data_ptr(), layer.weights.data_ptr(), out.data_ptr(), len(x), columns, inner)
        )
        return out

    def xnor(self, x: "torch.Tensor", layer: _Layer) -> "torch.Tensor":
        """As in the paper: the first layer, whose inputs are not bits, on the baseline kernel."""
        if layer is self.layers[0]:
            return self.baseline(x, layer)
        inner, columns = layer.weights.shape
        out = self.out[: len(x) * columns].view(len(x), columns)
        words = DeviceArray(self.bits.address, (len(x), layer.packed.words.shape[1]), self.bits.dtype, self.bits)
        self.device.launch(pack_rows_into(as_array(x), "float", 0.0, words))
        task = plain_launch(
            "xnor_gemm_u32", words.address, layer.packed.words.address, out.data_ptr(), len(x), columns, inner, words.shape[1]
        )
        self.device.launch(task)
        return out


def _verdict(found: np.ndarray, wanted: np.ndarray) -> str:
    wrong = int((found != wanted).sum())
    return "classes equal golden's" if wrong == 0 else f"{wrong:,} of {len(wanted):,} classes differ from golden's"
