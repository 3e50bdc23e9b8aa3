"""Near-duplicates within a class: of images that look alike the best-scored one stays."""

from collections.abc import Sequence

import numpy as np
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.ranks import at_least, best_first

BLOCK = 512
"""Images compared at a time; bounds memory at (BLOCK, kept images of the class)."""


def without_near_duplicates(
    images: np.ndarray,
    image_ids: Sequence[str],
    scores: np.ndarray,
    class_ids: np.ndarray,
    minimum_cosine: float,
    progress: ProgressFunction = no_progress,
) -> np.ndarray:
    """bool (n,): which images stay.

    Greedy, best score first: an image goes when one that stays has its bytes or a cosine >= minimum_cosine to it.
    Greedy is not transitive: of a chain a~b~c with the best score in a, b goes and c stays."""
    keep = np.zeros(len(images), dtype=bool)
    done = 0
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        ordered = members[best_first(scores[members])]
        distinct = _first_of_each_id(ordered, image_ids)
        keep[distinct[_greedy(images[distinct], minimum_cosine)]] = True
        done += len(members)
        progress(done, len(images))
    return keep


def _first_of_each_id(ordered: np.ndarray, image_ids: Sequence[str]) -> np.ndarray:
    first: dict[str, int] = {}
    for position in ordered.tolist():
        first.setdefault(image_ids[position], position)
    return np.array(list(first.values()), dtype=np.int64)


def _greedy(images: np.ndarray, minimum_cosine: float) -> np.ndarray:
    """Positions of the images, given best first, that no earlier kept image resembles."""
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        free = np.array(~at_least(block @ images[kept].T, minimum_cosine).any(axis=1))  # (block, kept) -> (block,)
        alike = at_least(block @ block.T, minimum_cosine)
        for i in range(len(block)):
            if free[i]:
                free[i + 1 :] &= ~alike[i, i + 1 :]
        kept = np.concatenate([kept, start + np.flatnonzero(free)])
    return kept
