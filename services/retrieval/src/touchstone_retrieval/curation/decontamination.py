"""Held-out images in disguise: test or validation images among the candidates (paper section 3.2).

The paper uses a copy-detection descriptor and drops above 0.604169. Here it is the experiment's encoder or another
registered one, for every arm, so a generator that memorised a test image is caught as well."""

from collections.abc import Sequence

import numpy as np

from touchstone_retrieval.curation.nearest import Nearest
from touchstone_retrieval.curation.ranks import at_least


def leaked(
    nearest: Nearest, image_ids: Sequence[str], held_out_ids: Sequence[str], leak_cosine: float | None
) -> np.ndarray:
    """bool (n,): images at least `leak_cosine` similar to a held-out image, or with its bytes; none when the check is
    off."""
    if leak_cosine is None:
        return np.zeros(len(nearest.cosine), dtype=bool)
    known = set(held_out_ids)
    copies = np.array([image in known for image in image_ids], dtype=bool)
    too_close: np.ndarray = at_least(nearest.cosine, leak_cosine) | copies
    return too_close
