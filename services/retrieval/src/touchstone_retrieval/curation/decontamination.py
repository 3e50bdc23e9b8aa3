"""Test images in disguise: the nearest test image of every candidate (paper section 3.2).

The paper uses a copy-detection descriptor and drops above 0.604169. Here it is the experiment's encoder, for every
arm, so a generator that memorised a test image is caught as well."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from touchstone_retrieval.curation.ranks import at_least

BLOCK = 4096
"""Images compared at a time; bounds memory at (BLOCK, test images)."""


@dataclass(frozen=True)
class NearestTest:
    """By candidate: position of the most similar test image (the first of equals) and the cosine to it."""

    position: np.ndarray
    cosine: np.ndarray


def nearest_test_images(images: np.ndarray, test_images: np.ndarray) -> NearestTest:
    """images (n, d) and test_images (t, d), t >= 1, are L2-normalised."""
    position = np.zeros(len(images), dtype=np.int64)
    cosine = np.zeros(len(images), dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        cosines = images[start : start + BLOCK] @ test_images.T  # (block, t)
        position[start : start + BLOCK] = cosines.argmax(axis=1)
        cosine[start : start + BLOCK] = np.minimum(cosines.max(axis=1), 1)
    return NearestTest(position, cosine)


def leaked(
    nearest: NearestTest, image_ids: Sequence[str], test_ids: Sequence[str], leak_cosine: float | None
) -> np.ndarray:
    """bool (n,): images at least `leak_cosine` similar to a test image, or with its bytes; none when the check is
    off."""
    if leak_cosine is None:
        return np.zeros(len(nearest.cosine), dtype=bool)
    known = set(test_ids)
    copies = np.array([image in known for image in image_ids], dtype=bool)
    too_close: np.ndarray = at_least(nearest.cosine, leak_cosine) | copies
    return too_close
