# SPDX-License-Identifier: Apache-2.0
"""Network files: safetensors with a JSON description, byte by byte as in docs/network-format.md."""

import hashlib
import json
import os
import reprlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bnn_hw.artefacts.files import whole_file
from bnn_hw.artefacts.strict_json import read_json
from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import MAX_WINDOW
from bnn_hw.network.network import Conv, Dense, DenseRelu, Input, Layer, MaxPool, Network, Scores, weight_matrix
from bnn_hw.network.packing import pack_bits, packed_bytes, unpack_bits
from bnn_hw.network.safetensors_file import Tensor, read_safetensors

__all__ = ["NETWORK_FORMAT", "load_network", "network_bytes", "network_digest", "save_network"]

NETWORK_FORMAT: Final = "bnn_hw.network"  # the one key of the safetensors metadata; its value is the JSON description
_VERSIONS: Final = (1, 2, 3)  # of which a file has the first that knows its layers
_FIELDS: Final = {  # of each layer's description, beside type and name
    "dense": ("inputs", "outputs"),
    "dense_relu": ("inputs", "outputs", "shift"),
    "conv": ("kernel", "channels", "outputs", "stride", "padding", "padding_value"),
    "maxpool": ("size", "stride", "channels"),
    "scores": ("inputs", "outputs"),
}
_SINCE_VERSION: Final = {"dense": 1, "dense_relu": 3, "conv": 2, "maxpool": 2, "scores": 1}
_LISTS: Final = {"kernel": 2, "size": 2, "stride": 2, "padding": 4}  # of so many integers
_ANY_INTEGER: Final = ("padding_value", "shift")  # whose ranges the layer checks; other integers count something
_DIGEST: Final = "sha256"  # the tensor that holds the digest
_MAX_FILE_BYTES: Final = 256 << 20
_MAX_EXTENT: Final = 1 << 26


def network_bytes(network: Network) -> bytes:
    """Returns the content of the network's file; equal networks give equal bytes."""
    from safetensors.numpy import save  # late, because a board, which only reads, may lack it

    description, tensors = _serialize(network)
    digest = np.frombuffer(_digest(description, tensors), np.uint8)
    return save({**tensors, _DIGEST: digest}, metadata={NETWORK_FORMAT: description})


def network_digest(network: Network) -> str:
    """Returns the network's identity, the SHA-256 that its file carries, as 64 hexadecimal digits."""
    return _digest(*_serialize(network)).hex()


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Writes the network's file to `path`, in place of a network file there only once it is whole.

    Raises `ArtefactError` where `path` is something else, as the checkpoint that took hours to train.
    """
    path = Path(path)
    if path.exists() and not _is_network_file(path):
        raise ArtefactError(
            f"{path} exists and is not a network file, so it is left alone; give another name or remove it yourself"
        )
    with whole_file(path) as partial:
        partial.write_bytes(network_bytes(network))


def load_network(path: str | os.PathLike[str]) -> Network:
    """Reads a network file.

    Nothing is taken on trust: file size, description, names, dtypes and shapes are checked before a tensor is read,
    then the digest, the padding bits and all that `Network` itself checks. Raises `ArtefactError` naming the field.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ArtefactError(f"{path}: a network file may have {_MAX_FILE_BYTES:,} bytes, not {path.stat().st_size:,}")
        metadata, tensors = read_safetensors(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        return _read(metadata, tensors)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error


def _is_network_file(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open  # late, as in network_bytes

    try:
        with safe_open(path, framework="np") as file:
            return NETWORK_FORMAT in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _serialize(network: Network) -> tuple[str, dict[str, np.ndarray]]:
    layers = [_describe(layer) for layer in network.layers]
    description = {
        "version": max(_SINCE_VERSION[layer["type"]] for layer in layers),
        "name": network.name,
        "input": {key: value for key, value in vars(network.input).items() if value is not None},
        "layers": layers,
        "provenance": network.provenance,
    }
    tensors = {f"{layer.name}.{field}": array for layer in network.layers for field, array in _tensors(layer).items()}
    try:
        return json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False), tensors
    except (TypeError, ValueError, RecursionError) as error:  # all the rest is strings and integers
        raise ArtefactError(f"provenance must be made of JSON values: {error}") from error


def _describe(layer: Layer) -> dict[str, Any]:
    match layer:
        case Dense(name=name, weights=weights):
            return {"type": "dense", "name": name, "inputs": weights.shape[1], "outputs": weights.shape[0]}
        case DenseRelu(name=name, weights=weights, shift=shift):
            return {"type": "dense_relu", "name": name, "inputs": weights.shape[1], "outputs": weights.shape[0], "shift": shift}
        case Conv(name=name, weights=weights):
            window = {"kernel": layer.kernel, "channels": weights.shape[3], "outputs": weights.shape[0], "stride": layer.stride}
            return {"type": "conv", "name": name, **window, "padding": layer.padding, "padding_value": layer.padding_value}
        case MaxPool(name=name, size=size, stride=stride):
            return {"type": "maxpool", "name": name, "size": size, "stride": stride, "channels": len(layer.and_channels)}
        case Scores(name=name, weights=weights):
            return {"type": "scores", "name": name, "inputs": weights.shape[1], "outputs": weights.shape[0]}


def _tensors(layer: Layer) -> dict[str, np.ndarray]:
    match layer:
        case Dense() | Conv():
            return {"weights": pack_bits(weight_matrix(layer)), "thresholds": layer.thresholds}
        case MaxPool():
            return {"and_channels": pack_bits(layer.and_channels)}
        case DenseRelu() | Scores():
            return {"weights": pack_bits(weight_matrix(layer)), "scale": layer.scale, "offset": layer.offset}


def _digest(description: str, tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns SHA-256 of the description, then of each tensor's little-endian bytes in the order of the description."""
    digest = hashlib.sha256(description.encode())
    for tensor in tensors.values():
        digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
    return digest.digest()


def _read(metadata: Mapping[str, str], stored: Mapping[str, Tensor]) -> Network:
    text = metadata.get(NETWORK_FORMAT)
    if text is None:
        raise ArtefactError(f"no network file: the safetensors metadata must have the key {NETWORK_FORMAT!r}")
    description = _parse(text)
    version = _field(description, "version", int)
    if version not in _VERSIONS:
        raise ArtefactError(f"version must be one of {', '.join(map(str, _VERSIONS))}, not {version}; this bnn_hw reads no other")
    _check_known(description, ("version", "name", "input", "layers", "provenance"), "description")
    described = [_Described(index, value, version) for index, value in enumerate(_field(description, "layers", list))]
    names = [layer.name for layer in described]
    if len(set(names)) != len(names):
        raise ArtefactError(f"layer names must differ, not {reprlib.repr(names)}")
    expected = {name: kind for layer in described for name, kind in layer.tensors()}
    _check_tensors(stored, {**expected, _DIGEST: ("U8", [32])})
    tensors = {name: stored[name].array() for name in expected}
    if stored[_DIGEST].data != _digest(text, tensors):
        raise ArtefactError("sha256 does not agree with the content: the file is altered or damaged; fetch or export it again")
    input_ = _field(description, "input", dict)
    _check_known(input_, ("shape", "dtype", "pixel_threshold"), "input")
    shape = _field(input_, "shape", list, "input.")
    return Network(
        _field(description, "name", str),
        Input(tuple(shape), _field(input_, "dtype", str, "input."), input_.get("pixel_threshold")),
        tuple(layer.make(tensors) for layer in described),
        _field(description, "provenance", dict) if "provenance" in description else {},
    )


class _Described:
    """A layer as its description gives it."""

    def __init__(self, index: int, value: object, version: int) -> None:
        place = f"layers[{index}]."
        if not isinstance(value, dict):
            raise ArtefactError(f"layers[{index}] must be an object, not {reprlib.repr(value)}")
        self.type = _field(value, "type", str, place)
        self.name = _field(value, "name", str, place)
        known = [kind for kind in _FIELDS if _SINCE_VERSION[kind] <= version]
        if self.type not in known:
            rule = f"must be one of {', '.join(known)} in version {version}"
            raise ArtefactError(f"{place}type {rule}, not {reprlib.repr(self.type)}")
        fields = _FIELDS[self.type]
        _check_known(value, ("type", "name", *fields), f"layers[{index}]")
        self._lists = {name: _integers(value, name, place) for name in fields if name in _LISTS}
        self._values = {name: _field(value, name, int, place) for name in fields if name not in _LISTS}
        for name, extent in self._values.items():
            if name not in _ANY_INTEGER and not 0 < extent <= _MAX_EXTENT:
                raise ArtefactError(f"{place}{name} must be in 1..{_MAX_EXTENT}, not {extent}")
        if not all(0 < extent <= MAX_WINDOW for extent in self._lists.get("kernel", ())):
            raise ArtefactError(f"{place}kernel must be two integers in 1..{MAX_WINDOW}, not {list(self._lists['kernel'])}")

    def tensors(self) -> Iterator[tuple[str, tuple[str, list[int]]]]:
        """Yields name, dtype and shape of each tensor, in the order of the digest."""
        if self.type == "maxpool":
            yield f"{self.name}.and_channels", ("U8", [packed_bytes(self._values["channels"])])
            return
        outputs = self._values["outputs"]
        yield f"{self.name}.weights", ("U8", [outputs, packed_bytes(self._inputs)])
        for field in ("scale", "offset") if self.type in ("dense_relu", "scores") else ("thresholds",):
            yield f"{self.name}.{field}", ("I32", [outputs])

    def make(self, tensors: Mapping[str, np.ndarray]) -> Layer:
        if self.type == "maxpool":
            and_channels = self._bits(tensors, "and_channels", self._values["channels"])
            return MaxPool(self.name, self._pair("size"), self._pair("stride"), and_channels)
        weights = self._bits(tensors, "weights", self._inputs)
        if self.type in ("dense_relu", "scores"):
            scale, offset = tensors[f"{self.name}.scale"], tensors[f"{self.name}.offset"]
            if self.type == "scores":
                return Scores(self.name, weights, scale, offset)
            return DenseRelu(self.name, weights, scale, offset, self._values["shift"])
        thresholds = tensors[f"{self.name}.thresholds"]
        if self.type == "dense":
            return Dense(self.name, weights, thresholds)
        window = (len(weights), *self._lists["kernel"], self._values["channels"])
        above, below, left, right = self._lists["padding"]
        padding, value = (above, below, left, right), self._values["padding_value"]
        return Conv(self.name, weights.reshape(window), thresholds, self._pair("stride"), padding, value)

    @property
    def _inputs(self) -> int:
        """The inputs of a neuron."""
        if self.type != "conv":
            return self._values["inputs"]
        rows, columns = self._lists["kernel"]
        return rows * columns * self._values["channels"]

    def _pair(self, name: str) -> tuple[int, int]:
        rows, columns = self._lists[name]
        return rows, columns

    def _bits(self, tensors: Mapping[str, np.ndarray], field: str, count: int) -> np.ndarray:
        """Returns a tensor's bits, `count` a row, once those that pad are 0."""
        packed = tensors[f"{self.name}.{field}"]
        bits = unpack_bits(packed, count)
        if not np.array_equal(pack_bits(bits), packed):
            raise ArtefactError(f"{self.name}.{field}: the bits past the first {count:,} of each row must be 0")
        return bits


def _integers(value: Mapping[str, Any], name: str, place: str) -> tuple[int, ...]:
    """Returns a list of as many integers as the field has."""
    found = _field(value, name, list, place)
    if len(found) != _LISTS[name] or not all(type(item) is int for item in found):
        raise ArtefactError(f"{place}{name} must be {_LISTS[name]} integers, not {reprlib.repr(found)}")
    return tuple(found)


def _parse(text: str) -> dict[str, Any]:
    try:
        value = read_json(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"metadata {NETWORK_FORMAT!r} must be JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtefactError(f"metadata {NETWORK_FORMAT!r} must be a JSON object")
    return value


def _field(description: Mapping[str, Any], name: str, kind: type, place: str = "") -> Any:
    value = description.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {int: "an integer", str: "a string", list: "a list", dict: "an object"}
        raise ArtefactError(f"{place}{name} must be {names[kind]}, not {reprlib.repr(value)}")
    return value


def _check_known(value: Mapping[str, Any], names: Collection[str], place: str) -> None:
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ArtefactError(f"{place} may have the fields {', '.join(names)}, not {reprlib.repr(unknown[0])}")


def _check_tensors(stored: Mapping[str, Tensor], expected: Mapping[str, tuple[str, list[int]]]) -> None:
    if stored.keys() != expected.keys():
        missing, extra = sorted(expected.keys() - stored.keys()), sorted(stored.keys() - expected.keys())
        raise ArtefactError(f"tensors must be those of the layers; missing: {missing or 'none'}, not expected: {extra or 'none'}")
    for name, (dtype, shape) in expected.items():
        tensor = stored[name]
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise ArtefactError(f"{name} must be {dtype} {shape}, not {tensor.dtype} {tensor.shape}")
