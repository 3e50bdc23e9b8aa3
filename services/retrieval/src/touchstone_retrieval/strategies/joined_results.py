"""Near-duplicates among the results of one query, as clip-retrieval removes them (paper section 1.3)."""

import numpy as np

from touchstone_retrieval.curation.ranks import at_least


def first_of_each_group(vectors: np.ndarray, minimum_cosine: float) -> np.ndarray:
    """bool (n,): of the results (n, d), L2-normalised and best first, those that stay.

    Results are joined by chains of cosines >= minimum_cosine (connected components); the first of each group stays."""
    stays, is_open = np.zeros(len(vectors), dtype=bool), np.ones(len(vectors), dtype=bool)
    for rank in range(len(vectors)):
        if is_open[rank]:
            stays[rank] = True
            _close_group(rank, vectors, is_open, minimum_cosine)
    return stays


def _close_group(first: int, vectors: np.ndarray, is_open: np.ndarray, minimum_cosine: float) -> None:
    """Takes everything that is joined to `first` out of `is_open`."""
    reached = np.array([first])
    while len(reached):
        is_open[reached] = False
        left = np.flatnonzero(is_open)
        reached = left[at_least(vectors[left] @ vectors[reached].T, minimum_cosine).any(axis=1)]
