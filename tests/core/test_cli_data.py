# SPDX-License-Identifier: Apache-2.0
"""The data that --data names, in the commands beside `train`: of one's own, of the network's training or not, as pictures too."""

import importlib
import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bnn_hw.cli import app
from bnn_hw.datasets import Dataset, load_own_dataset
from bnn_hw.datasets.sample import even_sample
from bnn_hw.errors import ArtefactError, BnnHwError, ToolError, UsageError
from bnn_hw.flow.verify import Verification
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.file import load_network, save_network
from bnn_hw.network.network import Input, Network
from bnn_hw.network.vectors import Vectors, load_vectors
from support.strategies import random_network

NAMES = ("lying", "standing", "none")


def pictures(folder: Path, *, seed: int = 1, size: int = 6) -> Path:
    """Writes a data set of one's own: 30 pictures that train and 12 that test, class by class."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", 10), ("test", 4)):
        for name in NAMES:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).save(folder / split / name / f"{number}.png")
    return folder


def npz(path: Path, dataset: Dataset) -> Path:
    train, test = dataset.train, dataset.test
    np.savez(path, train_images=train.images, train_labels=train.labels, test_images=test.images, test_labels=test.labels)
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Data of one's own in the folder `bars`, beside a network that was trained on them, `network.safetensors`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNN_HW_DATA", raising=False)
    dataset = load_own_dataset(pictures(tmp_path / "bars"))
    save_network(_network(dataset), tmp_path / "network.safetensors")
    return dataset


def _network(dataset: Dataset) -> Network:
    network = random_network(Input((6, 6, 1), "bit", 128), (9, 3), seed=4)
    return Network("bars", network.input, network.layers, {"data": dataset.identity.as_json()})


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)


def _json(*arguments: object) -> dict[str, object]:
    result: dict[str, object] = json.loads(_invoke(*arguments, "--json").stdout)
    return result


def _refused(error: type[BnnHwError], message: str, *arguments: object) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        _invoke(*arguments)


INFER = ("infer", "--model", "network.safetensors")


def test_accuracy_is_of_the_data_that_the_network_was_trained_on(own: Dataset, tmp_path: Path) -> None:
    """By content: their folder or file may be called as it likes, and other data of that name do not count."""
    accuracy = float((golden.classify(_network(own), own.test.images) == own.test.labels).mean())
    assert _json(*INFER, "--data", "bars")["accuracy"] == accuracy
    assert _json(*INFER, "--data", npz(tmp_path / "other-name.npz", own))["accuracy"] == accuracy
    assert f"bars: 12 images, {100 * accuracy:.2f} % right" in _invoke(*INFER, "--data", "bars").stdout
    other = pictures(tmp_path / "elsewhere" / "bars", seed=2)
    result = _invoke(*INFER, "--data", other, "--json")
    assert json.loads(result.stdout)["accuracy"] is None
    assert result.stderr == "warning: these are not the very data that the network was trained on, so no accuracy is shown\n"


def test_classes_are_in_the_order_of_the_training(own: Dataset, tmp_path: Path) -> None:
    turned = load_own_dataset(tmp_path / "bars", NAMES[::-1])
    save_network(_network(turned), tmp_path / "turned.safetensors")
    found = _json("infer", "--model", "turned.safetensors", "--data", "bars")
    assert found["accuracy"] == float((golden.classify(_network(turned), turned.test.images) == turned.test.labels).mean())
    assert _json("infer", "--model", "turned.safetensors", "--data", "bars", "--classes", "lying,standing,none")["accuracy"] is None


def test_the_variable_says_only_where_data_lie(own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNN_HW_DATA", str(tmp_path / "bars"))
    packaged = packaged_test_images(packaged_network("mnist-tiny"))
    assert packaged is not None
    assert len(_json("infer", "--model", "mnist-tiny")["classes"]) == len(packaged.labels)  # type: ignore[arg-type]
    assert len(_json(*INFER)["classes"]) == 12  # type: ignore[arg-type]
    assert len(_json(*INFER, "--images", "bars/test/lying")["classes"]) == 4  # type: ignore[arg-type]
    (tmp_path / "published").mkdir()
    monkeypatch.setenv("BNN_HW_DATA", str(tmp_path / "published"))
    message = r"bars was trained on bars, which is none of mnist, cifar10, svhn; name its folder or file with --data"
    _refused(ArtefactError, message, *INFER)


def test_pictures_are_shown_one_by_one(own: Dataset, tmp_path: Path) -> None:
    files = [f"bars/test/{name}/{number}.png" for name in sorted(NAMES) for number in range(4)]
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    scores = golden.scores(_network(own), images)
    found = _json(*INFER, "--images", "bars/test")
    assert (found["scores"], found["accuracy"]) == (scores.tolist(), None)
    names = sorted(NAMES)
    for decision, file, row in zip(found["decisions"], files, scores.tolist(), strict=True):  # type: ignore[call-overload]
        first, second = sorted(range(3), key=lambda class_, row=row: (-row[class_], class_))[:2]
        assert decision == {
            "image": file,
            "class": first,
            "name": names[first],
            "score": row[first],
            "runner_up": {"class": second, "name": names[second], "score": row[second]},
        }
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in _invoke(*INFER, "--images", files[5]).stdout.splitlines()
    ]
    second = found["decisions"][5]["runner_up"]  # type: ignore[index]
    shown = [*list(found["decisions"][5].values())[:4], *second.values()]  # type: ignore[index]
    assert list(map(str, shown)) in rows
    both = _json(*INFER, "--images", files[7], "--images", files[2])
    assert [decision["image"] for decision in both["decisions"]] == [files[7], files[2]]  # type: ignore[attr-defined]
    assert both["scores"] == scores[[7, 2]].tolist()


def test_pictures_that_do_not_fit(own: Dataset, tmp_path: Path) -> None:
    image = np.random.default_rng(3).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(image).save("colour.png")
    Image.fromarray(np.repeat(image[..., :1], 3, 2)).save("grey.png")
    Image.fromarray(image[:5, :, 0]).save("small.png")
    (tmp_path / "empty").mkdir()
    grey = golden.scores(_network(own), image[..., 0])
    assert _json(*INFER, "--images", "grey.png")["scores"] == [grey.tolist()]
    rule = "must be of 6x6x1 as the network's images, not"
    _refused(ArtefactError, rf"colour\.png {rule} 6x6x3; save it in grey", *INFER, "--images", "colour.png")
    cure = "crop it and scale it as the pictures that trained"
    _refused(ArtefactError, rf"small\.png {rule} 5x6x1; {cure}", *INFER, "--images", "small.png")
    _refused(ArtefactError, r"empty must hold pictures \(\.png .*\), but holds none", *INFER, "--images", "empty")
    both = ("--images", "grey.png", "--images", "network.safetensors")
    _refused(ArtefactError, r"network\.safetensors must be a picture \(.*\) as the others; .*", *INFER, *both)
    message = "--images and --data exclude each other: one names images, the other a data set with test images"
    _refused(UsageError, message, *INFER, "--images", "grey.png", "--data", "bars")


def test_pictures_need_pillow(own: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    _refused(ToolError, r"pillow, which reads .*, is not installed: pip install .*", *INFER, "--images", "bars/test")


def test_images_unlike_those_of_the_training_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = packaged_test_images(packaged_network("mnist-tiny"))
    assert packaged is not None
    for images, warning in (
        (packaged.images, ""),
        (255 - packaged.images, r"warning: the images are the other way round: .*; 255 - images helps\n"),
        (packaged.images // 128, r"warning: the images' values reach to 1, .* images \* 255 helps\n"),
    ):
        np.save("images.npy", images[:9])
        result = _invoke("infer", "--model", "mnist-tiny", "--images", "images.npy")
        assert re.fullmatch(warning, result.stderr), result.stderr
        assert (result.exit_code, "mnist-tiny: 9 images" in result.stdout) == (0, True)


def test_a_folder_stands_for_the_network_in_it(own: Dataset, tmp_path: Path) -> None:
    assert _json("infer", "--model", ".", "--data", "bars") == _json(*INFER, "--data", "bars")
    message = r"bars must be a folder with a network\.safetensors, as that of a build or training, or no folder"
    _refused(ArtefactError, message, "infer", "--model", "bars", "--images", "bars/test")


BUILD = ("build", "--model", "network.safetensors", "--no-verify", "--out")


def test_vectors_of_test_images(own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels for the data of the training; the variable alone changes nothing in a build."""
    network = load_network(tmp_path / "network.safetensors")
    built = _json(*BUILD, "with", "--data", "bars")
    vectors = load_vectors(network, tmp_path / "with" / "vectors.npz")
    test = even_sample(own.test, 256)
    assert np.array_equal(vectors.inputs, golden.prepare(network, test.images))
    assert vectors.labels is not None
    assert np.array_equal(vectors.labels, test.labels)
    assert (built["vectors"], built["vector_accuracy"]) == ("12 test images", _json(*INFER, "--data", "bars")["accuracy"])

    monkeypatch.setenv("BNN_HW_DATA", str(tmp_path / "bars"))
    without = _invoke(*BUILD, "without")
    assert "random inputs; --data takes test images" in without.stdout
    assert load_vectors(network, tmp_path / "without" / "vectors.npz").labels is None


def test_vectors_of_other_data_have_no_labels(own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_own_dataset(pictures(tmp_path / "others", seed=3))
    seen: list[Vectors] = []

    def build(*_: object, vectors: Vectors, **__: object) -> None:
        seen.append(vectors)
        raise UsageError("far enough")

    monkeypatch.setattr(importlib.import_module("bnn_hw.cli.build"), "make_build", build)
    with pytest.raises(UsageError, match=r"^far enough$"):
        _invoke(*BUILD, "other", "--data", "others")
    assert np.array_equal(seen[0].inputs, golden.prepare(_network(own), other.test.images))
    assert seen[0].labels is None


def test_verify_on_data_of_ones_own(own: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder and of a file; images of another shape are refused."""
    seen: list[np.ndarray] = []

    def verify_build(build: Path, load: Callable[[Network], np.ndarray], *, seed: int, processes: int) -> Verification:
        seen.append(load(load_network(build / "network.safetensors")))
        return Verification(len(seen[-1]), 10, 10.5, 99.0)

    monkeypatch.setattr(importlib.import_module("bnn_hw.cli.build"), "verify_build", verify_build)
    assert _json("verify", ".", "--images", "all", "--data", "bars")["images"] == 12
    assert np.array_equal(seen[0], own.test.images)
    assert _json("verify", ".", "--images", "6", "--data", npz(tmp_path / "bars.npz", own))["images"] == 6
    assert np.array_equal(seen[1], own.test.images[[0, 2, 4, 6, 8, 10]])
    pictures(tmp_path / "large", size=7)
    message = "images of the data set are 7x7x1, but bars takes 6x6x1; name others with --data"
    _refused(ArtefactError, message, "verify", ".", "--images", "all", "--data", "large")
    message = r"bars was trained on bars, which is none of mnist, cifar10, svhn; name its folder or file with --data"
    _refused(ArtefactError, message, "verify", ".", "--images", "all")
