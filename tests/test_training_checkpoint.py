# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trips and bad input."""

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from bnn_hw.errors import ArtefactError
from bnn_training.augment import AffineRange
from bnn_training.checkpoint import CHECKPOINT_FORMAT, Checkpoint, build_network, load_checkpoint, load_network, save_checkpoint
from bnn_training.recipes import Recipe

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
RECIPE = Recipe("tiny", "stripes", (7, 5), epochs=3, augmentation=AffineRange(1, 0.5, 0.25, 2), bfloat16=False)


def checkpoint() -> Checkpoint:
    torch.manual_seed(1)
    network = build_network(RECIPE, 12, 3)
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    return Checkpoint(RECIPE, (2, 6, 1), 3, 2, 0.75, {**tensors, "generator": torch.Generator().get_state()})


def description(**fields: Any) -> dict[str, Any]:
    whole = {"format": CHECKPOINT_FORMAT, "version": 1, "recipe": asdict(RECIPE), "input_shape": [2, 6, 1], "classes": 3}
    return {**whole, "epoch": 2, "best_validation": 0.75, **fields}


def write(folder: Path, content: object) -> Path:
    """Writes a checkpoint with this description, or as its text."""
    text = content if isinstance(content, str) else json.dumps(content)
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint().tensors.items()}
    (folder / "c.safetensors").write_bytes(save(tensors, {CHECKPOINT_FORMAT: text}))
    return folder / "c.safetensors"


def test_round_trip(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(saved, tmp_path / "c.safetensors")
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    fields = ("recipe", "input_shape", "classes", "epoch", "best_validation")
    assert [getattr(loaded, name) for name in fields] == [getattr(saved, name) for name in fields]
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    assert asdict(load_checkpoint(write(tmp_path, description())).recipe) == asdict(RECIPE)


def test_the_loaded_network_is_the_saved_one_in_eval_mode() -> None:
    torch.manual_seed(2)
    network = build_network(RECIPE, 12, 3)
    network(torch.randn(9, 12))  # moves the running statistics
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    loaded = load_network(replace(checkpoint(), tensors=tensors))
    assert not loaded.training
    x = torch.randn(5, 12)
    assert torch.equal(loaded(x), network.eval()(x))


NO_CHECKPOINT = r" is no checkpoint: .*; `bnn_hw train` writes one"
OTHER_VERSION = r" is no checkpoint of this version: .*; `bnn_hw train` writes one"


def refused(path: Path, message: str) -> None:
    with pytest.raises(ArtefactError, match=f"^{re.escape(str(path))}{message}$"):
        load_network(load_checkpoint(path))


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path / "absent", NO_CHECKPOINT)
    refused(tmp_path, NO_CHECKPOINT)
    path = write(tmp_path, description())
    whole = path.read_bytes()
    for content in (b"", b"\0" * 8, whole[:100], whole[:-1], whole + b"\0", b"PK\x03\x04" + whole):
        path.write_bytes(content)
        refused(path, NO_CHECKPOINT)
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(save({"x": torch.ones(1)}, metadata))
        refused(path, OTHER_VERSION)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    torch.save({"x": _Bomb(str(tmp_path / "executed"))}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(_Bomb(str(tmp_path / "executed"))))
    refused(tmp_path / "a.pt", NO_CHECKPOINT)
    refused(tmp_path / "b.pt", NO_CHECKPOINT)
    assert not (tmp_path / "executed").exists()


def recipe(**fields: Any) -> dict[str, Any]:
    return description(recipe={**asdict(RECIPE), **fields})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", OTHER_VERSION),
        ("{", OTHER_VERSION),
        ("[]", OTHER_VERSION),
        ("5", OTHER_VERSION),
        ("[" * 100_000, OTHER_VERSION),
        ({}, OTHER_VERSION),
        (description(version=2), ": checkpoint version must be 1, not 2"),
        (description(recipe=None), OTHER_VERSION),
        (description(recipe={}), OTHER_VERSION),
        (recipe(momentum=1), OTHER_VERSION),
        (recipe(augmentation={"flip": 1}), OTHER_VERSION),
        (recipe(augmentation=None), OTHER_VERSION),
        (recipe(hidden=None), OTHER_VERSION),
        (recipe(hidden=["7", "5"]), OTHER_VERSION),
        (recipe(hidden=[7.0, 5.0]), OTHER_VERSION),
        (recipe(hidden=[-7, 5]), OTHER_VERSION),
        (recipe(pixel_threshold="x"), OTHER_VERSION),
        (recipe(name=5), OTHER_VERSION),
        (recipe(validation=-1), OTHER_VERSION),
        (description(input_shape=None), OTHER_VERSION),
        (description(input_shape=["2", 6, 1]), OTHER_VERSION),
        (description(input_shape=[-2, -6, 1]), OTHER_VERSION),
        (description(classes="3"), OTHER_VERSION),
        (description(classes=None), OTHER_VERSION),
        (description(epoch="2"), OTHER_VERSION),
        (description(best_validation=None), OTHER_VERSION),
    ],
    ids=range(26),
)
def test_wrong_description(content: object, message: str, tmp_path: Path) -> None:
    refused(write(tmp_path, content), message)


@pytest.mark.parametrize(
    "fields", [{"classes": 4}, {"input_shape": [12, 6, 1]}, {"recipe": {**asdict(RECIPE), "hidden": [7]}}], ids=str
)
def test_tensors_of_another_recipe(fields: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, description(**fields))
    with pytest.raises(ArtefactError, match=r"^checkpoint does not hold the tensors of recipe 'tiny': "):
        load_network(load_checkpoint(path))


def test_claimed_sizes_allocate_nothing(tmp_path: Path) -> None:
    """2**40 weights that the file does not have."""
    path = write(tmp_path, recipe(hidden=[1 << 20, 1 << 20]))
    with pytest.raises(ArtefactError, match=r"^checkpoint does not hold the tensors of recipe 'tiny': "):
        load_network(load_checkpoint(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_flipped_header(share: float, mask: int, tmp_path: Path) -> None:
    """A checkpoint's header with one byte flipped loads or is refused, and never fails in another way."""
    path = write(tmp_path, description())
    altered = bytearray(path.read_bytes())
    altered[int(share * (8 + int.from_bytes(altered[:8], "little")))] ^= mask
    path.write_bytes(bytes(altered))
    try:
        load_network(load_checkpoint(path))
    except ArtefactError as error:
        str(error).encode()
