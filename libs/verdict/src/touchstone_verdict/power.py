"""Power of a comparison before it runs: how often its verdict would find a true difference.

The difference that an experiment measures is taken as normal around the true one. Its interval is computed as the
verdict computes it (intervals.py, borrowed.py, anytime.py), from mean squares drawn as a crossed seeds x images design
draws them: an arm's variance between R seeds is its expectation times chi-squared(R - 1) / (R - 1); those of images and
of the interaction have so many degrees of freedom that they are taken as their expectations."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, ndtr
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import SPREAD, Comparison
from touchstone_contracts.power import ExpectedSpread, Power, Spread, TargetSpread

from touchstone_verdict.anytime import SeedSequence
from touchstone_verdict.borrowed import SharedSpread, borrowed_estimate
from touchstone_verdict.forecast import MOST_SEEDS, MOST_TEST_IMAGES_FACTOR
from touchstone_verdict.intervals import Components, Estimate, SeedSpread
from touchstone_verdict.power_words import basis, summary, warning
from touchstone_verdict.spending import levels

Array = npt.NDArray[np.float64]

SHARE = 0.8
"""Of experiments that shall find a difference for it to count as shown."""
DRAWS = 1024
FEWEST_DRAWS = 256
"""With many targets the mean of their variances varies little, so fewer draws do."""
BORROWED_DRAWS, FEWEST_BORROWED_DRAWS, BORROWED_VARIANCES = 256, 8, 500
"""Experiments times cells, experiments, and variances drawn for the interval of each. A borrowed interval takes
milliseconds, and varies the less the more cells there are."""
BISECTIONS = 30
IMAGE_STEP = 1.02
"""Numbers of test images are told with two digits."""


def assumed_spread(metric: Metric) -> Spread:
    """Where nothing is known. Between seeds: the typical standard deviations of the 364 cells of three seeds that the
    studies published. Between images: assumed; of two runs of an arm 12 % of the test images then differ."""
    return Spread(seed_sd=0.013 if metric == "zero_shot" else 0.007, image_sd=0.12, interaction_sd=0.25)


@dataclass(frozen=True, slots=True)
class Part:
    """One target: its number of test images and the spread expected there."""

    spread: Spread
    images: float

    def variance(self, seeds: int) -> float:
        """Of the difference between the arms' mean accuracies."""
        return self._image_variance(seeds) + 2 * self.spread.seed_sd**2 / seeds

    def _image_variance(self, seeds: int) -> float:
        return (self.spread.image_sd**2 + 2 * self.spread.interaction_sd**2 / seeds) / self.images

    @property
    def noise(self) -> float:
        """What luck with the test images adds to the variance between seeds."""
        return self.spread.interaction_sd**2 / self.images

    @property
    def seed_variance(self) -> float:
        """Expected between the accuracies that an arm's seeds measure."""
        return self.spread.seed_sd**2 + self.noise

    def cells(self, seeds: int, drawn: Iterable[float]) -> tuple[SeedSpread, ...]:
        """What arms show. `drawn`: of each, its variance between seeds in units of the expectation."""
        return tuple(SeedSpread(self.seed_variance * ratio, self.noise, seeds) for ratio in drawn)

    def components(self, a: SeedSpread, b: SeedSpread) -> Components:
        """Around no difference."""
        seeds = a.seeds
        return Components(
            difference=0.0,
            by_seed=(a.square + b.square) / seeds,
            by_image=self._image_variance(seeds),
            interaction=2 * self.noise / seeds,
            # Welch's, of two arms with equally many seeds.
            seed_degrees=(seeds - 1) * (a.square + b.square) ** 2 / max(a.square**2 + b.square**2, _TINY),
            seeds=seeds,
            images=round(self.images),
            spreads=(a, b),
        )

    def sequence(self, seeds: int) -> SeedSequence:
        return SeedSequence(0.0, 2 * self.seed_variance, seeds, self._image_variance(seeds), round(self.images))


_TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True, slots=True)
class Design:
    """A comparison that has not run: the mean over targets of a difference, with as many seeds of each arm."""

    parts: tuple[Part, ...]
    seeds: int
    comparison: Comparison
    arms: int = 2
    """All that train: a borrowed interval learns the spread from all of them."""

    @property
    def confidence(self) -> float:
        """Of the interval when all seeds are in: with declared looks, that of the last one."""
        comparison = self.comparison
        if comparison.stopping != "planned":
            return comparison.confidence
        return 1 - levels(comparison.looks, 1 - comparison.confidence, comparison.spending)[-1]

    @property
    def test_images(self) -> int:
        return round(sum(part.images for part in self.parts))

    def with_more(self, *, seeds: int | None = None, images: float = 1.0) -> "Design":
        """With so many seeds, and so many times as many test images."""
        parts = tuple(replace(part, images=part.images * images) for part in self.parts)
        return replace(self, parts=parts, seeds=seeds or self.seeds)


def power_of(comparison: Comparison, seeds: int, expected: Sequence[ExpectedSpread], arms: int = 2) -> Power:
    """What a comparison with so many seeds of each arm can be expected to show, and what to raise where that is less
    than its `delta`. `expected`: one entry for each target; `arms`: how many train."""
    design = Design(tuple(Part(entry, entry.test_images) for entry in expected), seeds, comparison, arms)
    margins, error = _margins(design)
    smallest, delta = _smallest(margins, error, SHARE), comparison.delta
    more, remark, at_delta = Needed(None, None), None, _share_found(margins, error, delta)
    if smallest is None or smallest > delta:
        more = needed(design, delta)
        remark = warning(seeds, design.test_images, delta, at_delta, more)
    return Power(
        a=comparison.a,
        b=comparison.b,
        metric=comparison.metric,
        test_set=comparison.test_set,
        delta=delta,
        confidence=comparison.confidence,
        seeds=seeds,
        test_images=design.test_images,
        share=SHARE,
        smallest_difference=smallest,
        at_delta=at_delta,
        seeds_for_delta=more.seeds,
        test_images_for_delta=more.test_images,
        both_for_delta=more.both,
        expected=tuple(expected),
        summary=summary(seeds, design.test_images, smallest),
        basis=basis(expected),
        warning=remark,
    )


def found(design: Design, difference: float) -> float:
    """The share of experiments that would call `a` better if it were better by `difference`."""
    return _share_found(*_margins(design), difference)


def smallest_difference(design: Design, share: float = SHARE) -> float | None:
    """That is found with this share. None: not even a difference of 1, the largest there can be."""
    return _smallest(*_margins(design), share)


def _smallest(margins: Array, error: float, share: float) -> float | None:
    if _share_found(margins, error, 1.0) < share:
        return None
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if _share_found(margins, error, middle) >= share else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Needed:
    """Smallest counts that would find a difference; None: not within reason."""

    seeds: int | None
    test_images: int | None
    """Over all targets, with the seeds that are planned; a few percent more than the smallest."""
    both: tuple[int, int] | None = None
    """Seeds and test images, raised in proportion, where neither alone suffices."""


def needed(design: Design, difference: float, share: float = SHARE) -> Needed:
    """More seeds alone, more test images alone, or where neither suffices more of both."""

    def enough(more: Design) -> bool:
        return found(more, difference) >= share

    seeds = _first_true(lambda count: enough(design.with_more(seeds=count)), design.seeds, MOST_SEEDS)
    most = round(math.log(MOST_TEST_IMAGES_FACTOR, IMAGE_STEP))
    steps = _first_true(lambda count: enough(design.with_more(images=IMAGE_STEP**count)), 0, most)
    images = None if steps is None else round(design.test_images * IMAGE_STEP**steps)
    if seeds is not None or images is not None:
        return Needed(seeds, images)
    times = 1 / design.seeds
    more = _first_true(
        lambda count: enough(design.with_more(seeds=count, images=count * times)), design.seeds, MOST_SEEDS
    )
    return Needed(None, None, None if more is None else (more, round(design.test_images * more * times)))


def _first_true(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest count above `low` from which on `holds` is true; None where it is false at `high`."""
    if not holds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _share_found(margins: Array, error: float, difference: float) -> float:
    """`margins`: what the measured difference must exceed; 1 where the interval says nothing."""
    return float(np.where(margins < 1, ndtr((difference - margins) / error), 0.0).mean())


def _margins(design: Design) -> tuple[Array, float]:
    """(draws,): half widths of intervals that such experiments may get; and the true error of their difference."""
    variance = sum(part.variance(design.seeds) for part in design.parts) / len(design.parts) ** 2
    error = math.sqrt(max(variance, _TINY))
    if design.seeds < 2 or min(part.images for part in design.parts) < 2:
        return np.ones(1), error
    if design.comparison.stopping == "anytime":
        halves = _anytime
    else:
        halves = _own if (design.comparison.spread or SPREAD) == "own" else _borrowed
    return np.array(halves(design)), error


def _own(design: Design) -> list[float]:
    draws, confidence = max(FEWEST_DRAWS, 2 * DRAWS // (2 * len(design.parts) + 1)), design.confidence
    return [
        Estimate.pooled(
            [
                part.components(*part.cells(design.seeds, pair)).estimate()
                for part, pair in zip(design.parts, draw.reshape(-1, 2), strict=True)
            ]
        ).interval(confidence)[1]
        for draw in _drawn_variances(design.seeds, 2 * len(design.parts), draws)
    ]


def _borrowed(design: Design) -> list[float]:
    cells, confidence = design.arms * len(design.parts), design.confidence
    draws = max(FEWEST_BORROWED_DRAWS, BORROWED_DRAWS // cells)
    return [
        _borrowed_half_width(design, draw.reshape(-1, design.arms), confidence)
        for draw in _drawn_variances(design.seeds, cells, draws)
    ]


def _borrowed_half_width(design: Design, drawn: Array, confidence: float) -> float:
    """`drawn` (targets, arms)."""
    cells = {
        (str(target), str(arm)): cell
        for target, part in enumerate(design.parts)
        for arm, cell in enumerate(part.cells(design.seeds, drawn[target]))
    }
    parts = {
        str(target): (part.components(cells[str(target), "0"], cells[str(target), "1"]), ("0", "1"))
        for target, part in enumerate(design.parts)
    }
    estimate = borrowed_estimate(parts, SharedSpread(cells), BORROWED_VARIANCES)
    return estimate.interval(confidence)[1]


def _anytime(design: Design) -> list[float]:
    """When all seeds are in."""
    sequences = [part.sequence(design.seeds) for part in design.parts]
    count = len(sequences) ** 2
    expected = SeedSequence(
        difference=0.0,
        seed_variance=sum(sequence.seed_variance for sequence in sequences) / count,
        seeds=design.seeds,
        image_variance=sum(sequence.image_variance for sequence in sequences) / count,
        images=min(sequence.images for sequence in sequences),
    )
    return [
        replace(expected, seed_variance=expected.seed_variance * draw).interval(design.comparison.confidence)[1]
        for [draw] in _drawn_variances(design.seeds, 1, DRAWS)
    ]


def _drawn_variances(seeds: int, cells: int, draws: int) -> Array:
    """(draws, cells): variances between seeds in units of their expectations.

    Quantiles come from an additive recurrence, which fills the unit cube more evenly than random numbers do: powers of
    1/g, where g^(cells + 1) = g + 1 (Roberts 2018, the golden ratio for one cell)."""
    golden = 2.0
    for _ in range(BISECTIONS):
        golden = (1 + golden) ** (1 / (cells + 1))
    steps = golden ** -np.arange(1.0, cells + 1)
    quantiles = (0.5 + np.arange(1, draws + 1)[:, None] * steps) % 1
    drawn: Array = chdtri(seeds - 1, quantiles) / (seeds - 1)
    return drawn


def spread_of(part: Components) -> Spread:
    """Of a comparison that was measured with two seeds or more of each arm, and as many of both."""
    interaction = part.interaction * part.seeds * part.images / 2
    seed = part.by_seed * part.seeds / 2 - interaction / part.images
    image = part.by_image * part.images - 2 * interaction / part.seeds
    seed_sd, image_sd, interaction_sd = (math.sqrt(max(0.0, square)) for square in (seed, image, interaction))
    return Spread(seed_sd=seed_sd, image_sd=image_sd, interaction_sd=interaction_sd)


def pooled_spread(spreads: Sequence[TargetSpread]) -> Spread:
    """Root mean squares, weighted by the degrees of freedom between seeds."""
    weights = [entry.seeds - 1 for entry in spreads]

    def pooled(name: str) -> float:
        return math.sqrt(float(np.average([getattr(entry, name) ** 2 for entry in spreads], weights=weights)))

    return Spread(**{name: pooled(name) for name in Spread.model_fields})
