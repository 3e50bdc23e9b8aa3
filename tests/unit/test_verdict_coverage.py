"""The interval's own evidence: coverage of a known true difference, by simulation, over the grid of docs/verdict.md."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from touchstone_api.verdict.decide import answer_of
from touchstone_api.verdict.intervals import Correctness, components

IMAGE, ARM_BY_IMAGE, INTERACTION = 1.0, 0.3, 0.3
"""Standard deviations of the probit model's effects, except the seed's, which the grid varies."""
RUNS = 1000
MONTE_CARLO = 2 * math.sqrt(0.95 * 0.05 / RUNS)
GRID = [(3, 100, 0.1), (3, 100, 0.4), (3, 1000, 0.1), (3, 1000, 0.4), (5, 300, 0.2), (10, 300, 0.2)]
"""Seeds, test images, standard deviation of the seed effect."""


def draw(rng: np.random.Generator, level: float, image: np.ndarray, seeds: int, seed_sd: float) -> Correctness:
    """Correct wherever a normal effect exceeds a normal noise of variance 1: a probit model (seeds, images)."""
    effect = level + image + ARM_BY_IMAGE * rng.standard_normal(len(image), dtype=np.float32)
    effect = effect + seed_sd * rng.standard_normal((seeds, 1), dtype=np.float32)
    noise = math.sqrt(1 + INTERACTION**2) * rng.standard_normal((seeds, len(image)), dtype=np.float32)
    return (effect > noise).astype(np.float64)


def true_accuracy(level: float, seed_sd: float) -> float:
    """Over all images and seeds; a probit integrates in closed form."""
    spread = 1 + IMAGE**2 + ARM_BY_IMAGE**2 + INTERACTION**2 + seed_sd**2
    return float(ndtr(level / math.sqrt(spread)))


def coverage(seeds: int, images: int, seed_sd: float, gap: float) -> float:
    rng = np.random.default_rng([seeds, images, int(seed_sd * 100), int(gap * 100)])
    truth = true_accuracy(0.4 + gap, seed_sd) - true_accuracy(0.4, seed_sd)
    covered = 0
    for _ in range(RUNS):
        image = IMAGE * rng.standard_normal(images, dtype=np.float32)
        a, b = draw(rng, 0.4 + gap, image, seeds, seed_sd), draw(rng, 0.4, image, seeds, seed_sd)
        low, high = components(a, b).estimate().interval(0.95)
        covered += low <= truth <= high
    return covered / RUNS


@pytest.mark.parametrize(("seeds", "images", "seed_sd"), GRID)
@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_ninety_five_percent_intervals_cover_the_truth_as_often_as_they_say(
    seeds: int, images: int, seed_sd: float, gap: float
) -> None:
    assert 0.93 - MONTE_CARLO / 2 <= coverage(seeds, images, seed_sd, gap) <= 0.98 + MONTE_CARLO / 2


def test_without_any_seed_effect_the_interval_errs_on_the_wide_side_only() -> None:
    assert 0.95 <= coverage(seeds=3, images=300, seed_sd=0.0, gap=0.0) <= 0.995


@pytest.mark.parametrize(("seeds", "images", "seed_sd"), [(3, 300, 0.2), (5, 100, 0.4)])
def test_an_arm_against_itself_is_called_different_at_most_one_time_in_twenty(
    seeds: int, images: int, seed_sd: float
) -> None:
    rng = np.random.default_rng(7)
    calls = 0
    for _ in range(RUNS):
        image = IMAGE * rng.standard_normal(images, dtype=np.float32)
        a, b = (draw(rng, 0.4, image, seeds, seed_sd) for _ in range(2))
        calls += answer_of(components(a, b).estimate(), delta=0.01, confidence=0.95) in ("a_better", "b_better")
    assert calls / RUNS <= 0.05 + MONTE_CARLO


def test_a_difference_just_as_large_as_delta_is_seldom_called_no_difference() -> None:
    rng = np.random.default_rng(11)
    gap = 0.05
    delta = true_accuracy(0.4 + gap, 0.05) - true_accuracy(0.4, 0.05)
    calls = 0
    for _ in range(400):
        image = IMAGE * rng.standard_normal(4000, dtype=np.float32)
        a, b = draw(rng, 0.4 + gap, image, 3, 0.05), draw(rng, 0.4, image, 3, 0.05)
        calls += answer_of(components(a, b).estimate(), delta, confidence=0.95) == "no_difference"
    assert calls / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
