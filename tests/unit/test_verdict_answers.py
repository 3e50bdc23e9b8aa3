"""Answers, Holm, exchange rate and baseline on arrays small enough to know the truth."""

import math
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from support.small_evidence import correct, evidence
from touchstone_contracts.problems import Unfair
from touchstone_contracts.views import Verdict
from touchstone_verdict.answers import answer_of, holm
from touchstone_verdict.curves import Curve
from touchstone_verdict.exchange_rate import exchange_rate, monotone
from touchstone_verdict.intervals import Estimate, components
from touchstone_verdict.judge import judge_evidence
from touchstone_verdict.learning_rates import Choices, check_learning_rates


def two_arms(real: float, made: float, **shape: int) -> dict[tuple[str, str, str], Curve]:
    return {
        ("flags", "zero_shot", "real"): Curve((10, 20), correct(real, seed=1, **shape)),
        ("flags", "zero_shot", "made"): Curve((10, 20), correct(made, seed=2, **shape)),
    }


# ------------------------------------------------------------------------------------------------ intervals


def test_the_variance_is_seeds_plus_images_minus_their_interaction() -> None:
    rng = np.random.default_rng(5)
    a = (rng.random((4, 200)) < np.linspace(0.2, 0.9, 4)[:, None]).astype(float)
    b = (rng.random((3, 200)) < 0.5).astype(float)
    residual = [c - c.mean(1, keepdims=True) - c.mean(0) + c.mean() for c in (a, b)]
    interaction = sum((r**2).sum() / ((len(r) - 1) * 199) / (len(r) * 200) for r in residual)
    seeds = a.mean(1).var(ddof=1) / 4 + b.mean(1).var(ddof=1) / 3
    images = (a.mean(0) - b.mean(0)).var(ddof=1) / 200
    assert components(a, b).estimate().variance == pytest.approx(seeds + images - interaction)


def test_one_seed_leaves_everything_open() -> None:
    estimate = components(correct(0.9, sizes=1, seeds=1)[0] * 1.0, correct(0.1, sizes=1, seeds=1)[0] * 1.0).estimate()
    assert (estimate.interval(0.95), estimate.p_value, estimate.degrees_of_freedom) == ((-1.0, 1.0), 1.0, 0.0)
    assert answer_of(estimate, 0.01, 0.95) == "undecided"


def test_perfect_agreement_on_few_images_does_not_prove_equality() -> None:
    low, high = components(np.ones((3, 50)), np.ones((3, 50))).estimate().interval(0.95)
    assert low == -high
    assert high == pytest.approx(1 - 0.025 ** (1 / 50), rel=0.15)  # the exact bound on unseen disagreements


def test_perfect_agreement_on_many_images_is_no_difference() -> None:
    assert answer_of(components(np.ones((3, 4000)), np.ones((3, 4000))).estimate(), 0.01, 0.95) == "no_difference"


def test_arms_tested_on_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        components(np.ones((3, 10)), np.ones((3, 11)))


def test_pooling_adds_variances_and_shrinks_by_the_square_of_the_targets() -> None:
    one = Estimate(0.1, 0.04, 0.0008)
    pooled = Estimate.pooled([one, Estimate(0.3, 0.04, 0.0008)])
    assert pooled.difference == pytest.approx(0.2)
    assert pooled.variance == pytest.approx(0.02)
    assert pooled.degrees_of_freedom == pytest.approx(2 * one.degrees_of_freedom)


# ------------------------------------------------------------------------------------------------ decisions


@pytest.mark.parametrize(
    ("difference", "error", "answer"),
    [(0.05, 0.01, "a_better"), (-0.05, 0.01, "b_better"), (0.001, 0.002, "no_difference"), (0.01, 0.02, "undecided")],
)
def test_each_answer_has_its_region(difference: float, error: float, answer: str) -> None:
    assert answer_of(Estimate(difference, error**2, error**4 / 100), delta=0.01, confidence=0.95) == answer


def test_holm_steps_down_and_keeps_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# ------------------------------------------------------------------------------------------------ exchange rate


def steps(sizes: tuple[int, ...], accuracies: tuple[float, ...], images: int = 100) -> Curve:
    """Every seed gets exactly the first `accuracy` x images right: a curve without noise between seeds."""
    right = np.array([[np.arange(images) < a * images] * 3 for a in accuracies])
    return Curve(sizes, right)


def rate_of(a: Curve, b: Curve, size: int):  # type: ignore[no-untyped-def]  # Rate, for the asserts below
    return exchange_rate(a, b, size, 0.95, np.random.default_rng(0))


def test_an_arm_shifted_by_a_factor_four_is_worth_a_quarter() -> None:
    real = steps((10, 100, 1000), (0.2, 0.4, 0.6))
    made = steps((40, 400, 4000), (0.2, 0.4, 0.6))
    assert rate_of(real, made, 100).images == pytest.approx(400)
    assert rate_of(real, made, 10).images == pytest.approx(40)


def test_between_sizes_the_rate_is_interpolated_in_the_logarithm() -> None:
    assert rate_of(steps((10,), (0.5,)), steps((10, 1000), (0.4, 0.6)), 10).images == pytest.approx(100)


def test_beyond_the_measured_sizes_the_rate_is_censored_never_extrapolated() -> None:
    real, made = steps((10, 100), (0.5, 0.9)), steps((10, 100), (0.2, 0.3))
    above, below = rate_of(real, made, 100), rate_of(made, real, 10)
    assert (above.images, above.more_than, above.low, above.high) == (None, 100.0, 100.0, None)
    assert (below.images, below.at_most, below.low, below.high) == (None, 10.0, None, 10.0)


def test_the_interval_of_the_rate_contains_the_rate() -> None:
    real = Curve((10, 100), np.stack([correct(p, sizes=1, seed=i)[0] for i, p in enumerate((0.4, 0.5))]))
    made = Curve((10, 1000), np.stack([correct(p, sizes=1, seed=9 + i)[0] for i, p in enumerate((0.3, 0.7))]))
    rate = rate_of(real, made, 100)
    assert rate.low is not None
    assert rate.high is not None
    assert rate.low <= rate.images <= rate.high


def test_the_monotone_fit_is_isotonic_least_squares() -> None:
    from sklearn.isotonic import isotonic_regression

    rng = np.random.default_rng(2)
    curves = rng.random((20, 6))
    for curve, fitted in zip(curves, monotone(curves), strict=True):
        assert fitted == pytest.approx(isotonic_regression(curve))


# ------------------------------------------------------------------------------------------------ the judge


def test_a_clear_winner_is_named_with_the_interval() -> None:
    verdict = judge_evidence(evidence(two_arms(0.8, 0.5)))
    assert verdict.answer == "a_better"
    assert verdict.headline.startswith("real beats made by ")
    assert verdict.primary.low > 0
    assert (verdict.primary.seeds, verdict.primary.test_images) == (3, 400)
    assert verdict.would_decide is None


def test_the_loser_first_gives_the_mirror_image() -> None:
    forward = judge_evidence(evidence(two_arms(0.5, 0.8)))
    assert forward.answer == "b_better"
    assert forward.headline.startswith("made beats real by ")
    assert "interval −" not in forward.headline  # winner minus loser reads as a positive range


def test_an_undecided_verdict_says_what_would_decide() -> None:
    verdict = judge_evidence(evidence(two_arms(0.52, 0.5, images=100)))
    assert verdict.answer == "undecided"
    assert verdict.would_decide is not None
    assert re.match(
        r"With 6 seeds per arm instead of 3 the chance of a decision is (about|below)", verdict.would_decide
    )
    assert re.search(r"With about 200 test images instead of 100 the chance of a decision is", verdict.would_decide)
    assert [(entry.seeds, entry.test_images) for entry in verdict.chances][:1] == [(6, None)]
    assert all(0 <= entry.chance <= 1 for entry in verdict.chances)


def test_one_seed_is_judged_honestly() -> None:
    verdict = judge_evidence(evidence(two_arms(0.9, 0.2, seeds=1)))
    assert (verdict.answer, verdict.primary.low, verdict.primary.high) == ("undecided", -1.0, 1.0)
    assert any("One seed" in warning for warning in verdict.warnings)
    assert "At least 2 seeds" in (verdict.would_decide or "")
    assert math.isfinite(verdict.primary.degrees_of_freedom)  # JSON has no infinity


def test_only_sizes_both_arms_reached_are_compared_and_said_so() -> None:
    curves = two_arms(0.8, 0.5)
    curves["flags", "zero_shot", "made"] = Curve((10,), correct(0.5, sizes=1, seed=2))
    verdict = judge_evidence(evidence(curves))
    small = components(curves["flags", "zero_shot", "real"].averaged([10]), correct(0.5, sizes=1, seed=2)[0] * 1.0)
    assert verdict.primary.difference == pytest.approx(small.difference)
    assert any("left out: 20" in warning for warning in verdict.warnings)


def test_a_target_without_a_common_size_is_left_out_and_said_so() -> None:
    verdict = judge_evidence(evidence(two_arms(0.8, 0.5), targets=("flags", "birds")))
    assert verdict.primary.test_images == 400
    assert any(warning.startswith("birds: left out") for warning in verdict.warnings)


def test_nothing_in_common_is_an_error_not_a_verdict() -> None:
    with pytest.raises(Unfair) as caught:
        judge_evidence(evidence({}))
    assert caught.value.code == "nothing_to_compare"


def test_an_arm_below_the_untouched_encoder_is_named_before_the_winner() -> None:
    curves = two_arms(0.6, 0.3)
    curves["flags", "zero_shot", "none"] = Curve((0,), correct(0.7, sizes=1, seed=3))
    verdict = judge_evidence(evidence(curves, baseline="none"))
    assert [(check.arm, check.below) for check in verdict.baseline] == [("real", True), ("made", True)]
    first, second, third, answer = verdict.headline.split(". ")
    assert first.startswith("Neither real nor made is shown to improve on the untouched encoder in zero-shot accuracy")
    assert second.startswith("real ends ")
    assert third.startswith("made ends ")
    assert answer.startswith("real beats made")


def against_untouched(real: float, made: float, untouched: float) -> Verdict:
    """Accuracies of the arms and of the encoder as it is."""
    curves = two_arms(real, made)
    curves["flags", "zero_shot", "none"] = Curve((0,), correct(untouched, sizes=1, seed=3))
    return judge_evidence(evidence(curves, baseline="none"))


def test_the_first_sentence_says_that_neither_arm_is_shown_to_improve() -> None:
    verdict = against_untouched(0.61, 0.5, 0.6)
    assert [check.above for check in verdict.baseline] == [False, False]
    assert verdict.headline.startswith(
        "Neither real nor made is shown to improve on the untouched encoder in zero-shot"
    )


def test_the_first_sentence_says_which_arm_alone_is_shown_to_improve() -> None:
    verdict = against_untouched(0.5, 0.8, 0.5)
    assert [check.above for check in verdict.baseline] == [False, True]
    assert verdict.headline.startswith("Only made is shown to improve on the untouched encoder in zero-shot accuracy")


def test_where_both_arms_improve_the_answer_comes_first() -> None:
    assert against_untouched(0.8, 0.6, 0.4).headline.startswith("real beats made by ")


def flipped(correctness: npt.NDArray[np.bool_], share: float) -> npt.NDArray[np.bool_]:
    """As many answers of every seed and size changed, the first ones."""
    changed = correctness.copy()
    changed[:, :, : round(share * correctness.shape[2])] ^= True
    return changed


@pytest.mark.parametrize(
    ("real", "made", "named"), [(0.004, 0.05, ["real"]), (0.0, 0.005, ["real", "made"]), (0.01, 0.3, [])]
)
def test_training_that_hardly_changed_the_answers_is_told_of(real: float, made: float, named: list[str]) -> None:
    before = np.repeat(correct(0.6, sizes=1, seed=3, images=1000)[:, :1], 3, axis=1)
    curves = {
        ("flags", "zero_shot", "none"): Curve((0,), before),
        ("flags", "zero_shot", "real"): Curve((10, 20), np.concatenate([flipped(before, 0.5), flipped(before, real)])),
        ("flags", "zero_shot", "made"): Curve((10, 20), np.concatenate([before, flipped(before, made)])),
    }
    asked = replace(evidence(curves, baseline="none"), tells_movement=True)
    told = [warning for warning in judge_evidence(asked).warnings if "hardly changed the encoder" in warning]
    assert len(told) == len(named)
    assert all(f"Trained on 20 images of {arm}, " in words for arm, words in zip(named, told, strict=True))
    assert all("0.4%" in words or "0.0%" in words or "0.5%" in words for words in told)
    silent = judge_evidence(evidence(curves, baseline="none"))
    assert not any("hardly changed" in warning for warning in silent.warnings)


def test_every_arm_is_compared_with_the_untouched_encoder_at_each_size_and_adjusted() -> None:
    curves = two_arms(0.8, 0.5)
    curves["flags", "zero_shot", "made"] = Curve((10,), correct(0.5, sizes=1, seed=2))
    curves["flags", "zero_shot", "none"] = Curve((0,), correct(0.5, sizes=1, seed=3))
    found = judge_evidence(evidence(curves, baseline="none")).baseline_by_size
    assert [(check.arm, check.target, check.size) for check in found] == [
        ("real", "flags", 10),
        ("real", "flags", 20),
        ("made", "flags", 10),
    ]
    assert [(check.above, check.below) for check in found] == [(True, False), (True, False), (False, False)]
    assert all(check.adjusted_p_value is not None for check in found)
    of_small = components(curves["flags", "zero_shot", "real"].averaged([10]), correct(0.5, sizes=1, seed=3)[0] * 1.0)
    assert found[0].difference == pytest.approx(of_small.difference)


def test_without_an_untouched_encoder_nothing_is_said_about_it() -> None:
    verdict = judge_evidence(evidence(two_arms(0.8, 0.5)))
    assert (verdict.baseline, verdict.baseline_by_size) == ((), ())
    assert "untouched" not in verdict.headline


def test_secondary_comparisons_are_adjusted_and_leave_the_primary_alone() -> None:
    curves = two_arms(0.6, 0.5)
    curves |= {(t, "linear_probe", arm): curve for (t, _, arm), curve in two_arms(0.6, 0.5).items()}
    verdict = judge_evidence(evidence(curves, metrics=("zero_shot", "linear_probe")))
    assert verdict.primary.adjusted_p_value is None
    views = [(entry.metric, entry.size) for entry in verdict.secondary]
    assert views == [
        ("zero_shot", 10),
        ("zero_shot", 20),
        ("linear_probe", None),
        ("linear_probe", 10),
        ("linear_probe", 20),
    ]
    assert all((entry.adjusted_p_value or 0) >= entry.p_value for entry in verdict.secondary)


def test_classes_are_compared_one_by_one_and_adjusted_as_a_family_of_their_own() -> None:
    labels = np.arange(400) % 2
    real, made = correct(0.5, seed=1), correct(0.5, seed=2)
    made[:, :, labels == 1] &= np.random.default_rng(3).random((2, 3, 200)) < 0.4
    curves = {
        ("flags", "zero_shot", "real"): Curve((10, 20), real),
        ("flags", "zero_shot", "made"): Curve((10, 20), made),
    }
    verdict = judge_evidence(evidence(curves, labels={"flags": labels}))
    assert [(entry.class_id, entry.answer, entry.test_images) for entry in verdict.classes] == [
        (0, "undecided", 200),
        (1, "a_better", 200),
    ]
    assert [entry.adjusted_p_value for entry in verdict.classes] == holm([e.p_value for e in verdict.classes])
    assert np.mean([entry.difference for entry in verdict.classes]) == pytest.approx(verdict.primary.difference)
    assert verdict.secondary == judge_evidence(evidence(curves)).secondary


def test_a_class_with_a_single_test_image_stays_undecided() -> None:
    labels = np.array([1] + [0] * 399)
    single = judge_evidence(evidence(two_arms(0.9, 0.1), labels={"flags": labels})).classes[1]
    assert (single.test_images, single.answer, single.low, single.high) == (1, "undecided", -1.0, 1.0)


# ------------------------------------------------------------------------------------------------ learning rates


def choices(size: int, a: float, b: float, grid_a: dict[float, float], grid_b: dict[float, float]) -> Choices:
    return Choices("flags", size, a, b, grid_a, grid_b)


def test_a_difference_that_vanishes_with_each_others_learning_rate_is_reported() -> None:
    lucky = choices(10, 1e-4, 1e-5, {1e-4: 0.8, 1e-5: 0.7}, {1e-4: 0.8, 1e-5: 0.7})
    here, overall = check_learning_rates([lucky], delta=0.01)
    assert (here.target, here.size, here.chosen_a, here.chosen_b) == ("flags", 10, 1e-4, 1e-5)
    assert (here.own, here.swapped) == (pytest.approx(0.1), pytest.approx(-0.1))
    assert here.vanishes
    assert (overall.target, overall.vanishes) == (None, True)
    verdict = judge_evidence(evidence(two_arms(0.8, 0.5), choices=(lucky,)))
    assert len(verdict.learning_rates) == 2
    assert "real minus made is +10.0 points with the own choices and −10.0 with each other's" in verdict.warnings[0]
    assert verdict.warnings[0].endswith("The difference vanishes.")
    assert "flags, size 10 (real 0.0001, made 1e-05)" in verdict.warnings[1]


def test_a_difference_that_survives_the_swap_is_reported_as_such() -> None:
    solid = choices(10, 1e-4, 1e-5, {1e-4: 0.8, 1e-5: 0.78}, {1e-4: 0.5, 1e-5: 0.6})
    assert [check.vanishes for check in check_learning_rates([solid], delta=0.01)] == [False, False]


def test_a_difference_too_small_to_matter_cannot_vanish() -> None:
    small = choices(10, 1e-4, 1e-5, {1e-4: 0.605, 1e-5: 0.5}, {1e-4: 0.7, 1e-5: 0.6})
    assert not any(check.vanishes for check in check_learning_rates([small], delta=0.01))


def test_sizes_where_the_arms_chose_alike_count_in_the_mean_only() -> None:
    alike = choices(10, 1e-4, 1e-4, {1e-4: 0.8}, {1e-4: 0.7})
    apart = choices(20, 1e-4, 1e-5, {1e-4: 0.8, 1e-5: 0.7}, {1e-4: 0.7, 1e-5: 0.7})
    checks = check_learning_rates([alike, apart], delta=0.01)
    assert [check.size for check in checks] == [20, None]
    assert (checks[1].own, checks[1].swapped) == (pytest.approx(0.1), pytest.approx(0.05))
    assert check_learning_rates([alike], delta=0.01) == ()


def test_the_same_evidence_gives_the_same_verdict_to_the_last_digit() -> None:
    assert judge_evidence(evidence(two_arms(0.6, 0.5))) == judge_evidence(evidence(two_arms(0.6, 0.5)))
