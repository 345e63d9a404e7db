# SPDX-License-Identifier: Apache-2.0
"""The options that name a data set, the same in every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

__all__ = ["asked_for_data", "data_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--data",
        type=click.Path(exists=True, path_type=Path),
        envvar="BNN_HW_DATA",
        show_envvar=True,
        help="A data set of your own: a folder of train/<class>/ and test/<class>/ with pictures, or an .npz file. Or the folder "
        "of a published one's official files, or one of folders mnist, cifar10 and svhn with them; without it they are downloaded.",
    ),
    click.option(
        "--classes",
        metavar="NAME,NAME",
        default="",
        callback=lambda context, option, value: tuple(name.strip() for name in value.split(",") if name.strip()),
        help="The classes of your own data set, in order: cat,dog,bird.",
    ),
    click.option("--own", is_flag=True, help="Take --data as a data set of your own, though its files have MNIST's names."),
)


def data_options(command: _F) -> _F:
    """Adds --data, --classes and --own to a command: `data: Path | None`, `classes: tuple[str, ...]` and `own: bool`.

    `bnn_hw.datasets.open_dataset` takes them.
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_for_data() -> bool:
    """Returns whether --data stands in the command, where BNN_HW_DATA only says where data lie."""
    return click.get_current_context().get_parameter_source("data") is ParameterSource.COMMANDLINE
