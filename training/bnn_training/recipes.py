# SPDX-License-Identifier: Apache-2.0
"""The recipes of the packaged models, as frozen values."""

from dataclasses import dataclass, field
from typing import Final

from bnn_training.augment import AffineRange

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training, but for the data and the arithmetic of the machine."""

    name: str
    dataset: str
    hidden: tuple[int, ...]  # widths of the binary layers before the scores
    epochs: int
    batch: int = 100
    learning_rate: float = 1e-3  # of biases and batch norm; weights get it times the papers' scale; cosine decay to 0
    pixel_threshold: int = 128  # pixels from here on are +1
    augmentation: AffineRange = field(default_factory=AffineRange)
    validation: int = 0  # so many of the last training images choose the epoch; with 0 the last epoch is the result
    bfloat16: bool = True  # multiply training products in bfloat16
    seed: int = 1


RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("mnist-tiny", "mnist", (64, 64, 64), epochs=200, augmentation=AffineRange(shift_pixels=1)),
        Recipe("mnist-small", "mnist", (256, 256, 256), epochs=300, augmentation=AffineRange(5, 0.05, 0.05, 1)),
        Recipe("mnist", "mnist", (1024, 1024, 1024), epochs=150, batch=200, augmentation=AffineRange(10, 0.1, 0.1, 1.5)),
    )
}
