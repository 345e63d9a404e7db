# SPDX-License-Identifier: Apache-2.0
"""Types of options and arguments: what they take, and what they say of the rest."""

from pathlib import Path

import click
import pytest

from bnn_hw.cli.parameters import CHECKPOINT, NEW_FILE, NEW_FOLDER, CountOrWord, FiniteFloat
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input
from support.strategies import random_network


def _converted(type_: click.ParamType, value: str) -> object:
    return type_.convert(value, None, None)


def _refused(type_: click.ParamType, value: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^{message}$"):
        _converted(type_, value)


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "Infinity", "1e400"])
def test_numbers_are_finite(value: str) -> None:
    _refused(FiniteFloat(), value, rf"'{value}' is not a finite number\.")
    with pytest.raises(click.BadParameter):
        _converted(FiniteFloat(min=0, min_open=True), value)


def test_numbers_in_a_range() -> None:
    assert _converted(FiniteFloat(min=1, max=500), "12.5") == 12.5
    _refused(FiniteFloat(min=1, max=500), "0", r"0\.0 is not in the range 1<=x<=500\.")


def test_a_count_or_a_word() -> None:
    type_ = CountOrWord("vectors", "all")
    assert [_converted(type_, value) for value in ("vectors", "all", "1", "60000")] == ["vectors", "all", 1, 60000]
    for value in ("0", "-1", "1.5", "nan", "some", "", "²", "9" * 5000):
        _refused(type_, value, rf"must be vectors, all or a number from 1 on, not '{value}'\.")


def test_paths_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file, folder, new = (str(tmp_path / name) for name in ("file", "", "new"))
    assert [_converted(NEW_FILE, path) for path in (file, new)] == [Path(file), Path(new)]
    assert [_converted(NEW_FOLDER, path) for path in (folder, new)] == [Path(folder), Path(new)]
    _refused(NEW_FILE, folder, rf"'{folder}' is a folder; name a file\.")
    _refused(NEW_FOLDER, file, rf"'{file}' is a file; name a folder\.")
    for type_, what in ((NEW_FILE, "file"), (NEW_FOLDER, "folder")):
        _refused(type_, "", rf"must be the path of a {what}, not empty\.")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_checkpoint(tmp_path: Path) -> None:
    save_network(random_network(Input((9,), "bit"), (3,), seed=1), tmp_path / "network.safetensors")
    (tmp_path / "damaged").write_bytes(b"of which its reader says what is wrong")
    assert _converted(CHECKPOINT, str(tmp_path / "damaged")) == tmp_path / "damaged"
    for name, what in (("", "a folder"), ("none", "no file"), ("network.safetensors", "a network file already")):
        path = str(tmp_path / name)
        _refused(CHECKPOINT, path, rf"'{path}' is {what}; name a checkpoint, as runs/mnist/best\.safetensors\.")
