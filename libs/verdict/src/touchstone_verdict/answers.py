"""From estimates to one of four answers, and Holm's adjustment."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from touchstone_contracts.views import Answer

from touchstone_verdict.borrowed import BorrowedEstimate
from touchstone_verdict.intervals import Estimate

SMALLEST_ALPHA = 1e-12
BISECTIONS = 60


def decide(difference: float, p_value: float, equivalence_p_value: float, alpha: float) -> Answer:
    """`p_value` <= alpha is the same as the interval lying on one side of 0."""
    if p_value <= alpha:
        return "a_better" if difference > 0 else "b_better"
    return "no_difference" if equivalence_p_value <= alpha else "undecided"


def answer_of(estimate: Estimate | BorrowedEstimate, delta: float, confidence: float) -> Answer:
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


def smallest_alpha(excluded: Callable[[float], bool]) -> float:
    """`excluded` is false up to some alpha and true above; 1 where it is never true."""
    if not excluded(1.0):
        return 1.0
    low, high = math.log(SMALLEST_ALPHA), 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if excluded(math.exp(middle)) else (middle, high)
    return math.exp(high)
