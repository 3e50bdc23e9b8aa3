"""How far the kept images are, as a whole, from the target's test images, and how much of those they cover."""

import numpy as np
from touchstone_contracts.label_card import Distribution
from touchstone_runtime.randomness import rng_for

from touchstone_retrieval.audit.audited import Audited
from touchstone_retrieval.audit.coverage import density_and_coverage, expected_coverage
from touchstone_retrieval.audit.mmd import (
    discrepancies_of_halves,
    discrepancy,
    gaussian_kernel,
    median_distance,
)

MOST_IMAGES = 2000
"""Of more, so many are drawn: kernels of them take 32 MB each and less than a second."""
FEWEST_IMAGES = 8
NEIGHBOURS = 5
"""As the paper of density and coverage recommends."""
SPLITS = 200
FLOOR = 0.95


def measure_distribution(audited: Audited) -> Distribution | None:
    """None where there are fewer than FEWEST_IMAGES of either, or most test images are the same."""
    _, first = np.unique(np.asarray(audited.image_ids), return_index=True)
    images, target = (
        _drawn(vectors, MOST_IMAGES, purpose)
        for vectors, purpose in ((audited.vectors[first], "images"), (audited.test_vectors, "test images"))
    )
    if min(len(images), len(target)) < FEWEST_IMAGES or not (bandwidth := median_distance(target)):
        return None
    own = gaussian_kernel(target, target, bandwidth)
    found = discrepancy(gaussian_kernel(images, images, bandwidth), own, gaussian_kernel(images, target, bandwidth))
    halves = discrepancies_of_halves(own, SPLITS, rng_for("distribution", "halves"))
    as_many = images[: len(target)]  # coverage grows with the number of images
    density, coverage = density_and_coverage(target, as_many, NEIGHBOURS)
    return Distribution(
        images=len(images),
        test_images=len(target),
        discrepancy=_rounded(found.value),
        discrepancy_error=_rounded(found.error),
        floor=_rounded(float(np.quantile(halves, FLOOR))),
        density=_rounded(density),
        coverage=_rounded(coverage),
        expected_coverage=_rounded(expected_coverage(len(target), len(as_many), NEIGHBOURS)),
    )


def _drawn(vectors: np.ndarray, most: int, purpose: str) -> np.ndarray:
    """In random order, at most `most` of them; the same ones every time."""
    return vectors[rng_for("distribution", purpose).permutation(len(vectors))[:most]]


def _rounded(value: float) -> float:
    return round(value, 6)
