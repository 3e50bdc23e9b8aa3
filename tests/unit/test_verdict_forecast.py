"""The chance that more seeds or test images decide: its rules, and whether what it gave a chance came true as often."""

from dataclasses import replace

import numpy as np
import pytest
from support.verdict_simulation_forecast import Continuation, reliability
from touchstone_contracts.views import ComparisonResult, DecisionChance
from touchstone_verdict.anytime import SeedSequence
from touchstone_verdict.borrowed import SharedSpread, borrowed_estimate
from touchstone_verdict.claims import chance_words
from touchstone_verdict.forecast import ENOUGH, Levels, chance_of_deciding, chances, chances_at_any_time
from touchstone_verdict.intervals import Components, SeedSpread

LEVELS = Levels(0.05, 0.05)
NOISY_SEEDS = Components(0.02, by_seed=2e-4, by_image=1e-6, interaction=0.0, seed_degrees=4, seeds=3, images=1000)
NOISY_IMAGES = Components(0.02, by_seed=1e-6, by_image=3e-4, interaction=0.0, seed_degrees=4, seeds=3, images=200)


def chance(part: Components, more: str, growth: float) -> float:
    rng = np.random.default_rng(0)
    return chance_of_deciding([part], more, growth, 0.01, LEVELS, rng)  # type: ignore[arg-type]  # the test names it


def test_what_the_noise_is_of_is_what_helps() -> None:
    assert chance(NOISY_SEEDS, "seeds", 4) > 0.5 > 0.1 > chance(NOISY_SEEDS, "images", 4)
    assert chance(NOISY_IMAGES, "images", 8) > 0.5 > chance(NOISY_IMAGES, "seeds", 8)


def test_the_chance_grows_with_the_seeds() -> None:
    found = [chance(NOISY_SEEDS, "seeds", growth) for growth in (4 / 3, 2, 4, 10)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.3


def test_the_fewest_seeds_that_give_enough_are_named_beside_twice_the_seeds() -> None:
    twice, enough = (each for each in chances([NOISY_SEEDS], 0.01, 0.95, seed=1) if each.more == "seeds")
    assert twice.count == 6 < enough.count
    assert twice.chance < ENOUGH <= enough.chance
    fewer = chance_of_deciding([NOISY_SEEDS], "seeds", (enough.count - 1) / 3, 0.01, LEVELS, np.random.default_rng(1))
    assert fewer < ENOUGH


def test_where_nothing_gives_enough_only_twice_is_named() -> None:
    found = [each for each in chances([NOISY_SEEDS], 0.01, 0.95, seed=1) if each.more == "images"]
    assert [each.count for each in found] == [2000]


def test_the_same_measurements_give_the_same_chances() -> None:
    assert chances([NOISY_SEEDS] * 2, 0.01, 0.95, seed=3) == chances([NOISY_SEEDS] * 2, 0.01, 0.95, seed=3)


def test_two_seeds_and_spreads_of_nothing_have_chances_too() -> None:
    still = Components(0.0, by_seed=0.0, by_image=0.0, interaction=0.0, seed_degrees=2, seeds=2, images=100)
    assert all(0 <= each.chance <= 1 for each in chances([still], 0.01, 0.95, seed=1))


def test_images_that_were_drawn_together_are_few_draws() -> None:
    together = replace(NOISY_IMAGES, clusters=4)
    assert chance(together, "images", 8) < chance(NOISY_IMAGES, "images", 8)


def test_a_borrowed_spread_is_worth_more_degrees_of_freedom_and_keeps_the_difference() -> None:
    spread = SeedSpread(2e-4, 0.0, 2)
    part = Components(0.02, 2e-4, 1e-6, 0.0, seed_degrees=2, seeds=2, images=1000, spreads=(spread, spread))
    cells = {(target, arm): spread for target in ("flags", "birds", "cars") for arm in ("real", "made")}
    (seen,) = borrowed_estimate({"flags": (part, ("real", "made"))}, SharedSpread(cells)).parts
    assert (seen.difference, seen.by_image, seen.seeds) == (part.difference, part.by_image, part.seeds)
    assert seen.seed_degrees > part.seed_degrees
    assert 1e-4 < seen.by_seed < 4e-4


def test_looking_at_any_time_takes_more_seeds() -> None:
    sequence = SeedSequence(0.02, 4e-4, 4, image_variance=1e-7, images=10_000)
    fixed = Components(0.02, by_seed=1e-4, by_image=1e-7, interaction=0.0, seed_degrees=6, seeds=4, images=10_000)
    anytime = chances_at_any_time(sequence, 0.01, 0.95, seed=1)
    assert [each.more for each in anytime] == ["seeds"] * len(anytime)
    assert (
        anytime[-1].count > next(each for each in chances([fixed], 0.01, 0.95, seed=1) if each.chance >= ENOUGH).count
    )


# ------------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize(
    "continuation",
    [
        Continuation(2, 1000, "seeds", 3),
        Continuation(3, 300, "seeds", 2),
        Continuation(5, 300, "images", 4),
        Continuation(3, 300, "seeds", 2, "borrowed", targets=4),
        Continuation(3, 1000, "seeds", 2, "borrowed"),
    ],
)
def test_what_was_given_a_chance_comes_true_about_as_often(continuation: Continuation) -> None:
    """Within ten points, over experiments whose true differences and spreads between seeds vary; and their noise."""
    bins = reliability(continuation.forecasts(40))
    assert len(bins) >= 3
    for found in bins:
        assert abs(found.forecast - found.came_true) <= 0.10 + 2 * np.sqrt(0.25 / found.experiments), found


# ------------------------------------------------------------------------------------------------ words


def primary(seeds: int = 3, test_images: int = 500) -> ComparisonResult:
    return ComparisonResult(
        target=None, size=None, metric="zero_shot", difference=0.01, low=-0.01, high=0.03, degrees_of_freedom=4,
        p_value=0.3, answer="undecided", seeds=seeds, test_images=test_images,
    )  # fmt: skip


def test_chances_are_said_to_the_nearest_five_percent() -> None:
    found = (
        DecisionChance(seeds=6, chance=0.587),
        DecisionChance(seeds=9, chance=0.8),
        DecisionChance(test_images=1000, chance=0.031),
    )
    assert chance_words(found, primary()) == (
        "With 6 seeds per arm instead of 3 the chance of a decision is about 60 %; with 9 seeds per arm it is about "
        "80 %. With about 1000 test images instead of 500 the chance of a decision is below 5 %."
    )


def test_what_is_almost_certain_is_not_called_certain() -> None:
    assert chance_words([DecisionChance(seeds=4, chance=0.999)], primary()).endswith("is above 95 %.")
