# SPDX-License-Identifier: Apache-2.0
"""Network files: safetensors with a JSON description, byte by byte as in docs/network-format.md."""

import hashlib
import json
import math
import reprlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bnn_hw.errors import ArtefactError
from bnn_hw.network import Dense, Input, Layer, Network, Scores
from bnn_hw.packing import pack_bits, packed_bytes, unpack_bits

__all__ = ["NETWORK_FORMAT", "load_network", "network_bytes", "network_digest", "save_network"]

NETWORK_FORMAT: Final = "bnn_hw.network"  # the one key of the safetensors metadata; its value is the JSON description
_VERSION: Final = 1
_DIGEST: Final = "sha256"  # the tensor that holds the digest
_MAX_FILE_BYTES: Final = 256 << 20


def network_bytes(network: Network) -> bytes:
    """Returns the content of the network's file; equal networks give equal bytes."""
    description, tensors = _serialize(network)
    digest = np.frombuffer(_digest(description, tensors), np.uint8)
    return save({**tensors, _DIGEST: digest}, metadata={NETWORK_FORMAT: description})


def network_digest(network: Network) -> str:
    """Returns the network's identity, the SHA-256 that its file carries, as 64 hexadecimal digits."""
    return _digest(*_serialize(network)).hex()


def save_network(network: Network, path: Path) -> None:
    """Writes the network's file to `path`, in place of what was there only once it is whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(network_bytes(network))
    partial.replace(path)


def load_network(path: Path) -> Network:
    """Reads a network file.

    Nothing is taken on trust: file size, description, names, dtypes and shapes are checked before a tensor is read,
    then the digest, the padding bits and all that `Network` itself checks. Raises `ArtefactError` naming the field.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ArtefactError(f"a network file may have {_MAX_FILE_BYTES:,} bytes, not {path.stat().st_size:,}")
        with safe_open(path, framework="np") as file:
            return _read(file)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path} is not a readable safetensors file: {error}") from error
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error


def _serialize(network: Network) -> tuple[str, dict[str, np.ndarray]]:
    description = {
        "version": _VERSION,
        "name": network.name,
        "input": {key: value for key, value in vars(network.input).items() if value is not None},
        "layers": [_describe(layer) for layer in network.layers],
        "provenance": network.provenance,
    }
    tensors: dict[str, np.ndarray] = {}
    for layer in network.layers:
        tensors[f"{layer.name}.weights"] = pack_bits(layer.weights)
        match layer:
            case Dense():
                tensors[f"{layer.name}.thresholds"] = layer.thresholds
            case Scores():
                tensors[f"{layer.name}.scale"] = layer.scale
                tensors[f"{layer.name}.offset"] = layer.offset
    try:
        return json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False), tensors
    except (TypeError, ValueError, RecursionError) as error:  # all the rest is strings and integers
        raise ArtefactError(f"provenance must be made of JSON values: {error}") from error


def _describe(layer: Layer) -> dict[str, Any]:
    outputs, inputs = layer.weights.shape
    match layer:
        case Dense():
            return {"type": "dense", "name": layer.name, "inputs": inputs, "outputs": outputs}
        case Scores():
            return {"type": "scores", "name": layer.name, "inputs": inputs, "outputs": outputs}


def _digest(description: str, tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns SHA-256 of the description, then of each tensor's little-endian bytes in the order of the description."""
    digest = hashlib.sha256(description.encode())
    for tensor in tensors.values():
        digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
    return digest.digest()


def _read(file: Any) -> Network:
    text = (file.metadata() or {}).get(NETWORK_FORMAT)
    if text is None:
        raise ArtefactError(f"no network file: the safetensors metadata must have the key {NETWORK_FORMAT!r}")
    description = _parse(text)
    version = _field(description, "version", int)
    if version != _VERSION:
        raise ArtefactError(f"version must be {_VERSION}, not {version}; this bnn_hw reads no other")
    _check_known(description, ("version", "name", "input", "layers", "provenance"), "description")
    described = [_Described(index, value) for index, value in enumerate(_field(description, "layers", list))]
    names = [layer.name for layer in described]
    if len(set(names)) != len(names):
        raise ArtefactError(f"layer names must differ, not {reprlib.repr(names)}")
    expected = {name: kind for layer in described for name, kind in layer.tensors()}
    _check_tensors(file, {**expected, _DIGEST: ("U8", [32])})
    tensors = {name: file.get_tensor(name) for name in expected}
    if file.get_tensor(_DIGEST).tobytes() != _digest(text, tensors):
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

    def __init__(self, index: int, value: object) -> None:
        place = f"layers[{index}]."
        if not isinstance(value, dict):
            raise ArtefactError(f"layers[{index}] must be an object, not {reprlib.repr(value)}")
        self.type = _field(value, "type", str, place)
        self.name = _field(value, "name", str, place)
        self.inputs = _field(value, "inputs", int, place)
        self.outputs = _field(value, "outputs", int, place)
        if self.type not in ("dense", "scores"):
            raise ArtefactError(f"{place}type must be one of dense, scores, not {reprlib.repr(self.type)}")
        _check_known(value, ("type", "name", "inputs", "outputs"), f"layers[{index}]")
        if not (0 < self.inputs <= 1 << 26 and 0 < self.outputs <= 1 << 26):
            raise ArtefactError(f"{place}inputs and {place}outputs must be in 1..{1 << 26}, not {self.inputs} and {self.outputs}")

    def tensors(self) -> Iterator[tuple[str, tuple[str, list[int]]]]:
        """Yields name, dtype and shape of each tensor, in the order of the digest."""
        yield f"{self.name}.weights", ("U8", [self.outputs, packed_bytes(self.inputs)])
        for field in ("thresholds",) if self.type == "dense" else ("scale", "offset"):
            yield f"{self.name}.{field}", ("I32", [self.outputs])

    def make(self, tensors: Mapping[str, np.ndarray]) -> Layer:
        packed = tensors[f"{self.name}.weights"]
        weights = unpack_bits(packed, self.inputs)
        if not np.array_equal(pack_bits(weights), packed):
            raise ArtefactError(f"{self.name}.weights: the bits past input {self.inputs - 1} of each row must be 0")
        if self.type == "dense":
            return Dense(self.name, weights, tensors[f"{self.name}.thresholds"])
        return Scores(self.name, weights, tensors[f"{self.name}.scale"], tensors[f"{self.name}.offset"])


def _parse(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON number")

    def finite(digits: str) -> float:
        return float(digits) if math.isfinite(float(digits)) else refuse(digits)

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"the keys {reprlib.repr([key for key, _ in pairs])} must differ")
        return dict(pairs)

    try:
        value = json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=distinct)
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


def _check_tensors(file: Any, expected: Mapping[str, tuple[str, list[int]]]) -> None:
    present = set(file.keys())
    if present != set(expected):
        missing, extra = sorted(set(expected) - present), sorted(present - set(expected))
        raise ArtefactError(f"tensors must be those of the layers; missing: {missing or 'none'}, not expected: {extra or 'none'}")
    for name, (dtype, shape) in expected.items():
        tensor = file.get_slice(name)
        if tensor.get_dtype() != dtype or tensor.get_shape() != shape:
            raise ArtefactError(f"{name} must be {dtype} {shape}, not {tensor.get_dtype()} {tensor.get_shape()}")
