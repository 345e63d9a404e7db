# SPDX-License-Identifier: Apache-2.0
"""The recipe of a training: a named one, with some of its fields changed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bnn_hw.errors import UsageError
from bnn_training.catalogue import RECIPES
from bnn_training.recipes import Recipe
from bnn_training.topology import scaled_topology

__all__ = ["chosen_recipe"]


def chosen_recipe(name: str, changes: Mapping[str, Any], width: float | None = None) -> Recipe:
    """Returns the recipe of that name with the given fields replaced; None keeps a field.

    `width`: a factor on the outputs of all hidden layers. Raises `UsageError` for an unknown name, and for a threshold of pixels
    if the recipe's network does not take pixels as bits.
    """
    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, not {name!r}")
    recipe = RECIPES[name]
    if changes.get("pixel_threshold") is not None and (recipe.input_dtype, recipe.preprocessing) != ("bit", "pixels"):
        raise UsageError(f"--pixel-threshold makes bits of pixels, and {name} takes more than a bit of each; leave it out")
    recipe = replace(recipe, **{field: value for field, value in changes.items() if value is not None})
    return recipe if width is None else replace(recipe, topology=scaled_topology(recipe.topology, width))
