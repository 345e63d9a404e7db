# SPDX-License-Identifier: Apache-2.0
"""The reader of the container, beside the safetensors library."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load_file, save

from bnn_hw.network.safetensors_file import read_safetensors
from support.cocotb_run import fresh_seed

MODELS = sorted((Path(__file__).parents[2] / "bnn_hw" / "models").glob("*.safetensors"))
ENTRY: dict[str, Any] = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


def _file(header: object, data: bytes = b"\1\2") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_tensors_are_those_of_the_library(path: Path) -> None:
    _, tensors = read_safetensors(path.read_bytes())
    expected = load_file(path)
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert tensor.array().dtype == expected[name].dtype
        assert np.array_equal(tensor.array(), expected[name])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": {**ENTRY, "shape": [3]}}, r"the entry of 'a' must have dtype, .*"),
        ({"a": {**ENTRY, "shape": [True, 2]}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "shape": [-1, -2]}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "dtype": "I32"}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "data_offsets": [0, 3]}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "data_offsets": [2, 0]}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "data_offsets": [False, 2]}}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "more": 1}}, r"the entry of 'a' must have .*"),
        ({"a": [0, 2]}, r"the entry of 'a' must have .*"),
        ({"a": {**ENTRY, "shape": [1], "data_offsets": [1, 2]}}, "the tensors must cover the data without gap or overlap"),
        ({"a": {**ENTRY, "shape": [1], "data_offsets": [0, 1]}}, "the tensors must cover the data without gap or overlap"),
        ({"a": ENTRY, "b": ENTRY}, "the tensors must cover the data without gap or overlap"),
        ({"a": ENTRY, "__metadata__": {"n": 1}}, "__metadata__ must be an object of strings"),
        ({"a": ENTRY, "__metadata__": []}, "__metadata__ must be an object of strings"),
        (b'{"a": 1, "a": 2}', r"the keys \['a', 'a'\] must differ"),
        (b'{"__metadata__": {"n": "\\ud800"}}', r".* surrogates not allowed"),
        (b"[]", "the header must be a JSON object"),
        (b"[" * 60_000, r"the header is nested too deep|Expecting value: .*"),
    ],
    ids=range(18),
)
def test_what_is_none_is_refused(header: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^({message})$"):
        read_safetensors(_file(header))


def test_a_header_longer_than_the_file_is_refused() -> None:
    for content in (b"", b"\2", struct.pack("<Q", 3) + b"{}", struct.pack("<Q", 1 << 63) + b"{}"):
        with pytest.raises(
            ValueError, match=r"^the header must fit into its \d bytes and 100,000,000, not take [\d,]+$|^.* 10 bytes"
        ):
            read_safetensors(content)


def test_altered_files_are_refused_where_the_library_refuses_them() -> None:
    """But for names of dtypes, which network files check; what it takes and we do not is stricter, such as keys twice."""
    rng = random.Random(fresh_seed())
    whole = save({"a": np.arange(6, dtype=np.uint8), "b": np.arange(4, dtype=np.int32)}, metadata={"name": "x"})
    refused = 0
    for _ in range(3000):
        altered = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            altered[rng.randrange(len(altered))] = rng.choice(b'0123456789[]{},:"UIabx \\\0\xff')
        content = bytes(altered[: rng.choice((len(altered), rng.randrange(len(altered))))])
        try:
            deserialize(content)
        except SafetensorError:
            refused += 1
            assert _refused(content), content
    assert refused > 1000


def _refused(content: bytes) -> bool:
    try:
        _, tensors = read_safetensors(content)
    except ValueError:
        return True
    return any(tensor.dtype not in ("U8", "I32") for tensor in tensors.values())
