# SPDX-License-Identifier: Apache-2.0
"""The recipe that a training is to have: one by its name, and what is to be other than there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bnn_hw.errors import UsageError
from bnn_training.catalogue import RECIPES
from bnn_training.recipes import Recipe
from bnn_training.topology import scaled_topology

__all__ = ["chosen_recipe"]


def chosen_recipe(name: str, changes: Mapping[str, Any], width: float | None = None) -> Recipe:
    """Returns the recipe of that name with other values of its fields, but those that are None.

    `width`: a factor on the outputs of all hidden layers. Raises `UsageError` for an unknown name, and for a threshold of pixels
    where a recipe's network takes no bits of them.
    """
    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, not {name!r}")
    recipe = RECIPES[name]
    if changes.get("pixel_threshold") is not None and (recipe.input_dtype, recipe.preprocessing) != ("bit", "pixels"):
        raise UsageError(f"--pixel-threshold makes bits of pixels, and {name} takes more than a bit of each; leave it out")
    recipe = replace(recipe, **{field: value for field, value in changes.items() if value is not None})
    return recipe if width is None else replace(recipe, topology=scaled_topology(recipe.topology, width))
