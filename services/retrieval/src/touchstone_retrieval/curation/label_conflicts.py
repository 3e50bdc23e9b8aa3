"""Images that several classes of the target claim: in all but one of them the label is wrong, or in all of them.

Scores are compared among the classes that an image was found for, not with the rest of the target: where the encoder
takes an image for a class that did not ask for it, the encoder is as likely to be wrong as the label, and a training
set of images that it classifies correctly already teaches it nothing (decision 0039)."""

from collections.abc import Sequence

import numpy as np
from touchstone_contracts.curation import LabelConflicts


def without_label_conflicts(
    rule: LabelConflicts, image_ids: Sequence[str], class_ids: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """bool (n,): which stay. class_ids (n,), scores (n,) against the own class; one id is one image."""
    if rule == "keep_all" or not len(class_ids):
        return np.ones(len(class_ids), dtype=bool)
    _, image = np.unique(np.array(image_ids, dtype=np.str_), return_inverse=True)  # (n,): number of each row's image
    best = _best_class(image, class_ids, scores)
    stays: np.ndarray = class_ids == best[image]
    if rule == "drop":
        stays &= ~_has_several(image, stays)[image]
    return stays


def _best_class(image: np.ndarray, class_ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(images,): of equal scores the lower class id."""
    order = np.lexsort((class_ids, -scores, image))
    _, first = np.unique(image[order], return_index=True)
    best: np.ndarray = class_ids[order[first]]
    return best


def _has_several(image: np.ndarray, of_best: np.ndarray) -> np.ndarray:
    """bool (images,): some row of the image is of another class than its best."""
    several = np.zeros(image.max() + 1, dtype=bool)
    several[image[~of_best]] = True
    return several
