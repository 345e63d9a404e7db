# SPDX-License-Identifier: Apache-2.0
"""Whether a training can go on from a checkpoint, and how additional epochs change its learning rate."""

from collections.abc import Iterator
from dataclasses import fields, replace

from bnn_hw.datasets import DataIdentity
from bnn_training.checkpoint import Checkpoint
from bnn_training.recipes import Recipe, recipe_rate

__all__ = ["data_differences", "differences", "extends", "stretched_schedule"]

_NAMES = ("name", "dataset")  # fields of a recipe that do not affect the training
_LISTED = 8  # with more class names than this, only the first that differs is named


def differences(before: Checkpoint, recipe: Recipe, shape: tuple[int, ...], data: DataIdentity) -> list[str]:
    """Returns how a training differs from a checkpoint's, a phrase for each difference; names are not compared."""
    return [*data_differences(before, shape, data), *_changed_fields(before.recipe, recipe)]


def data_differences(before: Checkpoint, shape: tuple[int, ...], data: DataIdentity) -> list[str]:
    """Returns how data differ from a checkpoint's, a phrase for each difference. `shape`: of their images."""
    found = list(_changed_classes(before.data.class_names, data.class_names))
    if before.input_shape != shape:
        found.append(f"image shape was {_by(before.input_shape)}, now {_by(shape)}")
    if not found and before.data.sha256 != data.sha256:
        found.append("the pictures or labels changed")
    return found


def extends(before: Recipe, now: Recipe) -> bool:
    """Returns whether two recipes are the same except that the second has more epochs."""
    return now.epochs > before.epochs and not any(_changed_fields(replace(before, epochs=now.epochs), now))


def stretched_schedule(before: Recipe, now: Recipe, epoch: int, steps: int) -> str:
    """Returns how additional epochs change the learning rate after `epoch` epochs; each has the given number of steps."""
    old, new = recipe_rate(before, epoch - 1 / steps), recipe_rate(now, epoch)
    stretched = f"is stretched from {before.epochs} epochs to {now.epochs}" if before.schedule != "halving" else "goes on as it was"
    return (
        f"the {before.schedule} schedule {stretched}: the learning rate was {old:.3g} at the end of epoch {epoch} "
        f"and is {new:.3g} in epoch {epoch + 1}"
    )


def _changed_fields(before: object, now: object) -> Iterator[str]:
    """Yields a phrase for each field that two dataclasses differ in, those of their fields included."""
    for field in fields(before):  # type: ignore[arg-type]
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new and field.name not in _NAMES:
            if hasattr(old, "__dataclass_fields__"):
                yield from (f"{field.name} {phrase}" for phrase in _changed_fields(old, new))
            else:
                yield f"{field.name} {'were' if field.name.endswith('s') else 'was'} {_text(old)}, now {_text(new)}"


def _changed_classes(before: tuple[str, ...], now: tuple[str, ...]) -> Iterator[str]:
    if before == now:
        return
    if max(len(before), len(now)) <= _LISTED:
        yield f"classes were {', '.join(before)}, now {', '.join(now)}"
    elif len(before) != len(now):
        yield f"classes were {len(before)}, now {len(now)}"
    else:
        label = next(label for label, (old, new) in enumerate(zip(before, now, strict=True)) if old != new)
        yield f"class {label} was {before[label]}, now {now[label]}"


def _text(value: object) -> str:
    return "empty" if value == "" else str(value)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
