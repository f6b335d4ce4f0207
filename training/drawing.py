"""The training patches that a recipe uses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data import Patches
from training.recipe import Recipe


def drawn(train: Patches, recipe: Recipe) -> Patches:
    """The training patches that the recipe uses; with the same seed, smaller sets are subsets of larger ones.

    Raises:
        ValueError: if there are fewer.
    """
    if recipe.patches > len(train):
        raise ValueError(f"the recipe asks for {recipe.patches:,} training patches, there are {len(train):,}")
    if not recipe.patches:
        return train
    return train[np.sort(np.random.default_rng(recipe.seed).permutation(len(train))[: recipe.patches])]


def images_for_norms(train: Patches, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """The patches, uint8 [N, 96, 96, 3], on which the statistics of batch norm are estimated again."""
    return train.images[np.random.default_rng(recipe.seed).permutation(len(train))[: recipe.norm_patches]]
