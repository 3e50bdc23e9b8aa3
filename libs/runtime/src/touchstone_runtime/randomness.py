"""Randomness is an argument: generators derive from their purpose."""

import numpy as np
from touchstone_contracts.identity import derive_seed


def rng_for(*purpose: object) -> np.random.Generator:
    """E.g. `rng_for(seed, "subset", class_id)`: the same purpose always gives the same stream."""
    return np.random.default_rng(derive_seed(*purpose))
