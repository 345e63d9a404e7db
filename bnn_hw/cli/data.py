# SPDX-License-Identifier: Apache-2.0
"""The options that name a data set, the same in every command."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from bnn_hw.datasets.chosen import ChosenData, class_names

__all__ = ["data_options"]

_OPTIONS: Final = (
    click.option(
        "--data",
        "path",
        type=click.Path(exists=True, path_type=Path),
        envvar="BNN_HW_DATA",
        show_envvar=True,
        help="A data set of your own: a folder of train/<class>/ and test/<class>/ with pictures, or an .npz file. Or a folder "
        "of a published one's official files, or of folders mnist, cifar10 and svhn with them; without it they are downloaded.",
    ),
    click.option("--classes", metavar="NAME,NAME", default="", help="The classes of your own data set, in order: cat,dog,bird."),
    click.option("--own", is_flag=True, help="Take --data as a data set of your own, though its files have MNIST's names."),
    click.option(
        "--background",
        metavar="COLOUR",
        default="white",
        show_default=True,
        help="Behind transparent pictures: black, #rrggbb.",
    ),
)


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --data, --classes, --own and --background to a command, which gets them as `data`, a `ChosenData`."""

    @wraps(command)
    def with_data(path: Path | None, classes: str, own: bool, background: str, **others: Any) -> None:
        asked_for = click.get_current_context().get_parameter_source("path") is ParameterSource.COMMANDLINE
        command(data=ChosenData(path, class_names(classes), own, background, asked_for), **others)

    for option in reversed(_OPTIONS):
        with_data = option(with_data)
    return with_data
