"""How alike the images of a class are."""

from collections.abc import Iterator

import numpy as np
from touchstone_contracts.label_card import Diversity

from touchstone_retrieval.audit.audited import Audited

BLOCK = 2048
"""Images compared with their class at a time; bounds memory at (BLOCK, images of the class)."""


def measure_diversity(audited: Audited) -> Diversity | None:
    """Means over classes with two images or more; None where there is none."""
    means, nearest = [], []
    for label in np.unique(audited.class_ids):
        own = audited.vectors[audited.class_ids == label].astype(np.float64)
        if len(own) > 1:
            means.append(mean_cosine(own))
            nearest.append(float(np.concatenate(list(_nearest(own))).mean()))
    if not means:
        return None
    return Diversity(
        classes=len(means),
        mean_cosine=round(float(np.mean(means)), 6),
        mean_nearest_cosine=round(float(np.mean(nearest)), 6),
    )


def mean_cosine(vectors: np.ndarray) -> float:
    """Over all pairs of two of the vectors (n, d), n >= 2: the squared length of their sum holds each pair twice."""
    total = vectors.sum(axis=0)
    return float((total @ total - (vectors * vectors).sum()) / (len(vectors) * (len(vectors) - 1)))


def _nearest(vectors: np.ndarray) -> Iterator[np.ndarray]:
    """(n,) in blocks: each vector's cosine to the nearest other one."""
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vectors.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        yield cosines.max(axis=1)
