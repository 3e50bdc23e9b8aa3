"""Difference of two arms' accuracies with its variance: moments of a crossed seeds x images design, Student's t.

Three things make the difference uncertain: which seeds (data subset and optimisation), which test images (the same
for both arms: paired), and their interaction. docs/verdict.md derives the formulas and shows their coverage."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from touchstone_verdict.clusters import Clusters, image_variance, number_of_clusters, summed

Correctness = npt.NDArray[np.float64]
"""(seeds, images): the share of an arm's sizes at which the image was classified correctly, in [0, 1]."""

SMALLEST_ERROR_IMAGES = 2.0
"""The standard error never falls below this many test images. With no disagreement seen in n images the exact bound
on the share of disagreements is 3.7/n at 95 % confidence; 1.96 x 2/n reproduces it and also holds at 90 % and 99 %."""


class SymmetricTails(ABC):
    """p-values of a difference whose uncertainty is the same to both sides."""

    __slots__ = ()
    difference: float

    @abstractmethod
    def _upper_tail(self, distance: float) -> float:
        """The probability of lying further than `distance` above the truth."""

    @property
    def p_value(self) -> float:
        """Two-sided, against no difference."""
        return min(1.0, 2 * self._upper_tail(abs(self.difference)))

    def equivalence_p_value(self, delta: float) -> float:
        """Two one-sided tests (the larger p): small where the difference is surely smaller than `delta`."""
        return self._upper_tail(delta - abs(self.difference))


@dataclass(frozen=True, slots=True)
class Estimate(SymmetricTails):
    """A difference in accuracy, its variance, and `spread`: the sum of (part of variance)^2 / (degrees of freedom)."""

    difference: float
    variance: float
    spread: float

    @classmethod
    def pooled(cls, estimates: Sequence[Self]) -> Self:
        """The mean of independent differences (one per target): variances add, then shrink by the square."""
        count = len(estimates)
        return cls(
            sum(e.difference for e in estimates) / count,
            sum(e.variance for e in estimates) / count**2,
            sum(e.spread for e in estimates) / count**4,
        )

    @property
    def known(self) -> bool:
        """False where one seed (or one image) leaves the variance unknown."""
        return math.isfinite(self.variance)

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's; 0 where the variance is unknown."""
        return self.variance**2 / self.spread if self.known else 0.0

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided, cut at -1 and 1: no difference of accuracies lies outside, so [-1, 1] means "nothing known"."""
        if not self.known:
            return -1.0, 1.0
        half = float(stdtrit(self.degrees_of_freedom, (1 + confidence) / 2)) * math.sqrt(self.variance)
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)

    def _upper_tail(self, distance: float) -> float:
        if not self.known:
            return 1.0
        return float(stdtr(self.degrees_of_freedom, -distance / math.sqrt(self.variance)))


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How much the accuracies of one arm's seeds vary at one target; or, of paired arms, those of their difference."""

    square: float
    """Sample variance of the seeds' mean accuracies."""
    noise: float
    """The part of it that is luck with these test images, run by run: the interaction of seeds and images."""
    seeds: int


@dataclass(frozen=True, slots=True)
class Components:
    """Where the variance of a difference comes from: seeds, images, and their interaction (contained in both)."""

    difference: float
    by_seed: float
    by_image: float
    interaction: float
    seed_degrees: float
    """Welch's degrees of freedom of the two arms' seed means."""
    seeds: int
    """Of the arm with fewer."""
    images: int
    clusters: int | None = None
    """Groups of test images that were drawn together; None: each was drawn by itself."""
    spreads: tuple[SeedSpread, ...] = ()
    """Of a and of b; of paired arms one, that of their difference."""

    @property
    def image_draws(self) -> int:
        """How many times test images were drawn, one or a cluster of them."""
        return self.images if self.clusters is None else self.clusters

    def estimate(self, *, seeds: int | None = None, images: float | None = None) -> Estimate:
        """As measured; or, given other numbers of seeds per arm or test images, as expected with those."""
        if min(self.seeds, self.image_draws) < 2:
            return Estimate(self.difference, math.inf, math.inf)
        seeds, images = seeds or self.seeds, images or self.images
        per_seed, per_image = self.seeds / seeds, self.images / images
        interaction = self.interaction * per_seed * per_image
        by_seed = self._scaled(self.by_seed, per_seed, per_seed * per_image)
        by_image = self._scaled(self.by_image, per_image, per_seed * per_image)
        image_degrees = self.image_draws / per_image - 1
        # The interaction counts once; no component of variance is negative, whatever the moments say.
        variance = max(by_seed + by_image - interaction, by_seed, by_image)
        smallest = (SMALLEST_ERROR_IMAGES / images) ** 2
        if variance < smallest:
            return Estimate(self.difference, smallest, smallest**2 / image_degrees)
        seed_degrees = self.seed_degrees * (seeds - 1) / (self.seeds - 1)
        return Estimate(self.difference, variance, by_seed**2 / seed_degrees + by_image**2 / image_degrees)

    def _scaled(self, square: float, own: float, both: float) -> float:
        """A mean square under other counts: its own effect shrinks with its own count, the interaction with both."""
        return max(0.0, square - self.interaction) * own + min(square, self.interaction) * both


def components(a: Correctness, b: Correctness, clusters: Clusters | None = None, *, paired: bool = False) -> Components:
    """Moments of `a` (seeds_a, images) against `b` (seeds_b, images), the same images in the same order.

    `paired`: a seed means the same draw in both arms, so the spread is that of their difference, seed by seed.
    Raises ValueError when the arms saw different numbers of test images or, paired, have different numbers of seeds."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"arms were tested on {a.shape[1]} and {b.shape[1]} images: they cannot be paired")
    if paired and len(a) != len(b):
        raise ValueError(f"arms have {len(a)} and {len(b)} seeds: they cannot be paired seed by seed")
    per_image = a.mean(axis=0) - b.mean(axis=0)
    spreads = tuple(seed_spread(arm, clusters) for arm in ([a - b] if paired else [a, b]))
    return Components(
        difference=float(per_image.mean()),
        by_seed=sum(spread.square / spread.seeds for spread in spreads),
        by_image=image_variance(per_image, clusters),
        interaction=sum(spread.noise / spread.seeds for spread in spreads),
        seed_degrees=_welch_degrees(spreads),
        seeds=min(len(a), len(b)),
        images=len(per_image),
        clusters=None if clusters is None else number_of_clusters(len(per_image), clusters),
        spreads=spreads,
    )


def seed_spread(correct: Correctness, clusters: Clusters | None = None) -> SeedSpread:
    """Of one arm's seeds, `correct` (seeds, images)."""
    seeds, images = correct.shape
    return SeedSpread(_variance(correct.mean(axis=1)), _residual_variance(correct, clusters) / images, seeds)


def _variance(values: npt.NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _residual_variance(correct: Correctness, clusters: Clusters | None) -> float:
    """Mean square of what neither the seed nor the image explains; of clusters, the mean square of their sums."""
    seeds, images = correct.shape
    groups = number_of_clusters(images, clusters)
    if min(seeds, groups) < 2:
        return 0.0
    residual = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    squares = float((summed(residual, clusters) ** 2).sum())
    mean_square: float = squares / ((seeds - 1) * (groups - 1)) * groups / images
    return mean_square


def _welch_degrees(spreads: Sequence[SeedSpread]) -> float:
    parts = [spread.square / spread.seeds for spread in spreads]
    if min(spread.seeds for spread in spreads) < 2 or sum(parts) == 0:
        return max(1.0, sum(spread.seeds - 1 for spread in spreads))
    squares = sum(part**2 / (spread.seeds - 1) for part, spread in zip(parts, spreads, strict=True))
    total: float = sum(parts) ** 2 / squares
    return total
