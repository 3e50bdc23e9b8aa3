"""Targets as a sample: against published numbers and by simulation with a known population."""

import numpy as np
import pytest
from scipy.special import stdtrit
from support.small_evidence import correct, evidence
from support.verdict_simulation import noise
from support.verdict_simulation_targets import Population, coverage_of_targets
from touchstone_contracts.views import Verdict
from touchstone_verdict.curves import Curve
from touchstone_verdict.intervals import Estimate
from touchstone_verdict.judge import judge_evidence
from touchstone_verdict.sampled_targets import SampledTargets, sampled_targets

KACKER = SampledTargets(
    np.array([61.00, 61.40, 62.21, 62.30, 62.34, 62.60, 62.70, 62.84, 65.90]),
    np.array([0.2025, 1.2100, 0.0900, 0.2025, 0.3844, 0.5625, 0.0676, 0.0225, 1.8225]),
)
"""Kacker (2004), Metrologia 41, table 1, first row: nine laboratories."""


def estimate(difference: float, error: float = 0.01) -> Estimate:
    return Estimate(difference, error**2, error**4 / 10)


def test_the_variance_between_targets_is_the_published_one_of_paule_and_mandel() -> None:
    assert KACKER.between == pytest.approx(0.8399, abs=6e-5)


def test_the_mean_and_its_interval_are_those_of_statsmodels() -> None:
    """`combine_effects(method_re="iterated", use_t=True)`, version 0.14: the Hartung-Knapp-Sidik-Jonkman interval."""
    assert KACKER.mean == pytest.approx(62.407620, abs=1e-5)
    half = float(stdtrit(8, 0.975)) * KACKER.error
    assert (KACKER.mean - half, KACKER.mean + half) == pytest.approx((61.628120, 63.187120), abs=1e-5)


def test_targets_that_agree_better_than_chance_do_not_narrow_the_interval() -> None:
    same = sampled_targets([estimate(0.03), estimate(0.03), estimate(0.03)])
    assert same is not None
    assert same.between == 0
    low, high = same.interval(0.95)
    assert high - low == pytest.approx(2 * float(stdtrit(2, 0.975)) * 0.01 / np.sqrt(3))


def test_the_interval_for_a_new_target_is_wider_than_the_one_for_the_mean() -> None:
    apart = sampled_targets([estimate(-0.05), estimate(0.03), estimate(0.08), estimate(0.02)])
    assert apart is not None
    mean, new = apart.interval(0.95), apart.prediction(0.95, np.random.default_rng(0))
    assert new[0] < mean[0] < apart.mean < mean[1] < new[1]


def test_p_values_say_the_same_as_the_interval() -> None:
    for shift in (-0.06, 0.0, 0.03, 0.06):
        found = sampled_targets([estimate(shift - 0.01), estimate(shift), estimate(shift + 0.02)])
        assert found is not None
        low, high = found.interval(0.95)
        assert (found.p_value <= 0.05) == (low > 0 or high < 0)


@pytest.mark.parametrize("few", [[estimate(0.1)] * 2, [estimate(0.1), estimate(0.1), Estimate(0.1, np.inf, np.inf)]])
def test_two_targets_or_an_unknown_variance_are_no_sample(few: list[Estimate]) -> None:
    assert sampled_targets(few) is None


# ------------------------------------------------------------------------------------------------ simulation

RUNS = 250


@pytest.mark.parametrize("population", [Population(3, 0.02), Population(5, 0.05), Population(10, 0.02)])
def test_intervals_for_the_population_and_for_a_new_target_cover_the_truth(population: Population) -> None:
    found = coverage_of_targets(population, RUNS)
    assert found.mean >= 0.93 - noise(0.93, RUNS)
    assert found.new_target >= 0.93 - noise(0.93, RUNS)


def test_the_interval_for_these_targets_is_no_interval_for_targets_like_them() -> None:
    assert coverage_of_targets(Population(5, 0.05), RUNS).fixed < 0.85


# ------------------------------------------------------------------------------------------------ the verdict


def judged(real: tuple[float, ...]) -> Verdict:
    """Targets at which `made` gets half of the images right and `real` this share."""
    names = tuple(f"t{number}" for number in range(len(real)))
    curves = {}
    for number, (name, share) in enumerate(zip(names, real, strict=True)):
        curves[name, "zero_shot", "real"] = Curve((10, 20), correct(share, seed=2 * number))
        curves[name, "zero_shot", "made"] = Curve((10, 20), correct(0.5, seed=2 * number + 1))
    return judge_evidence(evidence(curves, targets=names))


def test_the_headline_says_of_which_targets_it_is_and_what_holds_for_targets_like_them() -> None:
    verdict = judged((0.9, 0.5, 0.7))
    assert "real beats made by" in verdict.headline
    assert "on these 3 targets" in verdict.headline
    assert "On targets like these, it is undecided which is better: real minus made" in verdict.headline
    assert verdict.target_sample is not None
    assert (verdict.answer, verdict.target_sample.answer) == ("a_better", "undecided")
    assert verdict.target_sample.new_low <= verdict.target_sample.low <= verdict.target_sample.high


def test_targets_that_agree_make_a_claim_about_targets_like_them() -> None:
    verdict = judged((0.8, 0.78, 0.82, 0.8))
    assert verdict.target_sample is not None
    assert verdict.target_sample.answer == "a_better"
    assert "On targets like these, real is better than made on average" in verdict.headline


@pytest.mark.parametrize("shares", [(0.8,), (0.8, 0.7)])
def test_one_or_two_targets_say_nothing_of_others(shares: tuple[float, ...]) -> None:
    verdict = judged(shares)
    assert verdict.target_sample is None
    assert "targets like these" not in verdict.headline
    assert ("on these 2 targets" in verdict.headline) == (len(shares) == 2)
