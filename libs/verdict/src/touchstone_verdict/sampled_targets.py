"""Targets as a sample of the tasks one might have had: the mean over all such tasks, and the difference at a new one.

The random-effects model of meta-analysis: the true difference at target k is normal around a mean with a variance
between targets, tau^2, and is measured with a variance of its own. tau^2 after Paule and Mandel (1982); the mean's
interval after Hartung and Knapp (2001) and Sidik and Jonkman (2002); the prediction interval after Nagashima, Noma and
Furukawa (2019), which draws tau^2 from its confidence distribution, as one value is too little with few targets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from touchstone_verdict.intervals import Estimate

FEWEST_TARGETS = 3
"""Below this nothing can be said of the variance between targets."""
DRAWS = 2000
BISECTIONS = 40

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SampledTargets:
    """What the measured targets say of others like them."""

    differences: Array
    """(targets,)"""
    variances: Array
    """(targets,): of the differences, by seeds and test images."""

    @property
    def between(self) -> float:
        """Standard deviation of true differences between targets, tau."""
        return math.sqrt(self._between_at(np.array([self._degrees]))[0])

    @property
    def mean(self) -> float:
        weights = self._weights
        return float(weights @ self.differences / weights.sum())

    @property
    def error(self) -> float:
        """Standard error of the mean.

        Hartung and Knapp scale it by Q / (K - 1), which is 1 wherever tau^2 after Paule and Mandel is positive. Where
        tau^2 is 0 the scale would be smaller, and the interval narrower than one for these very targets: it stays 1."""
        return 1 / math.sqrt(float(self._weights.sum()))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Of the mean over targets like these."""
        half = float(stdtrit(self._degrees, (1 + confidence) / 2)) * self.error
        return max(-1.0, self.mean - half), min(1.0, self.mean + half)

    @property
    def p_value(self) -> float:
        """Two-sided, against no difference on average."""
        return min(1.0, 2 * self._upper_tail(abs(self.mean)))

    def equivalence_p_value(self, delta: float) -> float:
        return self._upper_tail(delta - abs(self.mean))

    def _upper_tail(self, distance: float) -> float:
        return float(stdtr(self._degrees, -distance / self.error))

    def prediction(self, confidence: float, rng: np.random.Generator) -> tuple[float, float]:
        """Of the true difference at one more target."""
        spread = np.sqrt(self._between_at(rng.chisquare(self._degrees, DRAWS)))
        around = self.error * rng.standard_t(self._degrees, DRAWS) + spread * rng.standard_normal(DRAWS)
        low, high = np.quantile(self.mean + around, [(1 - confidence) / 2, (1 + confidence) / 2])
        return max(-1.0, float(low)), min(1.0, float(high))

    @property
    def _degrees(self) -> int:
        return len(self.differences) - 1

    @property
    def _weights(self) -> Array:
        return 1 / (self.variances + self.between**2)

    def _between_at(self, heterogeneity: Array) -> Array:
        """tau^2 at which Cochran's Q is `heterogeneity`; 0 where it is smaller at every tau^2. At the true tau^2 it is
        chi-squared with targets - 1 degrees of freedom, whose mean gives Paule and Mandel's estimate."""
        low = np.zeros_like(heterogeneity)
        squares = float(((self.differences - self.differences.mean()) ** 2).sum())
        high = squares / heterogeneity  # Q is at most squares / tau^2
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = self._heterogeneity(middle) > heterogeneity
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.where(self._heterogeneity(np.zeros_like(low)) > heterogeneity, high, 0.0)

    def _heterogeneity(self, between: Array) -> Array:
        """Cochran's Q, with each of the variances `between` in its weights."""
        weights = 1 / (self.variances + between[:, None])
        means = weights @ self.differences / weights.sum(axis=1)
        found: Array = (weights * (self.differences - means[:, None]) ** 2).sum(axis=1)
        return found


def sampled_targets(estimates: Sequence[Estimate]) -> SampledTargets | None:
    """`estimates`: one per target. None with fewer than three, or where the variance at one is unknown."""
    if len(estimates) < FEWEST_TARGETS or not all(estimate.known for estimate in estimates):
        return None
    return SampledTargets(
        np.array([estimate.difference for estimate in estimates]), np.array([entry.variance for entry in estimates])
    )
