# SPDX-License-Identifier: Apache-2.0
"""The container of network files, read with numpy alone, which is what a board has; docs/network-format.md describes it."""

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from bnn_hw.artefacts.strict_json import read_json

__all__ = ["Tensor", "read_safetensors"]

_METADATA: Final = "__metadata__"
_MAX_HEADER_BYTES: Final = 100_000_000
_DTYPES: Final = {"U8": "<u1", "I32": "<i4"}  # those of network files


@dataclass(frozen=True)
class Tensor:
    """A tensor's description, and its bytes."""

    dtype: str
    shape: list[int]
    begin: int
    data: bytes

    def array(self) -> np.ndarray:
        """Returns the tensor, which is of one of network files' dtypes."""
        return np.frombuffer(self.data, _DTYPES[self.dtype]).reshape(self.shape)


def read_safetensors(content: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Returns metadata and tensors of a file. Raises `ValueError` where it is none, or has bytes that are no tensor's."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _MAX_HEADER_BYTES):
        raise ValueError(f"the header must fit into its {len(content):,} bytes and {_MAX_HEADER_BYTES:,}, not take {length:,}")
    header, data = _header(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{_METADATA} must be an object of strings")
    tensors = {name: _tensor(name, entry, data) for name, entry in header.items()}
    ends = sorted((tensor.begin, tensor.begin + len(tensor.data)) for tensor in tensors.values())
    if any(end != begin for (_, end), (begin, _) in pairwise([(0, 0), *ends, (len(data), len(data))])):
        raise ValueError("the tensors must cover the data without gap or overlap")
    return metadata, tensors


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = read_json(text.decode())
        json.dumps(header, ensure_ascii=False).encode()  # refuses half a surrogate pair, which JSON can escape
    except RecursionError as error:
        raise ValueError("the header is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError("the header must be a JSON object")
    return header


def _tensor(name: str, entry: object, data: bytes) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)], **rest} if not rest:
            if _lengths([*shape, begin, end]) and begin <= end <= len(data):
                item_bytes = np.dtype(_DTYPES[dtype]).itemsize if dtype in _DTYPES else None  # others are refused by who reads them
                if item_bytes is None or item_bytes * math.prod(shape) == end - begin:
                    return Tensor(dtype, shape, begin, data[begin:end])
    raise ValueError(f"the entry of {name[:100]!r} must have dtype, shape and the data_offsets that follow from them")


def _lengths(shape: list[Any]) -> bool:
    return all(type(extent) is int and extent >= 0 for extent in shape)  # no bool
