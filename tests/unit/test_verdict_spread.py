"""The interval that borrows its spread between seeds, by simulation with a known truth, and at its edges."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import chi, t
from support.verdict_simulation import noise
from support.verdict_simulation_spread import EQUAL, ORDINARY, Laboratory, false_calls, qualities
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import ComparisonResult, Interval, Verdict
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.curves import Curve, Curves
from touchstone_verdict.evidence import Evidence
from touchstone_verdict.intervals import SeedSpread, components, seed_spread
from touchstone_verdict.judge import judge_evidence

RUNS = 300
NOBODY: Mapping[str, SeedSpread] = {}


@pytest.mark.parametrize(
    ("name", "widest"),
    [
        ("2 seeds, 4 targets x 2 arms", 1.6),
        ("3 seeds, 4 targets x 2 arms", 1.3),
        ("3 seeds, 2 targets x 2 arms", 1.3),
        ("3 seeds, 1 target x 4 arms", 1.3),
    ],
)
def test_it_covers_the_truth_as_often_as_it_says_and_is_hardly_wider_than_if_the_spread_were_known(
    name: str, widest: float
) -> None:
    own, borrowed = qualities(ORDINARY[name], RUNS)
    assert 0.93 - noise(0.93, RUNS) <= borrowed.covered <= 0.97 + noise(0.97, RUNS)
    assert borrowed.width <= widest
    assert borrowed.width < own.width


def narrowest(degrees: int, confidence: float) -> float:
    """Mean width of Student's interval relative to the oracle's: what is possible where every cell is known to vary
    equally and test images add no noise."""
    mean_sd = float(chi.mean(degrees)) / math.sqrt(degrees)
    return float(t.ppf((1 + confidence) / 2, degrees)) * mean_sd / 1.96


@pytest.mark.parametrize(
    ("seeds", "told"), [(2, {0.93: 1.62, 0.95: 1.95, 0.97: 2.55}), (3, {0.93: 1.18, 0.95: 1.33, 0.97: 1.58})]
)
def test_with_two_arms_alone_it_is_hardly_wider_than_any_interval_must_be(seeds: int, told: dict[float, float]) -> None:
    degrees = 2 * (seeds - 1)
    assert {confidence: round(narrowest(degrees, confidence), 2) for confidence in told} == told  # docs/verdict.md
    _, borrowed = qualities(ORDINARY[f"{seeds} seeds, 1 target x 2 arms, seeds matter much"], RUNS)
    assert borrowed.width <= 1.15 * narrowest(degrees, 0.95)


def test_with_two_arms_alone_it_errs_on_the_wide_side() -> None:
    _, borrowed = qualities(ORDINARY["2 seeds, 1 target x 2 arms"], RUNS)
    assert borrowed.covered >= 0.95 - noise(0.95, RUNS)


def test_a_target_much_noisier_than_its_neighbours_keeps_most_of_its_own_spread() -> None:
    noisy = Laboratory(3, 1000, 0.05, targets=7, noisier=((0, 0, 4.0), (0, 1, 4.0)))
    _, borrowed = qualities(noisy, RUNS)
    assert borrowed.covered >= 0.90 - noise(0.90, RUNS)  # 0.87 where cells are drawn from one normal distribution


def test_over_four_hundred_experiments_equal_arms_are_called_different_at_most_one_time_in_twenty() -> None:
    calls = np.mean([false_calls(world, 100).borrowed for world in EQUAL])
    assert calls <= 0.05 + noise(0.05, 400)


def test_the_mean_over_targets_covers_the_truth() -> None:
    laboratory = Laboratory(2, 300, 0.1, targets=4, tau=0.35)
    _, borrowed = qualities(laboratory, RUNS, targets=4)
    assert 0.93 - noise(0.93, RUNS) <= borrowed.covered <= 0.98
    assert borrowed.width <= 1.6


# ------------------------------------------------------------------------------------------------ edges


def arms(seeds: int = 3, images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return (rng.random((seeds, images)) < 0.7).astype(float), (rng.random((seeds, images)) < 0.6).astype(float)


def borrowed_from(a: np.ndarray, b: np.ndarray, others: Mapping[str, SeedSpread] = NOBODY) -> BorrowedEstimate:
    cells = {("flags", "a"): seed_spread(a), ("flags", "b"): seed_spread(b)}
    cells |= {("flags", name): spread for name, spread in others.items()}
    return borrowed_estimate({"flags": (components(a, b), ("a", "b"))}, SharedSpread(cells))


def test_the_same_measurements_give_the_same_interval_to_the_last_digit() -> None:
    assert borrowed_from(*arms()).interval(0.95) == borrowed_from(*arms()).interval(0.95)


def test_one_seed_of_every_arm_leaves_everything_open() -> None:
    estimate = borrowed_from(*arms(seeds=1))
    assert (estimate.interval(0.95), estimate.p_value, estimate.degrees_of_freedom) == ((-1.0, 1.0), 1.0, 0.0)
    assert not estimate.known


def test_steady_neighbours_narrow_the_interval_and_restless_ones_widen_it() -> None:
    def width(sd: float) -> float:
        others = {f"arm{number}": SeedSpread(sd**2, 1e-5, 3) for number in range(6)}
        low, high = borrowed_from(*arms(seeds=2), others).interval(0.95)
        return float(high - low)

    assert width(0.004) < width(0.03) < width(0.1)


def test_the_p_value_and_the_interval_agree() -> None:
    estimate = borrowed_from(*arms())
    low, high = estimate.interval(1 - estimate.p_value)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------------------------------------ in the verdict


def verdict_by(**comparison: object) -> Verdict:
    rng = np.random.default_rng(1)
    curves: Curves = {
        (target, "zero_shot", arm): Curve((10,), rng.random((1, 3, 300)) < level)
        for target in ("flags", "birds")
        for arm, level in (("real", 0.66), ("made", 0.6))
    }
    return judge_evidence(
        Evidence(
            comparison=Comparison.model_validate({"a": "real", "b": "made"} | comparison),
            targets=("birds", "flags"),
            metrics=("zero_shot",),
            sizes=(10,),
            arms=("real", "made"),
            baseline=None,
            curves=curves,
            results_digest=sha256(b"rows"),
        )
    )


def shown(result: ComparisonResult) -> Interval:
    return Interval(
        low=result.low, high=result.high, degrees_of_freedom=result.degrees_of_freedom, p_value=result.p_value
    )


def test_both_intervals_are_shown_and_the_declared_one_decides() -> None:
    own, borrowed, unsaid = verdict_by(spread="own"), verdict_by(spread="borrowed"), verdict_by()
    assert own.primary.own == borrowed.primary.own == shown(own.primary)
    assert own.primary.borrowed == borrowed.primary.borrowed == shown(borrowed.primary)
    assert own.primary.low != borrowed.primary.low
    assert "From the two arms alone the 95 % interval is" in borrowed.warnings[-1]
    assert not any("From the two arms alone" in warning for warning in own.warnings)
    assert (own.decided_by, borrowed.decided_by, unsaid.decided_by) == ("own", "borrowed", "borrowed")


def test_secondary_comparisons_follow_the_declared_interval_too() -> None:
    found = verdict_by(spread="borrowed").secondary
    assert [shown(entry) for entry in found] == [entry.borrowed for entry in found]
    assert len(found) == 2


def test_an_interval_for_looking_often_borrows_nothing() -> None:
    primary = verdict_by(stopping="anytime").primary
    assert (primary.own, primary.borrowed) == (None, None)
