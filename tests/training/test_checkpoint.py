# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trips and bad input."""

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from bnn_hw.artefacts.formats import CHECKPOINT_FORMAT
from bnn_hw.errors import ArtefactError
from bnn_training.augment import AffineRange
from bnn_training.checkpoint import Checkpoint, load_checkpoint, load_network, save_checkpoint
from bnn_training.recipes import Recipe, recipe_network
from support.identities import made_up_data

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
DATA = made_up_data("stripes", 3)
RECIPE = Recipe("tiny", "stripes", "7-5", epochs=3, augmentation=AffineRange(1, 0.5, 0.25, 2, border="zeros"), bfloat16=False)
IMAGES = Recipe("conv", "stripes", "4C2-MP2-5", epochs=3, input_dtype="int8", padding=1, augmentation=AffineRange(mirror=True))

# No field but the names is what it is by itself.
SHIFTED = Recipe(
    "shifted",
    "stripes",
    "4C2-MP2-5",
    epochs=7,
    batch=33,
    optimizer="shift_adamax",
    learning_rate=0.25,
    schedule="halving",
    last_learning_rate=0.125,
    halve_every=2,
    stochastic_weights=True,
    test_weights="real",
    activation="stochastic_sign",
    shift_batch_norm=True,
    batch_norm_epsilon=0.5,
    batch_norm_momentum=0.75,
    input_dropout=0.25,
    hidden_dropout=0.5,
    preprocessing="gcn_lcn",
    input_dtype="uint8",
    pixel_threshold=99,
    padding=1,
    augmentation=AffineRange(mirror=True),
    validation=12,
    balanced_validation=True,
    bfloat16=False,
    seed=5,
)


def checkpoint() -> Checkpoint:
    torch.manual_seed(1)
    network = recipe_network(RECIPE, (2, 6, 1), 3)
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    return Checkpoint("stripes-own", RECIPE, (2, 6, 1), DATA, 2, 0.75, tensors)


def description(**fields: Any) -> dict[str, Any]:
    whole = {"format": CHECKPOINT_FORMAT, "version": 4, "name": "stripes-own", "recipe": asdict(RECIPE), "input_shape": [2, 6, 1]}
    return {**whole, "data": DATA.as_json(), "epoch": 2, "best_validation": 0.75, **fields}


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
    fields = ("name", "recipe", "input_shape", "data", "epoch", "best_validation")
    assert [getattr(loaded, name) for name in fields] == [getattr(saved, name) for name in fields]
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    written = load_checkpoint(write(tmp_path, description()))
    assert (asdict(written.recipe), written.data, written.name) == (asdict(RECIPE), DATA, "stripes-own")


@pytest.mark.parametrize("recipe", [RECIPE, IMAGES, SHIFTED], ids=lambda recipe: recipe.name)
def test_the_loaded_network_is_the_saved_one_in_eval_mode(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(2)
    shape = (4, 6, 3)
    network = recipe_network(recipe, shape, 3)
    network(torch.randn(9, 3, 4, 6))  # moves the running statistics
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    saved = replace(checkpoint(), recipe=recipe, input_shape=shape, tensors=tensors)
    save_checkpoint(saved, tmp_path / "c.safetensors")
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.recipe == recipe
    restored = load_network(loaded)
    assert not restored.training
    x = torch.randn(5, 3, 4, 6)
    assert torch.equal(restored(x), network.eval()(x))


def test_the_recipe_above_has_every_field() -> None:
    assert [field.name for field in fields(Recipe) if getattr(SHIFTED, field.name) == field.default] == []


def test_names_of_tensors() -> None:
    """They are in files, so they stay."""
    names = {name for name in recipe_network(IMAGES, (4, 6, 3), 3).state_dict() if name.startswith("blocks.0.")}
    norm = ("weight", "bias", "running_mean", "running_var")
    assert names == {"blocks.0.product.weight", "blocks.0.product.bias", *(f"blocks.0.normalize.{name}" for name in norm)}


def test_a_recipe_from_before_borders_reflects(tmp_path: Path) -> None:
    """The first files of version 2 do not say what lies beyond an image's edges; it was the reflection."""
    whole = description(recipe=asdict(replace(RECIPE, augmentation=AffineRange(1, 2, 3, 4))))
    del whole["recipe"]["augmentation"]["border"]
    assert load_checkpoint(write(tmp_path, whole)).recipe.augmentation == AffineRange(1, 2, 3, 4, border="reflection")


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


def data(**fields: Any) -> dict[str, Any]:
    return description(data={**DATA.as_json(), **fields})


def augmentation(**fields: Any) -> dict[str, Any]:
    return recipe(augmentation={**asdict(RECIPE.augmentation), **fields})


def other_version(version: object) -> str:
    return f": checkpoint version must be 4, not {version}; train again, or export it with the bnn_hw that wrote it"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", OTHER_VERSION),
        ("{", OTHER_VERSION),
        ("[]", OTHER_VERSION),
        ("5", OTHER_VERSION),
        ("[" * 100_000, OTHER_VERSION),
        ({}, OTHER_VERSION),
        (description(version=1), other_version(1)),
        (description(version=3), other_version(3)),
        (description(version="4"), other_version("'4'")),
        (description(recipe=None), OTHER_VERSION),
        (description(recipe={}), OTHER_VERSION),
        (recipe(momentum=1), OTHER_VERSION),
        (augmentation(flip=1), OTHER_VERSION),
        (recipe(augmentation=None), OTHER_VERSION),
        (description(input_shape=None), OTHER_VERSION),
        (description(input_shape=6), OTHER_VERSION),
        (description(data=None), OTHER_VERSION),
        (description(data={}), OTHER_VERSION),
        (data(pixels={}), OTHER_VERSION),
        (data(sha256=5), OTHER_VERSION),
    ],
    ids=range(20),
)
def test_wrong_description(content: object, message: str, tmp_path: Path) -> None:
    refused(write(tmp_path, content), message)


def test_a_checkpoint_of_version_1(tmp_path: Path) -> None:
    """As the first release wrote it: hidden widths, and no topology."""
    fields = {"name": "tiny", "dataset": "stripes", "hidden": [7, 5], "epochs": 3, "batch": 100, "learning_rate": 1e-3}
    fields |= {"pixel_threshold": 128, "augmentation": {"rotation_degrees": 1, "scale": 0, "shear": 0, "shift_pixels": 0}}
    refused(write(tmp_path, description(version=1, recipe=fields)), other_version(1))


FLAGS = ("bfloat16", "stochastic_weights", "shift_batch_norm", "balanced_validation")


@pytest.mark.parametrize(
    ("make", "field", "values"),
    [
        *((recipe, name, (5, None, ["7"])) for name in ("name", "dataset", "topology")),
        *((recipe, name, (-1, 0, 1.0, "1", None, True, (1 << 20) + 1)) for name in ("epochs", "batch")),
        *((recipe, name, (-1, 1.0, "1", None, True)) for name in ("validation", "seed", "halve_every")),
        (recipe, "padding", (-1, 1.0, "1", None, True, 1025)),
        (recipe, "pixel_threshold", (-1, 257, 1.0, "x", None)),
        *((recipe, name, ("x", None, True)) for name in ("learning_rate", "last_learning_rate")),
        *((recipe, name, ("x", None, True)) for name in ("batch_norm_epsilon", "batch_norm_momentum")),
        *((recipe, name, (-0.5, 1, 1.5, "0", None, False)) for name in ("input_dropout", "hidden_dropout")),
        (recipe, "input_dtype", ("int4", "", None, 8)),
        (recipe, "optimizer", ("sgd", "Adam", "", None, 1)),
        (recipe, "schedule", ("linear", "", None, 1)),
        (recipe, "activation", ("tanh", "", None, True)),
        (recipe, "preprocessing", ("zca", "", None, 0)),
        (recipe, "test_weights", ("float", "", None, True)),
        *((recipe, name, (1, None, "true")) for name in FLAGS),
        *((augmentation, name, ("x", None, True)) for name in ("rotation_degrees", "scale", "shear", "shift_pixels")),
        *((augmentation, name, (1, 0.0, None, "yes")) for name in ("whole_pixels", "mirror")),
        (augmentation, "border", ("wrap", None, 0, True)),
        (description, "input_shape", ("abc", ["2", 6, 1], [2, 6], [], [-2, -6, 1], [0], [2.0, 6, 1], [(1 << 20) + 1, 6, 1])),
        (description, "name", ("", "Upper", "-", 5, None)),
        (data, "class_names", ([], None, "abc", [1, 2, 3])),
        (description, "epoch", (0, "2", None, 4)),
        (description, "best_validation", ("x", None)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_out_of_its_range_is_named(
    make: Callable[..., dict[str, Any]], field: str, values: tuple[object, ...], tmp_path: Path
) -> None:
    for value in values:
        refused(
            write(tmp_path, make(**{field: value})), rf" is no checkpoint of this version: .*{field} .*; `bnn_hw train` writes one"
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"data": made_up_data("stripes", 4).as_json()},
        {"input_shape": [12, 6, 1]},
        {"recipe": {**asdict(RECIPE), "topology": "7"}},
        {"recipe": {**asdict(RECIPE), "topology": "7C1-5"}},
    ],
    ids=str,
)
def test_tensors_of_another_recipe(fields: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, description(**fields))
    with pytest.raises(ArtefactError, match=r"^checkpoint does not hold the tensors of recipe 'tiny': "):
        load_network(load_checkpoint(path))


@pytest.mark.parametrize("topology", ["7--5", "7-", "sixty-four", "7C3-5", "7-MP2"])
def test_a_topology_that_does_not_fit_its_images(topology: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=rf"^layer .*{re.escape(repr(topology))}"):
        load_network(load_checkpoint(write(tmp_path, recipe(topology=topology))))


def test_claimed_sizes_allocate_nothing(tmp_path: Path) -> None:
    """2**40 weights that the file does not have, in layers that are each allowed."""
    path = write(tmp_path, recipe(topology="-".join(["32768"] * 1024)))
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
