"""From estimates to one of four answers, Holm's adjustment, and what more measuring would take to leave "undecided"."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.views import Answer

from touchstone_verdict.intervals import Components, Estimate

MOST_SEEDS = 200
"""Above this, more seeds are no practical advice."""
MOST_TEST_IMAGES_FACTOR = 100.0
_IMAGE_STEP = 1.1


def decide(difference: float, p_value: float, equivalence_p_value: float, alpha: float) -> Answer:
    """`p_value` <= alpha is the same as the interval lying on one side of 0."""
    if p_value <= alpha:
        return "a_better" if difference > 0 else "b_better"
    return "no_difference" if equivalence_p_value <= alpha else "undecided"


def answer_of(estimate: Estimate, delta: float, confidence: float) -> Answer:
    p_value, equivalence = estimate.p_value, estimate.equivalence_p_value(delta)
    return decide(estimate.difference, p_value, equivalence, 1 - confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values by Holm's step-down adjustment, in the order given: the family-wise error stays at the level they are
    compared with."""
    if not p_values:
        return []
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return [float(value) for value in adjusted]


@dataclass(frozen=True, slots=True)
class Remedy:
    """Smallest counts that would decide if difference and spread stayed as measured; None: not within reason."""

    seeds: int | None
    """Per arm, with the test images there are."""
    test_images: int | None
    """Over all targets, with the seeds there are."""


def what_would_decide(parts: Sequence[Components], delta: float, confidence: float) -> Remedy:
    """`parts`: one comparison per target, each with at least two seeds."""

    def decides(seeds: int | None, factor: float) -> bool:
        expected = Estimate.pooled([part.estimate(seeds=seeds, images=part.images * factor) for part in parts])
        return answer_of(expected, delta, confidence) != "undecided"

    present = min(part.seeds for part in parts)
    seeds = next((count for count in range(present + 1, MOST_SEEDS + 1) if decides(count, 1.0)), None)
    factor = _IMAGE_STEP
    while factor <= MOST_TEST_IMAGES_FACTOR and not decides(None, factor):
        factor *= _IMAGE_STEP
    images = round(factor * sum(part.images for part in parts)) if factor <= MOST_TEST_IMAGES_FACTOR else None
    return Remedy(seeds, images)
