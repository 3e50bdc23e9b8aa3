"""At most so many images per class, the best-scored ones."""

import numpy as np

from touchstone_retrieval.curation.ranks import best_first


def within_cap(scores: np.ndarray, class_ids: np.ndarray, per_class_cap: int | None) -> np.ndarray:
    """bool (n,): the `per_class_cap` best of each class stay. Of equal scores the earlier image stays, so the cap
    is never exceeded (the paper raises the class's threshold, which lets ties through)."""
    if per_class_cap is None:
        return np.ones(len(scores), dtype=bool)
    keep = np.zeros(len(scores), dtype=bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        keep[members[best_first(scores[members])[:per_class_cap]]] = True
    return keep
