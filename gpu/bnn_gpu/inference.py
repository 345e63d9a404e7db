# SPDX-License-Identifier: Apache-2.0
"""Whole networks on a GPU: every layer's kernel, one after the other, bits packed from layer to layer, in one CUDA graph."""

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from bnn_gpu.arrays import DeviceArray, stream_handle, take_array
from bnn_gpu.device import device_of, open_device
from bnn_gpu.launches import (
    Geometry,
    Launch,
    MapMaker,
    Multiplication,
    align_launch,
    argmax_launch,
    matvec_launch,
    multiply_launch,
    pack_rows_launch,
    pool_launch,
)
from bnn_gpu.layout import Layout, pack_rows
from bnn_gpu.products import Method, Output, Product, bit_product, layer_constants, methods
from bnn_hw.errors import ArtefactError
from bnn_hw.network.images import image_count
from bnn_hw.network.network import Conv, Dense, MaxPool, Network, Scores, Step

__all__ = ["Executor", "Inference", "classify", "infer"]

_FEW_ROWS: Final = 8  # for at most this many images a dense layer reads its weights once an image instead of filling tiles
_MATVEC_COLUMNS: Final = 32  # columns of a matvec block, which also finds the class if it computes all scores
_MAX_ROWS: Final = (1 << 31) - 256
_MAX_BATCH: Final = 1 << 16
_MAX_BATCH_BYTES: Final = 1 << 32


class Executor(MapMaker, Protocol):
    """An object that runs launches: a `Device`, or its stand-in in tests."""

    @property
    def target(self) -> str: ...
    def allocate(self, shape: tuple[int, ...], dtype: str, stream: int = 0, *, zero: bool = False) -> DeviceArray: ...
    def upload(self, array: np.ndarray, stream: int = 0) -> DeviceArray: ...
    def download(self, array: DeviceArray, stream: int = 0) -> np.ndarray: ...
    def copy(self, to: DeviceArray, source: DeviceArray, stream: int = 0) -> None: ...
    def launch(self, launch: Launch, stream: int = 0) -> None: ...
    def graph(self, launches: list[Launch]) -> Any: ...
    def replay(self, graph: Any, stream: int = 0) -> None: ...


@dataclass(frozen=True, eq=False)
class _Signal:
    """Rows in GPU memory, an image each."""

    array: DeviceArray
    layout: Layout


@dataclass(frozen=True, eq=False)
class _Weights:
    """A layer's weights and constants in GPU memory; for few rows, those of its POPC form."""

    method: Method
    product: Product
    rows: DeviceArray
    layout: Layout
    constants: DeviceArray
    place_classes: DeviceArray | None


@dataclass(eq=False)
class Inference:
    """A network on a device for a batch of `images` images of a `dtype`: weights, memory and launches, prepared once.

    ``inference(images)`` returns the scores, [images, classes] int32, which the next call overwrites; `classes` then holds
    each image's class, [images] int32, and `activations` each layer's packed bits. Only one stream may use it at a time.
    `methods` names the ways of multiplying, in this order, instead of the device's best. Raises `ArtefactError` for a
    layer without a kernel and for images of another dtype than the network's input takes.
    """

    network: Network
    images: int
    dtype: str
    device: Executor
    methods: tuple[Method, ...] = ()
    graphs: bool = True
    few_rows: int = _FEW_ROWS
    activations: list[_Signal] = field(default_factory=list)
    _weights: dict[str, _Weights | DeviceArray] = field(default_factory=dict)
    _graphs: dict[tuple[int, int], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ArtefactError(f"images must be at least 1, not {self.images}")
        steps = self.network.steps
        self._product, self._origin, self._threshold = _input_form(self.network, self.dtype)
        self._input = _allocate(self.device, self.images, _input_layout(steps[0]))
        signal = self._input
        for step in steps:
            self._prepare(step, signal)
            if isinstance(step.layer, Scores):
                break
            signal = _allocate(self.device, self.images, _output_layout(step))
            self.activations.append(signal)
        self.scores = self.device.allocate((self.images, self.network.classes), "<i4")
        self.classes = self.device.allocate((self.images,), "<i4")

    def __call__(self, images: object, stream: object = None) -> DeviceArray:
        """Returns the scores of images of a shape that `bnn_hw.network.images.image_count` knows; only enqueues the work."""
        handle = stream_handle(stream, images)
        taken, _ = _as_batch(self.network, take_array(images, "images", handle))
        if taken.shape[0] != self.images:
            raise ArtefactError(f"images must be {self.images:,}, as the inference was prepared for, not {taken.shape[0]:,}")
        if taken.dtype.name != self.dtype:
            raise ArtefactError(f"images must be {self.dtype}, as the inference was prepared for, not {taken.dtype.name}")
        if self.graphs:
            key = taken.address, taken.stride
            graph = self._graphs.get(key)
            if graph is None:
                if len(self._graphs) >= 16:  # for callers that pass different memory each time
                    self._graphs.clear()
                graph = self._graphs[key] = self.device.graph(self.launches(taken))
            self.device.replay(graph, handle)
        else:
            for launch in self.launches(taken):
                self.device.launch(launch, handle)
        return self.scores

    def launches(self, images: DeviceArray) -> list[Launch]:
        """Returns all launches for images, the packing or aligning of the input and the search for the class with them."""
        signal, launches = self._take(images)
        outputs = iter(self.activations)
        for step in self.network.steps:
            output = None if isinstance(step.layer, Scores) else next(outputs)
            launches.append(self._launch(step, signal, output))
            signal = output or signal
        if self._scores_find_classes:
            return launches
        return [*launches, argmax_launch(self.scores.address, self.classes.address, self.images, self.network.classes)]

    @property
    def _scores_find_classes(self) -> bool:
        return self.images <= self.few_rows and self.network.classes <= _MATVEC_COLUMNS

    def _take(self, images: DeviceArray) -> tuple[_Signal, list[Launch]]:
        """Returns images as the first layer reads them: in place if their layout allows it, else rearranged by a kernel."""
        layout, row_bytes = self._input.layout, 4 * self._input.layout.row_words
        aligned = images.address % 16 == 0 and images.stride % 16 == 0
        if layout.element_bits == 8 and aligned and layout.pixels * layout.channels == row_bytes:
            words = DeviceArray(images.address, (self.images, images.stride // 4), np.dtype("<u4"), images)
            return _Signal(words, layout), []
        if images.row_stride and layout.pixels > 1:
            raise ArtefactError("images must lie one after the other; make them contiguous")
        stride = images.stride if layout.pixels == 1 else layout.channels
        rows = self.images * layout.pixels, layout.channels, _words(layout)
        out = self._input.array.address, layout.row_words, layout.pixels
        if layout.element_bits == 8:
            launch = align_launch(images.address, stride, *rows, *out)
        else:
            launch = pack_rows_launch(images.address, stride, "unsigned char", self._threshold, *rows, *out)
        return self._input, [launch]

    def _prepare(self, step: Step, signal: _Signal) -> None:
        """Uploads a layer's weights and constants."""
        layer = step.layer
        match layer:
            case MaxPool():
                mask = pack_rows(layer.and_channels[None], Layout(1, len(layer.and_channels), 1))
                self._weights[layer.name] = self.device.upload(mask)
            case Dense() | Conv() | Scores():
                places = step.output.size // len(layer.weights)
                if self.images * places > _MAX_ROWS:
                    raise ArtefactError(
                        f"layer {layer.name}: images must be at most {_MAX_ROWS // places:,} at a time, not {self.images:,}"
                    )
                self._weights[layer.name] = self._upload(layer, step, signal)
            case _:
                raise ArtefactError(f"layer {layer.name}: bnn_gpu has no kernel for layers of type {type(layer).__name__}")

    def _upload(self, layer: Dense | Conv | Scores, step: Step, signal: _Signal) -> _Weights:
        bits, few = step.input.dtype == "bit", self.images <= self.few_rows and not isinstance(layer, Conv)
        possible = methods(self.device.target, signal.layout.element_bits)
        method = next((method for method in self.methods if method in possible), possible[0])
        if few or (method == "wgmma" and isinstance(layer, Conv)):
            method = "popc" if few else next(other for other in possible if other != "wgmma")
        product = bit_product(self.device.target, method) if bits else self._product
        pixels = layer.weights.shape[1] * layer.weights.shape[2] if isinstance(layer, Conv) else signal.layout.pixels
        layout = Layout(pixels, signal.layout.channels, signal.layout.element_bits)
        weights = layer.weights if bits else np.where(layer.weights, np.int8(1), np.int8(-1))
        constants = layer_constants(layer, step.input, product, self._origin)
        classes = None if constants.place_classes is None else self.device.upload(constants.place_classes)
        return _Weights(
            method, product, self.device.upload(pack_rows(weights, layout)), layout, self.device.upload(constants.values), classes
        )

    def _launch(self, step: Step, signal: _Signal, output: _Signal | None) -> Launch:
        layer, stored = step.layer, self._weights[step.layer.name]
        if isinstance(layer, MaxPool):
            assert output is not None
            assert isinstance(stored, DeviceArray)
            return pool_launch(
                signal.array.address,
                signal.array.stride,
                output.array.address,
                output.layout.row_words,
                stored.address,
                self.images,
                signal.layout.pixel_words,
                step.input.shape[:2],  # type: ignore[arg-type]
                step.output.shape[:2],  # type: ignore[arg-type]
                layer.size,
                layer.stride,
            )
        assert isinstance(stored, _Weights)
        places = 1 if output is None else output.layout.pixels
        out = self.scores if output is None else output.array
        task = Multiplication(
            a=signal.array.address,
            a_stride=signal.array.stride,
            b=stored.rows.address,
            b_stride=stored.layout.row_words,
            rows=self.images * places,
            columns=len(layer.weights),
            k_words=stored.layout.pixels * stored.layout.pixel_words if isinstance(layer, Conv) else stored.layout.row_words,
            out=out.address,
            constants=stored.constants.address,
            padded_columns=stored.constants.shape[1],
            out_stride=0 if output is None else output.layout.row_words,
            out_words=0 if output is None else output.layout.pixel_words if isinstance(layer, Conv) else output.layout.row_words,
            place_classes=0 if stored.place_classes is None else stored.place_classes.address,
            winners=self.classes.address if output is None and self._scores_find_classes else 0,
            geometry=_geometry(layer, step, signal) if isinstance(layer, Conv) else None,
        )
        kind = Output.INT32 if output is None else Output.BITS
        if stored.method == "popc" and not isinstance(layer, Conv) and self.images <= self.few_rows:
            return matvec_launch(stored.product, kind, task)
        return multiply_launch(self.device, self.device.target, stored.method, stored.product, kind, task)


def infer(network: Network, images: object, *, stream: object = None, device: Executor | None = None) -> DeviceArray:
    """Returns a network's scores for images on a GPU, int32, bit-identical to `bnn_hw.network.golden.scores`.

    `images`: a torch CUDA tensor, CuPy array or anything with DLPack, of a shape for `bnn_hw.network.images.image_count`: bool
    for ``bit`` inputs, else of the input's dtype, or uint8 pixels as there. The work is enqueued when this returns, on `stream` or
    by default on the images' own stream. For repeated calls prepare an `Inference`, which this makes and drops. Raises
    `ArtefactError` for images or networks that do not fit, `ToolError` for a missing driver or GPU, before any kernel starts.
    """
    return _run(network, images, stream, device)[0]


def classify(network: Network, images: object, *, stream: object = None, device: Executor | None = None) -> DeviceArray:
    """Returns each image's class, the lowest among the greatest scores: [images] int32, or [] for one image; else as `infer`."""
    return _run(network, images, stream, device)[1]


def _run(network: Network, images: object, stream: object, device: Executor | None) -> tuple[DeviceArray, DeviceArray]:
    handle = stream_handle(stream, images)
    taken, one = _as_batch(network, take_array(images, "images", handle))
    count, dtype = taken.shape[0], taken.dtype.name
    _input_form(network, dtype)
    device = device or open_device(device_of(taken, "images"))
    scores, classes = device.allocate((count, network.classes), "<i4"), device.allocate((count,), "<i4")
    batch = max(1, min(count, _MAX_BATCH, _MAX_BATCH_BYTES // _image_bytes(network)))
    for start in range(0, count, batch):
        part = min(batch, count - start)
        inference = Inference(network, part, dtype, device, graphs=False)
        inference(_rows(taken, start, part), handle)
        device.copy(_rows(scores, start, part), inference.scores, handle)
        device.copy(_rows(classes, start, part), inference.classes, handle)
        device.download(inference.classes, handle)  # its memory is freed when this returns
    return (_only(scores), _only(classes)) if one else (scores, classes)


def _rows(array: DeviceArray, start: int, count: int) -> DeviceArray:
    offset = start * array.stride * array.dtype.itemsize
    return DeviceArray(array.address + offset, (count, *array.shape[1:]), array.dtype, array.owner, array.row_stride)


def _only(array: DeviceArray) -> DeviceArray:
    """Returns the only row of an array."""
    return DeviceArray(array.address, array.shape[1:], array.dtype, array.owner)


def _as_batch(network: Network, images: DeviceArray) -> tuple[DeviceArray, bool]:
    """Returns images with an axis of images, and whether it was a single image without that axis."""
    count, one = image_count(network.input, images.shape)
    if count < 1:
        raise ArtefactError("images must be at least 1, not an empty batch")
    if not one:
        return images, False
    if images.row_stride:
        raise ArtefactError("an image must have its rows one after the other; make it contiguous")
    return DeviceArray(images.address, (1, *images.shape), images.dtype, images.owner), True


def _input_form(network: Network, dtype: str) -> tuple[Product, int, float]:
    """Returns how the first layer reads images of a dtype: its product on bytes, their offset, the threshold of bits."""
    match network.input.dtype, dtype:
        case "bit", "bool":
            return Product.AND, 0, 1
        case "bit", "uint8" if network.input.pixel_threshold is not None:
            return Product.AND, 0, network.input.pixel_threshold
        case "uint8", "uint8":
            return Product.U8, 0, 0
        case "int8", "int8":
            return Product.S8, 0, 0
        case "int8", "uint8":
            return Product.U8, 128, 0  # pixels are multiplied unchanged; the constants account for the 128
    pixels = network.input.pixel_threshold is not None
    wanted = {"bit": "bool, or uint8 pixels" if pixels else "bool", "int8": "int8, or uint8 pixels"}.get(
        network.input.dtype, "uint8"
    )
    raise ArtefactError(f"images must be {wanted} for {network.name}, not {dtype}")


def _allocate(device: Executor, images: int, layout: Layout) -> _Signal:
    return _Signal(device.allocate((images, layout.row_words), "<u4", zero=True), layout)  # the padding stays zero


def _input_layout(step: Step) -> Layout:
    shape, bits = step.input.shape, 1 if step.input.dtype == "bit" else 8
    if isinstance(step.layer, Conv | MaxPool):
        return Layout(shape[0] * shape[1], shape[2], bits)
    return Layout(1, step.input.size, bits)


def _output_layout(step: Step) -> Layout:
    *places, channels = step.output.shape
    return Layout(int(np.prod(places)), channels, 1)


def _words(layout: Layout) -> int:
    """Returns the words that a kernel writes for a pixel: those to the end of the row where it is the only one."""
    return layout.row_words if layout.pixels == 1 else layout.pixel_words


def _image_bytes(network: Network) -> int:
    return sum(4 * _output_layout(step).row_words for step in network.steps) + network.input.signal.size


def _geometry(layer: Conv, step: Step, signal: _Signal) -> Geometry:
    places, columns, _ = step.output.shape
    return Geometry(
        places=places * columns,
        place_columns=columns,
        image_rows=step.input.shape[0],
        image_columns=step.input.shape[1],
        pixel_words=signal.layout.pixel_words,
        kernel_columns=layer.kernel[1],
        stride_rows=layer.stride[0],
        stride_columns=layer.stride[1],
        above=layer.padding[0],
        left=layer.padding[2],
    )
