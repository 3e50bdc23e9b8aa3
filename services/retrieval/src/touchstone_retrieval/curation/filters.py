"""Rules by CLIP score. Each returns which of the scored images stay: scores (n,), class_ids (n,) -> bool (n,)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from touchstone_contracts.catalogue import ClassLabel, ids_by_key
from touchstone_contracts.curation import KeepAboveClassScore, KeepAboveScore, KeepTopFraction, ScoreRule
from touchstone_contracts.registry import Implementations


def keep_top_fraction(scores: np.ndarray, class_ids: np.ndarray, fraction: float) -> np.ndarray:
    """Per class, scores that reach the class's (1 - fraction) quantile (linear between ranks; paper section 3.1).

    Ties at the quantile all stay, and a class keeps at least its best image."""
    keep = np.zeros(len(scores), dtype=bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        own = scores[members].astype(np.float64)
        keep[members] = own >= np.quantile(own, 1 - fraction)
    return keep


def keep_above_score(scores: np.ndarray, minimum: float) -> np.ndarray:
    return scores >= minimum


def keep_above_class_score(scores: np.ndarray, class_ids: np.ndarray, minimums: np.ndarray) -> np.ndarray:
    """minimums (classes,): each image needs that of its own class."""
    keep: np.ndarray = scores >= minimums[class_ids]
    return keep


def class_minimums(rule: KeepAboveClassScore, classes: Sequence[ClassLabel]) -> np.ndarray:
    """(classes,) by class id. Keys that name no class of this target belong to another target."""
    minimums = np.full(len(classes), rule.minimum)
    ids = ids_by_key(classes)
    for key, minimum in rule.minimums.items():
        minimums[ids.get(key, [])] = minimum
    return minimums


ApplyRule = Callable[[Any, np.ndarray, np.ndarray, Sequence[ClassLabel]], np.ndarray]
"""(rule, scores, class_ids, classes) -> bool (n,): which stay."""

RULE_FUNCTIONS = Implementations[ApplyRule]("score rule")
RULE_FUNCTIONS.register(
    KeepTopFraction, lambda rule, scores, class_ids, classes: keep_top_fraction(scores, class_ids, rule.fraction)
)
RULE_FUNCTIONS.register(KeepAboveScore, lambda rule, scores, class_ids, classes: keep_above_score(scores, rule.minimum))
RULE_FUNCTIONS.register(
    KeepAboveClassScore,
    lambda rule, scores, class_ids, classes: keep_above_class_score(scores, class_ids, class_minimums(rule, classes)),
)


def apply_rule(
    rule: ScoreRule, scores: np.ndarray, class_ids: np.ndarray, classes: Sequence[ClassLabel] = ()
) -> np.ndarray:
    """`classes` are needed by a rule that names some. Raises Invalid at a rule that is not registered."""
    return RULE_FUNCTIONS.of(rule)(rule, scores, class_ids, classes)
