"""The kept images of a pool, as the measures see them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import Curation


@dataclass(frozen=True)
class Judge:
    """An encoder that had no part in making the pool."""

    class_vectors: np.ndarray
    """(classes, d), L2-normalised: its zero-shot head."""
    accuracy: float
    """On the target's test images."""


@dataclass(frozen=True)
class Audited:
    """n kept images; one that is kept for several classes has a row for each."""

    image_ids: Sequence[str]
    class_ids: np.ndarray
    """(n,) from 0."""
    captions: Sequence[str]
    """n of them; empty where there is none."""
    vectors: np.ndarray
    """(n, d) L2-normalised, by the judge or, without one, by the encoder that scored the images."""
    test_vectors: np.ndarray
    """(test images, d) of the target, likewise."""
    scores: np.ndarray
    """(n,) CLIP scores."""
    test_cosines: np.ndarray
    """(n,) to the nearest test image; NaN where not compared."""
    parts: np.ndarray
    """(n,) index of the pool of a mixture that each image is from, -1 outside a mixture."""
    classes: Sequence[ClassLabel]
    sizes: Sequence[int]
    rules: Curation
    mixing: Mixing | None = None
    judge: Judge | None = None
