"""Power before running: what the interval would find, against simulated experiments with a known truth."""

import math

import numpy as np
import pytest
from support.verdict_simulation import World, noise
from support.verdict_simulation_planned import look_as_planned
from support.verdict_simulation_power import expected_spread, simulated_power
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.experiment import Spread as SpreadKind
from touchstone_contracts.power import ExpectedSpread, Spread, TargetSpread
from touchstone_verdict.intervals import components
from touchstone_verdict.power import (
    Design,
    Part,
    assumed_spread,
    found,
    needed,
    pooled_spread,
    power_of,
    smallest_difference,
    spread_of,
)
from touchstone_verdict.spending import levels

RUNS = 400
FEW_POINTS = 0.05
COMPARISON = Comparison(a="real", b="made")
SPREAD = Spread(seed_sd=0.01, image_sd=0.12, interaction_sd=0.25)


def design(
    seeds: int = 3,
    images: int = 300,
    spread: Spread = SPREAD,
    targets: int = 1,
    arms: int = 2,
    spread_from: SpreadKind = "own",
    **comparison: object,
) -> Design:
    asked = COMPARISON.model_copy(update={"spread": spread_from, **comparison})
    return Design((Part(spread, images),) * targets, seeds, asked, arms)


def expected(target: str = "flags", images: int = 241, **changes: object) -> ExpectedSpread:
    fields = {**SPREAD.model_dump(), "target": target, "test_images": images, "source": "assumed"}
    return ExpectedSpread.model_validate(fields | changes)


def test_with_declared_looks_the_power_is_that_of_the_last_one() -> None:
    once, planned, even = (
        found(asked, 0.03)
        for asked in (
            design(10, 1000),
            design(10, 1000, stopping="planned", looks=(3, 5, 7, 10)),
            design(10, 1000, stopping="planned", looks=(3, 5, 7, 10), spending="pocock"),
        )
    )
    assert once - 0.1 < planned < once
    assert even < planned
    strict = design(10, 1000, stopping="planned", looks=(3, 5, 7, 10))
    last = levels((3, 5, 7, 10), 1 - COMPARISON.confidence, "obrien_fleming")[-1]
    assert 1 - strict.confidence == pytest.approx(last)


@pytest.mark.parametrize("kind", ["own", "borrowed"])
def test_with_declared_looks_simulated_experiments_find_the_difference_as_often(kind: SpreadKind) -> None:
    world = World(10, 300, 0.1, 0.04)
    simulated = look_as_planned(world, RUNS, spread=kind).different
    planned = design(10, 300, expected_spread(0.1), spread_from=kind, stopping="planned", looks=(3, 5, 7, 10))
    assert abs(found(planned, 0.04) - simulated) <= FEW_POINTS + noise(simulated, RUNS)


@pytest.mark.parametrize(
    ("seeds", "images", "seed_sd"), [(2, 300, 0.1), (3, 300, 0.02), (3, 3000, 0.1), (5, 300, 0.1), (10, 1000, 0.1)]
)
@pytest.mark.parametrize("difference", [0.03, 0.08])
@pytest.mark.parametrize("kind", ["own", "borrowed"])
def test_the_power_is_the_share_of_simulated_experiments_that_find_the_difference(
    seeds: int, images: int, seed_sd: float, difference: float, kind: SpreadKind
) -> None:
    simulated = simulated_power(World(seeds, images, seed_sd, difference), kind, RUNS)
    computed = found(design(seeds, images, expected_spread(seed_sd), spread_from=kind), difference)
    assert abs(computed - simulated) <= FEW_POINTS + noise(computed, RUNS)


@pytest.mark.parametrize("setting", [(3, 3000, 0.02), (5, 300, 0.1)])
@pytest.mark.parametrize("kind", ["own", "borrowed"])
def test_the_smallest_difference_is_found_in_four_of_five_simulated_experiments(
    setting: tuple[int, int, float], kind: SpreadKind
) -> None:
    seeds, images, seed_sd = setting
    smallest = smallest_difference(design(seeds, images, expected_spread(seed_sd), spread_from=kind))
    assert smallest is not None
    share = simulated_power(World(seeds, images, seed_sd, smallest), kind, RUNS)
    assert abs(share - 0.8) <= FEW_POINTS + noise(0.8, RUNS)


def test_a_measured_comparison_gives_back_the_spread_it_was_made_with() -> None:
    made = Spread(seed_sd=0.03, image_sd=0.2, interaction_sd=0.3)
    rng = np.random.default_rng(0)
    seeds, images, squares = 4, 400, []
    for _ in range(200):
        between_images = made.image_sd / math.sqrt(2) * rng.standard_normal((2, 1, images))
        between_seeds = made.seed_sd * rng.standard_normal((2, seeds, 1))
        a, b = between_images + between_seeds + made.interaction_sd * rng.standard_normal((2, seeds, images))
        squares.append([value**2 for value in spread_of(components(a, b)).model_dump().values()])
    assert np.sqrt(np.mean(squares, axis=0)) == pytest.approx(list(made.model_dump().values()), rel=0.05)


def test_no_component_of_a_measured_spread_is_negative() -> None:
    same = np.tile(np.array([0.0, 1.0]), (3, 5))
    assert spread_of(components(same, same)) == Spread(seed_sd=0, image_sd=0, interaction_sd=0)


@pytest.mark.parametrize("stopping", ["fixed", "anytime"])
def test_more_seeds_images_and_targets_show_smaller_differences(stopping: str) -> None:
    designs = [
        design(seeds=3, images=300, stopping=stopping),
        design(seeds=6, images=300, stopping=stopping),
        design(seeds=6, images=3000, stopping=stopping),
        design(seeds=6, images=3000, targets=4, stopping=stopping),
    ]
    smallest = [shown for each in designs if (shown := smallest_difference(each)) is not None]
    assert smallest == sorted(set(smallest), reverse=True)
    assert len(smallest) == 4


def test_a_borrowed_spread_shows_more_the_more_arms_and_targets_there_are() -> None:
    cases: list[tuple[int, SpreadKind]] = [(2, "own"), (2, "borrowed"), (6, "borrowed")]
    own, two, six = (
        smallest_difference(design(images=3000, targets=2, arms=arms, spread_from=kind)) for arms, kind in cases
    )
    assert own is not None
    assert two is not None
    assert six is not None
    assert own > 1.05 * six
    assert two > 1.05 * six


def test_borrowed_is_what_is_computed_where_the_comparison_does_not_say() -> None:
    silent = design(spread_from="own", spread=SPREAD)
    silent = Design(silent.parts, silent.seeds, COMPARISON)
    assert found(silent, 0.05) == found(design(spread_from="borrowed"), 0.05) != found(design(), 0.05)


def test_looking_after_every_seed_costs_power() -> None:
    once, often = (smallest_difference(design(seeds=10, stopping=stopping)) for stopping in ("fixed", "anytime"))
    assert once is not None
    assert often is not None
    assert often > 1.5 * once


def test_a_higher_confidence_costs_power() -> None:
    assert found(design(confidence=0.99), 0.05) < found(design(), 0.05) < found(design(confidence=0.8), 0.05)


def test_one_seed_or_one_image_shows_nothing() -> None:
    for nothing in (design(seeds=1), design(images=1), design(seeds=2, stopping="anytime")):
        assert smallest_difference(nothing) is None
        assert found(nothing, 0.5) == 0


def test_without_any_spread_two_test_images_are_the_limit_of_what_shows() -> None:
    smallest = smallest_difference(design(images=100, spread=Spread(seed_sd=0, image_sd=0, interaction_sd=0)))
    assert smallest == pytest.approx(1.98 * 2 / 100, abs=0.001)


def test_what_is_needed_is_the_least_that_suffices() -> None:
    planned = design(seeds=5, images=1000)
    more = needed(planned, 0.025)
    assert more.seeds is not None
    assert more.test_images is not None
    assert more.seeds > 5
    assert more.test_images > 1000
    for enough, one_less in (
        (planned.with_more(seeds=more.seeds), planned.with_more(seeds=more.seeds - 1)),
        (
            planned.with_more(images=more.test_images / 1000),
            planned.with_more(images=more.test_images / 1000 / 1.02),
        ),
    ):
        assert found(enough, 0.025) >= 0.8 > found(one_less, 0.02)


def test_where_seeds_differ_much_more_test_images_alone_do_not_suffice() -> None:
    noisy = design(images=3000, spread=Spread(seed_sd=0.05, image_sd=0.1, interaction_sd=0.2))
    more = needed(noisy, 0.02)
    assert more.test_images is None
    assert more.seeds is not None


def test_where_neither_alone_suffices_both_are_raised_in_proportion() -> None:
    planned = design(seeds=3, images=241)
    more = needed(planned, 0.02)
    assert (more.seeds, more.test_images) == (None, None)
    assert more.both is not None
    seeds, images = more.both
    assert images == round(241 * seeds / 3)
    assert found(planned.with_more(seeds=seeds, images=seeds / 3), 0.02) >= 0.8
    assert found(planned.with_more(seeds=seeds - 1, images=(seeds - 1) / 3), 0.02) < 0.8


def test_what_no_reasonable_number_would_show_is_said_to_be_so() -> None:
    power = power_of(COMPARISON.model_copy(update={"delta": 0.0001}), 3, [expected()])
    assert power.warning is not None
    assert power.warning.endswith(
        "No number of seeds and test images within reason would show it: expect less, or raise delta."
    )


def test_a_delta_that_cannot_be_shown_is_warned_of_with_what_to_raise() -> None:
    power = power_of(COMPARISON.model_copy(update={"delta": 0.04}), 3, [expected()])
    assert power.smallest_difference is not None
    assert power.smallest_difference > 0.04
    assert power.warning is not None
    assert "The smallest difference that matters, 4.0 points, is smaller than that" in power.warning
    assert f"{power.seeds_for_delta} seeds per arm instead of 3" in power.warning
    shown = f"{100 * power.smallest_difference:.1f}"
    assert power.summary == (
        f"With 3 seeds and 241 test images, differences of about {shown} points or more would be found in four of five "
        "experiments."
    )


def test_a_delta_that_is_shown_needs_no_warning() -> None:
    power = power_of(COMPARISON.model_copy(update={"delta": 0.2}), 3, [expected()])
    assert power.smallest_difference is not None
    assert power.smallest_difference <= 0.2
    assert power.at_delta >= 0.8
    assert (power.warning, power.seeds_for_delta, power.test_images_for_delta) == (None, None, None)


def test_one_seed_is_told_in_words() -> None:
    power = power_of(COMPARISON, 1, [expected(), expected("broad", 500)])
    assert power.summary == (
        "With 1 seed and 741 test images, no difference can be found: an interval needs two seeds at least."
    )
    assert power.warning is not None


def test_where_spreads_come_from_is_said_target_by_target() -> None:
    known = expected(source="earlier", experiments=("exp_1", "exp_2"), same_kinds=True)
    power = power_of(COMPARISON, 3, [known, expected("broad"), expected("food")])
    assert power.basis == (
        "Spread between seeds and test images: as in 2 earlier experiments with this target and metric and these kinds "
        "of arms (flags); assumed, because no earlier experiment with this target and metric has a verdict (broad, "
        "food)."
    )


def test_spreads_are_pooled_as_variances_weighted_by_their_degrees_of_freedom() -> None:
    few, many = (
        TargetSpread(target="flags", seeds=seeds, test_images=100, seed_sd=sd, image_sd=0.1, interaction_sd=0.2)
        for seeds, sd in ((2, 0.04), (4, 0.02))
    )
    pooled = pooled_spread([few, many])
    assert pooled.seed_sd == pytest.approx(math.sqrt((0.04**2 + 3 * 0.02**2) / 4))
    assert pooled.image_sd == pytest.approx(0.1)


def test_probes_are_assumed_to_vary_less_between_seeds_than_zero_shot() -> None:
    assert assumed_spread("linear_probe").seed_sd < assumed_spread("zero_shot").seed_sd
