"""Comparisons judged at looks that were declared: the estimate of each look, tested at the level its look may spend."""

from collections.abc import Sequence
from dataclasses import dataclass

from touchstone_contracts.experiment import Spending

from touchstone_verdict.answers import smallest_alpha
from touchstone_verdict.borrowed import BorrowedEstimate
from touchstone_verdict.intervals import Estimate
from touchstone_verdict.spending import levels


@dataclass(frozen=True, slots=True)
class Look:
    """An estimate from the seeds of one of several looks; answers the same questions.

    Over all looks together the intervals miss the truth at most as often as their confidence says. The p-values are
    repeated ones (Jennison and Turnbull 1984): the smallest alpha that would have decided at this look."""

    estimate: Estimate | BorrowedEstimate
    looks: tuple[int, ...]
    """All that were declared, in seeds."""
    number: int
    """Of this one, from 0."""
    spending: Spending

    @property
    def difference(self) -> float:
        return self.estimate.difference

    @property
    def degrees_of_freedom(self) -> float:
        return self.estimate.degrees_of_freedom

    def interval(self, confidence: float) -> tuple[float, float]:
        level = self.level(1 - confidence)
        return self.estimate.interval(1 - level) if level > 0 else (-1.0, 1.0)

    @property
    def p_value(self) -> float:
        at_once = self.estimate.p_value
        return smallest_alpha(lambda alpha: at_once <= self.level(alpha))

    def equivalence_p_value(self, delta: float) -> float:
        at_once = self.estimate.equivalence_p_value(delta)
        return smallest_alpha(lambda alpha: at_once <= self.equivalence_level(alpha))

    @property
    def seeds(self) -> int:
        """Of each arm; some of their runs may have failed."""
        return self.looks[self.number]

    @property
    def last(self) -> bool:
        return self.number == len(self.looks) - 1

    def level(self, alpha: float) -> float:
        """Two-sided, of this look."""
        return levels(self.looks, alpha, self.spending)[self.number]

    def equivalence_level(self, alpha: float) -> float:
        """Of each of the two one-sided tests, which may spend alpha: half of what one on both sides does with twice."""
        return self.level(min(1.0, 2 * alpha)) / 2


def look_at(
    estimates: Sequence[Estimate | BorrowedEstimate],
    looks: tuple[int, ...],
    spending: Spending,
    delta: float,
    alpha: float,
) -> Look:
    """`estimates`: one for each look that has been reached, in their order. The first look that decides, or the last:
    a decision stands, whatever later seeds say."""
    reached = [Look(estimate, looks, number, spending) for number, estimate in enumerate(estimates)]
    decided = (look for look in reached if min(look.p_value, look.equivalence_p_value(delta)) <= alpha)
    return next(decided, reached[-1])
