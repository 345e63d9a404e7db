# SPDX-License-Identifier: Apache-2.0
"""Every option and argument of every command with values that mean nothing: one line and an exit code, never a traceback."""

import argparse
import math
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
import numpy as np
import pytest

from bnn_host import __main__ as host_main
from bnn_host.simulated.overlay import simulated_bitstream
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.cli import app, main
from bnn_hw.design.planner import find_plan
from bnn_hw.flow.build import build
from bnn_hw.fpga.boards import find_board
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input
from support.strategies import random_network

NOT_FINITE = ("nan", "inf", "-inf", "1e400")
NUMBERS = (*NOT_FINITE, "0", "-1", "0.5", "1e30", "9" * 9, "9" * 40)
VALUES = (*NUMBERS, "", " ", "x" * 5000, "é☃", "é" * 200, '"', "-", "--", "/", "a,,a", "%s{0}")
MOST_S = 20  # that a command may take

# Arguments with which each command ends soon by itself, but after it has looked at its options.
ENDS: dict[str, tuple[str, ...]] = {
    "build": ("--model", "small.safetensors", "--no-verify", "--out", "other"),  # a folder that is not a build
    "verify": ("built", "--images", "9", "--data", "wrong.npz"),  # images of another shape
    "synth": ("nothing",),
    "bitstream": ("nothing",),
    "deploy": ("built",),  # without a bitstream
    "board-sim": ("simulated", "--address", "999.9.9.9"),
    "train": ("--recipe", "mnist-tiny", "--data", "tiny.npz", "--batch", "4", "--threads", "1", "--dry-run"),
    "export": ("small.safetensors", "--out", "new.safetensors"),  # no checkpoint
    "infer": ("--model", "small.safetensors", "--images", "images.npy"),
    "models": (),
    "boards": (),
    "doctor": (),
    "bench gpu": ("--quick", "--data", "wrong.npz"),
}
OTHER_ENDS = {("build", "out"): ("--model", "nothing"), ("board-sim", "address"): ("nothing",)}
FILES = ["built", "images.npy", "other", "simulated", "small.safetensors", "tiny.npz", "wrong.npz"]  # there before and after
HOST_ENDS = {"--address": ("built",), "": ()}  # which has no overlay, so that no address is looked for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network, its build without and with a simulated bitstream, a folder that is none, and data."""
    folder = tmp_path_factory.mktemp("values")
    network, board = random_network(Input((6, 6, 1), "uint8"), (8, 3), seed=1), find_board("pynq-z2")
    save_network(network, folder / "small.safetensors")
    build(network, board, find_plan(network, board), folder / "built", verify=False)
    shutil.copytree(folder / "built", folder / "simulated")
    simulated_bitstream(folder / "simulated", read_manifest(folder / "simulated"))
    (folder / "other").mkdir()
    (folder / "other" / "file").touch()
    rng = np.random.default_rng(1)
    np.save(folder / "images.npy", rng.integers(0, 256, (3, 6, 6), np.uint8))
    for name, size in (("tiny", 6), ("wrong", 5)):
        images, labels = rng.integers(0, 256, (24, size, size), np.uint8), np.arange(24) % 3
        np.savez(folder / f"{name}.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return folder


def commands(group: click.Group = app, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yields the commands below a group, each with its names."""
    for name, command in group.commands.items():
        names = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from commands(command, names)
        else:
            yield names, command


def parameters() -> list[tuple[str, click.Parameter]]:
    """Returns each parameter that takes a value, with its command's names."""
    return [
        (names, parameter)
        for names, command in commands()
        for parameter in command.params
        if not getattr(parameter, "is_flag", False) and parameter.name != "help"
    ]


def host_parameters() -> list[tuple[str, str]]:
    """Returns each option of `python -m bnn_host` that takes a value, with its command's name; the argument's has no name."""
    (subparsers,) = (action for action in host_main._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [
        (name, (action.option_strings or [""])[-1])
        for name, parser in subparsers.choices.items()
        for action in parser._actions
        if action.nargs != 0
    ]


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up), signal.getsignal(signal.SIGTERM)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in zip((signal.SIGALRM, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def _left(run: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs a command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    try:
        with _within(MOST_S):
            run()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def check(run: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> int:
    """Runs a command line; returns its exit code, after which there is one line with an error, or a result."""
    code = _left(run, arguments, monkeypatch)
    _, printed = capfd.readouterr()
    shown = [argument[:60] for argument in arguments]
    assert code in (0, 1, 2, 3), f"{shown}: exit {code}: {printed}"
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == (code != 0), f"{shown}: exit {code}: {printed}"
    assert not errors or printed.splitlines()[-1] == errors[0], f"{shown}: {printed}"
    return code


def test_each_command_has_its_end() -> None:
    assert [names for names, _ in commands()] == list(ENDS)


@pytest.mark.parametrize(("names", "parameter"), parameters(), ids=lambda value: value if isinstance(value, str) else value.name)
def test_values_of_bnn_hw(
    names: str, parameter: click.Parameter, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BNN_HW_DATA", raising=False)
    end = list(OTHER_ENDS.get((names, str(parameter.name)), ENDS[names]))
    for value in VALUES:
        if isinstance(parameter, click.Argument):
            arguments = [*names.split(), *end[1:], "--", value]
        else:
            option = max(parameter.opts, key=len)
            place = end.index(option) if option in end else len(end)
            arguments = [*names.split(), *end[:place], *end[place + 2 :], option, value]
        code = check(main, arguments, monkeypatch, capfd)
        if value in NOT_FINITE and isinstance(parameter.type, click.types.FloatParamType | click.types.IntParamType):
            assert code == 1, f"{arguments} was taken"
    assert sorted(path.name for path in folder.iterdir()) == FILES


@pytest.mark.parametrize(("name", "option"), host_parameters(), ids=str)
def test_values_of_bnn_host(
    name: str, option: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
    for value in VALUES:
        arguments = [name, *HOST_ENDS.get(option, ("simulated",)), *([option] if option else []), value]
        assert check(host_main.main, arguments, monkeypatch, capfd) in (1, 2)


def test_the_check_can_fail(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        math.sqrt(float(sys.argv[1]))

    with pytest.raises(ValueError, match="math domain error"):
        check(broken, ["-1"], monkeypatch, capfd)

    def talkative() -> None:
        print("error: one\nerror: two", file=sys.stderr)
        sys.exit(1)

    with pytest.raises(AssertionError):
        check(talkative, [], monkeypatch, capfd)
