"""The chance that more seeds, or more test images, would decide what is undecided.

What would be found is drawn many times from what is known now: the variance between seeds from its distribution given
the seeds there are, the true difference given that, the new seeds given both, and all is judged as the verdict judges.
A point forecast ("if difference and spread stayed as measured") is wrong most of the time where the true difference is
small, because an undecided difference is more often too large than too small by chance.

The true difference has a normal prior around none, a few points wide: without one, chances would be of a world in which
arms often differ by fifty points."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from touchstone_verdict.anytime import SeedSequence
from touchstone_verdict.intervals import SMALLEST_ERROR_IMAGES, Components
from touchstone_verdict.planned import Look

Array = npt.NDArray[np.float64]

PRIOR = 0.03
"""Standard deviation of true differences between arms, before any was measured."""
USUAL_SEED_SD, USUAL_FACTOR = 0.01, math.e
"""Of an arm's accuracy between seeds: one point, give or take this factor (one standard deviation of the logarithm).
The published experiments have half a point to 1.3."""
LOG_SDS = np.linspace(math.log(1e-5), 0.0, 400)
DRAWS = 2000
MOST_SEEDS = 200
"""Above this, more seeds are no practical advice."""
MOST_TEST_IMAGES_FACTOR = 100
ENOUGH = 0.8
"""The chance that is asked for, as of the power of a study."""
More = Literal["seeds", "images"]


@dataclass(frozen=True, slots=True)
class Levels:
    """At which a decision is tested."""

    differs: float
    """Two-sided, of a difference."""
    equals: float
    """Of each of the two one-sided tests of equivalence."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Of a decision with so many seeds per arm, or test images over all targets, those there are included."""

    more: More
    count: int
    chance: float


def chances(parts: Sequence[Components], delta: float, confidence: float, seed: int) -> tuple[Chance, ...]:
    """Of twice the seeds, of twice the test images, and of the fewest of each that give `ENOUGH`, where there are such.

    `parts`: one comparison per target, each with at least two seeds. `seed`: of the draws."""
    levels = Levels(1 - confidence, 1 - confidence)

    def of(more: More, present: int, count: int) -> Chance:
        rng = np.random.default_rng(seed)
        return Chance(more, count, chance_of_deciding(parts, more, count / present, delta, levels, rng))

    seeds, images = min(part.seeds for part in parts), sum(part.images for part in parts)
    return (
        *_twice_and_enough(lambda count: of("seeds", seeds, count), seeds, MOST_SEEDS),
        *_twice_and_enough(lambda count: of("images", images, count), images, MOST_TEST_IMAGES_FACTOR * images),
    )


def _twice_and_enough(chance: Callable[[int], Chance], present: int, most: int) -> tuple[Chance, ...]:
    """In ascending order of counts. Chances grow with the count."""
    twice = chance(2 * present)
    if chance(most).chance < ENOUGH:
        return (twice,)
    fewest = chance(bisect_left(range(most), True, lo=present + 1, key=lambda count: chance(count).chance >= ENOUGH))
    return (fewest,) if fewest.count <= twice.count else (twice, fewest)


def chances_at_any_time(sequence: SeedSequence, delta: float, confidence: float, seed: int) -> tuple[Chance, ...]:
    """The same, of a look with that many seeds in a comparison that may be looked at after every seed.

    `sequence`: of at least two seeds."""

    def of(count: int) -> Chance:
        rng = np.random.default_rng(seed)
        return Chance("seeds", count, _chance_at_look(sequence, count, delta, confidence, rng))

    return _twice_and_enough(of, sequence.seeds, MOST_SEEDS)


def chances_at_last_look(
    parts: Sequence[Components], look: Look, delta: float, confidence: float, seed: int
) -> tuple[Chance, ...]:
    """That of the last declared look; nothing once it is over. Looks between add little to it."""
    if look.last:
        return ()
    last, alpha = replace(look, number=len(look.looks) - 1), 1 - confidence
    levels = Levels(last.level(alpha), last.equivalence_level(alpha))
    count = look.looks[-1]
    growth = count / look.seeds
    rng = np.random.default_rng(seed)
    return (Chance("seeds", count, chance_of_deciding(parts, "seeds", growth, delta, levels, rng)),)


def _chance_at_look(
    sequence: SeedSequence, count: int, delta: float, confidence: float, rng: np.random.Generator
) -> float:
    growth, degrees = count / sequence.seeds, sequence.degrees_of_freedom
    found = sequence.seed_variance / sequence.seeds
    own = _between_seeds(found, degrees, sequence.seeds, 0.0, rng)
    drawn = _draw_more(_Square(found, degrees, own), sequence.difference, growth, sequence.seeds, rng)
    later = replace(sequence, seeds=count)
    images = later.half_width(1 - confidence, seed_variance=0.0)
    half = images + np.sqrt(drawn.square * count) * (later.half_width(1 - confidence, seed_variance=1.0) - images)
    distance = np.abs(drawn.difference)
    return _weighted((distance > half) | (distance + half < delta), drawn.truth, sequence.image_variance)


def chance_of_deciding(
    parts: Sequence[Components],
    more: More,
    growth: float,
    delta: float,
    levels: Levels,
    rng: np.random.Generator,
) -> float:
    """With `growth` times the seeds, or the test images, that there are; those are kept and others are added."""
    grown = [_grow(part, more, growth, rng) for part in parts]
    count = len(parts)
    difference = sum(each.difference for each in grown) / count
    truth = sum(each.truth for each in grown) / count
    variance = sum(each.variance for each in grown) / count**2
    spread = sum(each.spread for each in grown) / count**4
    stray = sum(each.stray for each in grown) / count**2
    error, degrees = np.sqrt(variance), variance**2 / spread
    differs = 2 * stdtr(degrees, -np.abs(difference) / error) <= levels.differs
    equals = stdtr(degrees, -(delta - np.abs(difference)) / error) <= levels.equals
    return _weighted(differs | equals, truth, stray)


def _weighted(decided: npt.NDArray[np.bool_], truth: Array | float, stray: Array | float) -> float:
    """The share of draws that decide, each as likely as the prior has it."""
    log_odds = -(truth**2) / (2 * (PRIOR**2 + stray)) - np.log(PRIOR**2 + stray) / 2
    odds = np.exp(log_odds - log_odds.max())
    return float(odds @ decided / odds.sum())


@dataclass(frozen=True, slots=True)
class _Grown:
    """(draws,) each: what one target may show after more was measured."""

    difference: Array
    truth: Array
    """The difference with endlessly much of what is added."""
    variance: Array
    spread: Array
    stray: Array
    """Variance of `truth` around the true difference, by the seeds (or the test images) that stay as they are."""


def _grow(part: Components, more: More, growth: float, rng: np.random.Generator) -> _Grown:
    """Moments and degrees of freedom as in `Components.estimate`, with what is added drawn."""
    own_of_seeds = _between_seeds(part.by_seed, part.seed_degrees, part.seeds, part.interaction, rng)
    seeds = _Square(part.by_seed, part.seed_degrees, own_of_seeds + part.interaction)
    images = _Square(part.by_image, part.image_draws - 1.0, _between_images(part, rng))
    grown, kept = (seeds, images) if more == "seeds" else (images, seeds)
    drawn = _draw_more(grown, part.difference, growth, part.seeds if more == "seeds" else part.image_draws, rng)
    other, stray = _measured_again(kept, part.interaction, growth, rng)

    of_images = growth if more == "images" else 1.0
    total = np.maximum(np.maximum(drawn.square + other - part.interaction / growth, drawn.square), other)
    smallest = (SMALLEST_ERROR_IMAGES / (part.images * of_images)) ** 2
    spread = drawn.square**2 / drawn.degrees + other**2 / kept.degrees
    return _Grown(
        difference=drawn.difference,
        truth=drawn.truth,
        variance=np.maximum(total, smallest),
        spread=np.where(total < smallest, smallest**2 / (part.image_draws * of_images - 1), spread),
        stray=stray,
    )


@dataclass(frozen=True, slots=True)
class _Square:
    """A mean square: as it was found, and (draws,) what it may be in truth."""

    found: float
    degrees: float
    true: Array


@dataclass(frozen=True, slots=True)
class _Drawn:
    """(draws,) each, after seeds (or images) were added."""

    difference: Array
    truth: Array
    square: Array
    degrees: float


def _draw_more(measured: _Square, difference: float, growth: float, present: int, rng: np.random.Generator) -> _Drawn:
    truth = difference + np.sqrt(measured.true) * rng.standard_normal(DRAWS)
    added = truth + np.sqrt(measured.true / (growth - 1)) * rng.standard_normal(DRAWS)
    degrees = measured.degrees * (growth * present - 1) / (present - 1)
    between = (growth - 1) / growth * (added - difference) ** 2
    within = measured.true * _chi_squared(degrees - measured.degrees - 1, rng)
    square = (measured.degrees * measured.found + between + within) / (degrees * growth)
    return _Drawn((difference + (growth - 1) * added) / growth, truth, square, degrees)


def _between_seeds(found: float, degrees: float, seeds: int, interaction: float, rng: np.random.Generator) -> Array:
    """(draws,): what seeds alone may add to the variance of the difference, given how far they were seen apart."""
    own = 2 * np.exp(2 * LOG_SDS) / seeds
    squares = own + interaction
    prior = -(((LOG_SDS - math.log(USUAL_SEED_SD)) / math.log(USUAL_FACTOR)) ** 2) / 2
    log_odds = prior - degrees / 2 * (np.log(squares) + found / squares)
    odds = np.exp(log_odds - log_odds.max())
    return rng.choice(own, DRAWS, p=odds / odds.sum())


def _between_images(part: Components, rng: np.random.Generator) -> Array:
    degrees = part.image_draws - 1.0
    return degrees * part.by_image / _chi_squared(degrees, rng)


def _measured_again(
    square: _Square, interaction: float, growth: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The mean square of the same seeds over more images (or of the same images over more seeds), and the part of it
    that is their own. Seeds keep their effects; the interaction in their means is averaged out as `growth` says."""
    own = np.maximum(0.0, square.true - interaction)
    if interaction == 0:
        return np.full(DRAWS, square.found), own
    share = own / (own + interaction)
    stays = (1 + (growth - 1) * share) / growth
    noise = ((growth - 1) / growth) ** 2 * interaction * (share + 1 / (growth - 1))
    moved = math.sqrt(square.degrees * square.found) * stays + np.sqrt(noise) * rng.standard_normal(DRAWS)
    return (moved**2 + noise * _chi_squared(square.degrees - 1, rng)) / square.degrees, own


def _chi_squared(degrees: float, rng: np.random.Generator) -> Array:
    """Also with no degrees of freedom, then 0."""
    return 2 * rng.standard_gamma(max(0.0, degrees) / 2, DRAWS)
