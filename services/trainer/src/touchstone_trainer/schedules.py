"""Learning rate by update: linear warm-up, then cosine to zero (paper section 4.2)."""

import math

from touchstone_contracts.recipes.optimisation import Optimisation


def warmup_cosine(updates: int, warmup: int) -> list[float]:
    """The fraction of the nominal learning rate for each of `updates` updates.

    As in open_clip: update u of the warm-up takes (u + 1) / warmup; a run shorter than its warm-up never leaves it."""
    return [
        (update + 1) / warmup
        if update < warmup
        else 0.5 * (1 + math.cos(math.pi * (update - warmup) / (updates - warmup)))
        for update in range(updates)
    ]


def warmup_length(recipe: Optimisation, updates: int) -> int:
    """A fraction of 1 stands for the paper's fixed warm-up, however short the run (its small-N trap, section 4.2)."""
    if recipe.warmup_fraction == 1.0:
        return recipe.warmup_updates
    return min(recipe.warmup_updates, int(recipe.warmup_fraction * updates))
