"""An interval that stays valid however often one looks while seeds come in.

Seed by seed the two arms' mean accuracies differ by some D(r), taken as normal with unknown variance. A t-test whose
effect size (mean in units of the spread between seeds) has a normal prior is a test martingale, so by Ville's
inequality it exceeds 1/alpha at any time with probability at most alpha; what it does not reject is a confidence
sequence (Lai 1976; the Gaussian mixture of Wang and Ramdas, arXiv 2310.03722). It speaks of these test images. That
others might have been drawn is added by a second interval, with its own share of alpha: the images are there from
the start, so looking again does not try them again."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from touchstone_verdict.answers import MOST_SEEDS, decide
from touchstone_verdict.clusters import Clusters, image_variance, number_of_clusters
from touchstone_verdict.intervals import SMALLEST_ERROR_IMAGES

EFFECT = 5.0
"""Standard deviation of the prior on the effect size: arms that differ do so by a few spreads between seeds."""
IMAGE_SHARE = 0.2
"""Of alpha, for the draw of test images."""
SMALLEST_ALPHA = 1e-12
BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class SeedSequence:
    """What is known after some seeds of both arms; answers the same questions as an Estimate."""

    difference: float
    seed_variance: float
    """Of D(r), between seeds."""
    seeds: int
    image_variance: float
    """Of the mean difference, between draws of test images."""
    images: int
    """Of the target with the fewest; their clusters, where some were drawn together."""

    @property
    def degrees_of_freedom(self) -> float:
        return float(self.seeds - 1)

    def interval(self, confidence: float) -> tuple[float, float]:
        half = self.half_width(1 - confidence)
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)

    def half_width(self, alpha: float) -> float:
        """Infinite while the seeds are too few for `alpha`."""
        if min(self.seeds, self.images) < 2:
            return math.inf
        image_part = float(stdtrit(self.images - 1, 1 - alpha * IMAGE_SHARE / 2)) * math.sqrt(self.image_variance)
        return self._seed_part(alpha * (1 - IMAGE_SHARE)) + image_part

    def _seed_part(self, alpha: float) -> float:
        """Where the mixture's likelihood ratio against a mean reaches 1 / alpha."""
        precision = 1 + self.seeds * EFFECT**2
        ratio = (precision / alpha**2) ** (1 / self.seeds)
        if ratio >= precision:
            return math.inf
        t_squared = (self.seeds - 1) * (ratio - 1) / (1 - ratio / precision)
        return math.sqrt(t_squared * self.seed_variance / self.seeds)

    @property
    def p_value(self) -> float:
        """Valid at any time, as the interval is."""
        return _smallest_alpha(lambda alpha: self.half_width(alpha) < abs(self.difference))

    def equivalence_p_value(self, delta: float) -> float:
        return _smallest_alpha(lambda alpha: abs(self.difference) + self.half_width(alpha) < delta)


def _smallest_alpha(excluded: Callable[[float], bool]) -> float:
    """`excluded` is false up to some alpha and true above; 1 where it is never true."""
    if not excluded(1.0):
        return 1.0
    low, high = math.log(SMALLEST_ALPHA), 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if excluded(math.exp(middle)) else (middle, high)
    return math.exp(high)


def seed_sequence(
    parts: Sequence[npt.NDArray[np.float64]], clusters: Sequence[Clusters | None] | None = None
) -> SeedSequence:
    """`parts`: per target, (seeds, images): correctness of a minus b, the arms paired seed by seed; `clusters` of their
    test images."""
    groups = clusters or [None] * len(parts)
    by_seed = np.mean([part.mean(axis=1) for part in parts], axis=0)
    images = min(number_of_clusters(part.shape[1], group) for part, group in zip(parts, groups, strict=True))
    # Accuracies are multiples of an image: seeds that agree exactly do not prove that all would.
    spread = max(float(by_seed.var(ddof=1)), images**-2) if len(by_seed) > 1 else math.inf
    return SeedSequence(
        difference=float(by_seed.mean()),
        seed_variance=spread,
        seeds=len(by_seed),
        image_variance=sum(map(_image_variance, parts, groups)) / len(parts) ** 2,
        images=images,
    )


def _image_variance(part: npt.NDArray[np.float64], clusters: Clusters | None) -> float:
    images = part.shape[1]
    smallest = (SMALLEST_ERROR_IMAGES / images) ** 2
    known = number_of_clusters(images, clusters) > 1
    return max(image_variance(part.mean(axis=0), clusters), smallest) if known else math.inf


def seeds_to_decide(sequence: SeedSequence, delta: float, confidence: float) -> int | None:
    """The smallest number of seeds that would decide if difference and spread stayed; None: not within reason."""

    def decides(seeds: int) -> bool:
        more = replace(sequence, seeds=seeds)
        p_value, equivalence = more.p_value, more.equivalence_p_value(delta)
        return decide(more.difference, p_value, equivalence, 1 - confidence) != "undecided"

    return next((seeds for seeds in range(sequence.seeds + 1, MOST_SEEDS + 1) if decides(seeds)), None)
