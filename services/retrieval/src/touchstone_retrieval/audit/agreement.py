"""How many labels an independent encoder agrees with."""

import numpy as np
from touchstone_contracts.label_card import JudgeAgreement

from touchstone_retrieval.audit.audited import Audited


def measure_agreement(audited: Audited) -> JudgeAgreement | None:
    judge, labels, classes = audited.judge, audited.class_ids, len(audited.classes)
    if judge is None:
        return None
    agreeing = nearest_class(audited.vectors, judge.class_vectors) == labels
    return JudgeAgreement(
        images=len(labels),
        agreeing=int(agreeing.sum()),
        images_by_class=tuple(np.bincount(labels, minlength=classes).tolist()),
        agreeing_by_class=tuple(np.bincount(labels[agreeing], minlength=classes).tolist()),
        judge_accuracy=judge.accuracy,
    )


def nearest_class(vectors: np.ndarray, class_vectors: np.ndarray) -> np.ndarray:
    """int64 (n,): by cosine, of equal ones the lower class id. vectors (n, d), class_vectors (classes, d)."""
    if not len(vectors):
        return np.zeros(0, dtype=np.int64)
    found: np.ndarray = (vectors @ class_vectors.T).argmax(axis=1)
    return found
