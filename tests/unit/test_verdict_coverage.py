"""The verdict's own evidence, by simulation with a known truth, over the grid of docs/verdict.md."""

import numpy as np
import pytest
from support.verdict_simulation import World, answers, coverage, look_after_every_seed, noise

RUNS = 1000
GRID = [(3, 100, 0.1), (3, 100, 0.4), (3, 1000, 0.1), (3, 1000, 0.4), (5, 300, 0.2), (10, 300, 0.2)]
"""Seeds, test images, standard deviation of the seed effect."""


@pytest.mark.parametrize(("seeds", "images", "seed_sd"), GRID)
@pytest.mark.parametrize("difference", [0.0, 0.06])
def test_ninety_five_percent_intervals_cover_the_truth_as_often_as_they_say(
    seeds: int, images: int, seed_sd: float, difference: float
) -> None:
    covered = coverage(World(seeds, images, seed_sd, difference), RUNS)
    assert 0.93 - noise(0.93, RUNS) <= covered <= 0.97 + noise(0.97, RUNS)


def test_over_the_whole_grid_coverage_is_close_to_nominal() -> None:
    """2,400 runs together: a standard error of 0.4 points."""
    assert 0.945 <= np.mean([coverage(World(*setting), 400) for setting in GRID]) <= 0.97


def test_without_any_seed_effect_the_interval_errs_on_the_wide_side_only() -> None:
    assert 0.95 <= coverage(World(3, 300, 0.0), RUNS) <= 0.995


@pytest.mark.parametrize("setting", [(3, 300, 0.1), (3, 1000, 0.4), (10, 300, 0.2)])
@pytest.mark.parametrize("difference", [0.0, 0.06])
def test_where_arms_draw_the_same_images_the_interval_errs_on_the_wide_side_only(
    setting: tuple[int, int, float], difference: float
) -> None:
    assert coverage(World(*setting, difference, paired=True), RUNS) >= 0.95 - noise(0.95, RUNS)


@pytest.mark.parametrize("setting", [(3, 300, 0.2), (5, 100, 0.4), (10, 300, 0.2)])
def test_an_arm_against_itself_is_called_different_at_most_one_time_in_twenty(setting: tuple[int, int, float]) -> None:
    found = answers(World(*setting), RUNS)
    assert found.get("a_better", 0) + found.get("b_better", 0) <= 0.05 + noise(0.05, RUNS)


def test_a_difference_just_as_large_as_delta_is_seldom_called_no_difference() -> None:
    found = answers(World(3, 4000, 0.05, 0.0138), 400, delta=0.0138)
    assert found.get("no_difference", 0) <= 0.05 + noise(0.05, 400)


def test_power_grows_with_the_difference_and_with_the_seeds() -> None:
    def found(seeds: int, difference: float) -> float:
        return answers(World(seeds, 1000, 0.1, difference), 300).get("a_better", 0)

    assert found(3, 0.02) < found(3, 0.05) < found(3, 0.10)
    assert found(3, 0.05) + 0.2 < found(10, 0.05)
    assert found(10, 0.10) >= 0.95


# ------------------------------------------------------------------------------------------------ looking often


@pytest.mark.parametrize(("images", "seed_sd"), [(300, 0.1), (1000, 0.02), (1000, 0.2)])
@pytest.mark.parametrize("difference", [0.0, 0.06])
def test_looking_after_every_seed_misses_the_truth_at_most_one_time_in_twenty(
    images: int, seed_sd: float, difference: float
) -> None:
    looks = look_after_every_seed(World(15, images, seed_sd, difference), 300)
    assert looks.missed <= 0.05 + noise(0.05, 300)


def test_the_fixed_interval_would_not_survive_such_looking() -> None:
    assert look_after_every_seed(World(15, 1000, 0.1), 300, anytime=False).missed > 0.08


def test_a_large_difference_stops_early_and_none_at_all_seldom_stops() -> None:
    large, none = (look_after_every_seed(World(15, 1000, 0.05, gap), 200) for gap in (0.15, 0.0))
    assert large.stopped >= 0.95
    assert large.seeds_at_stop <= 8
    assert none.stopped <= 0.05 + noise(0.05, 200)
