"""Looks that were declared: their levels, the estimates tested at them, the spec, the plan, and what the api shows."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import ndtri
from scipy.stats import multivariate_normal
from support.finished_experiments import Told, finish_experiment, finish_only, made_up_results, post_experiment
from support.memory_services import api_client
from support.small_evidence import correct, evidence
from support.specs import spec
from support.verdict_simulation import World, noise
from support.verdict_simulation_planned import look_as_planned
from touchstone_api.bootstrap import Services
from touchstone_contracts.experiment import Comparison, Spending
from touchstone_contracts.layout import Cell
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_verdict.curves import Curve
from touchstone_verdict.failed_runs import Validation
from touchstone_verdict.intervals import Estimate, components
from touchstone_verdict.judge import judge, judge_evidence
from touchstone_verdict.planned import Look, look_at
from touchstone_verdict.spending import levels

LOOKS = (3, 5, 8)
ARMS: dict[str, Any] = {"a": "retrieved", "b": "synthetic"}
PLANNED: dict[str, Any] = {"stopping": "planned", "looks": LOOKS}

# ------------------------------------------------------------------------------------------------ levels


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        ("obrien_fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        ("pocock", (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_boundaries_at_five_equal_looks_are_the_published_ones(
    spending: Spending, published: tuple[float, ...]
) -> None:
    """Reboussin, DeMets, Kim and Lan (2000), Controlled Clinical Trials 21, on group sequential boundaries."""
    found = levels((1, 2, 3, 4, 5), 0.05, spending)
    assert [float(-ndtri(level / 2)) for level in found] == pytest.approx(published, abs=2e-3)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("looks", [(3, 5, 7, 10), (2, 20), (4, 6)])
def test_false_calls_at_all_looks_together_are_alpha(spending: Spending, looks: tuple[int, ...]) -> None:
    """Against the multivariate normal distribution function."""
    boundaries = np.array([-ndtri(level / 2) for level in levels(looks, 0.05, spending)])
    times = np.array(looks) / looks[-1]
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    stays = multivariate_normal(cov=correlation, seed=0).cdf(boundaries, lower_limit=-boundaries)
    assert 1 - stays == pytest.approx(0.05, abs=5e-4)


def test_a_look_with_almost_none_of_the_seeds_decides_nothing() -> None:
    assert levels((2, 400), 0.05, "obrien_fleming")[0] == 0.0
    look = Look(Estimate(0.5, 1e-12, 1e-20), (2, 400), 0, "obrien_fleming")
    assert (look.interval(0.95), look.p_value) == ((-1.0, 1.0), 1.0)


def test_p_values_of_a_look_say_the_same_as_its_interval() -> None:
    for difference in (0.0, 0.02, 0.03, 0.06):
        look = Look(Estimate(difference, 1e-4, 1e-9), LOOKS, 1, "obrien_fleming")
        low, high = look.interval(0.95)
        assert (look.p_value <= 0.05) == (low > 0 or high < 0)
    exact = Look(Estimate(0.0, 1e-6, 1e-13), LOOKS, 1, "pocock")
    assert exact.equivalence_p_value(0.01) <= 0.05 < exact.equivalence_p_value(0.0005)


def test_the_first_look_that_decides_is_the_one_that_counts() -> None:
    sure, unsure = Estimate(0.1, 1e-6, 1e-14), Estimate(0.0, 1e-2, 1e-5)
    assert look_at([unsure, sure, unsure], LOOKS, "obrien_fleming", 0.01, 0.05).number == 1
    assert look_at([unsure, unsure], LOOKS, "obrien_fleming", 0.01, 0.05).number == 1
    assert look_at([unsure], LOOKS, "obrien_fleming", 0.01, 0.05).number == 0


# ------------------------------------------------------------------------------------------------ simulation

RUNS = 300


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("setting", [(1000, 0.02), (300, 0.1)])
def test_an_arm_against_itself_is_called_different_at_most_one_time_in_twenty(
    spending: Spending, setting: tuple[int, float]
) -> None:
    found = look_as_planned(World(10, *setting), RUNS, spending=spending)
    assert found.different <= 0.05 + noise(0.05, RUNS)
    assert found.missed <= 0.05 + noise(0.05, RUNS)


@pytest.mark.parametrize("setting", [(1000, 0.02), (300, 0.1)])
def test_with_a_borrowed_spread_it_is_called_different_hardly_more_often(setting: tuple[int, float]) -> None:
    found = look_as_planned(World(10, *setting), RUNS, spread="borrowed")
    assert max(found.different, found.missed) <= 0.065 + noise(0.065, RUNS)


def test_three_points_are_found_with_fewer_seeds_than_planned() -> None:
    found = look_as_planned(World(10, 1000, 0.02, 0.03), RUNS)
    assert found.different >= 0.93
    assert found.seeds <= 8


def test_a_difference_just_as_large_as_delta_is_seldom_called_no_difference_at_any_look() -> None:
    found = look_as_planned(World(10, 4000, 0.02, 0.0138), RUNS, delta=0.0138)
    assert found.equal <= 0.05 + noise(0.05, RUNS)
    assert look_as_planned(World(10, 4000, 0.02, 0.0), 100, delta=0.03).equal >= 0.9


# ------------------------------------------------------------------------------------------------ the spec


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"looks": LOOKS}, "belong to stopping 'planned'"),
        ({"stopping": "anytime", "looks": LOOKS}, "belong to stopping 'planned'"),
        ({"spending": "pocock"}, "belong to stopping 'planned'"),
        ({"stopping": "planned"}, "two or more looks"),
        ({"stopping": "planned", "looks": (8,)}, "two or more looks"),
        ({"stopping": "planned", "looks": (3, 8, 5)}, "ascending order"),
        ({"stopping": "planned", "looks": (3, 3, 8)}, "ascending order"),
        ({"stopping": "planned", "looks": (1, 8)}, "2 seeds or more"),
    ],
)
def test_looks_that_make_no_plan_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Comparison(**ARMS, **wrong)


def test_the_last_look_has_all_the_seeds_in_ascending_order() -> None:
    comparison = Comparison(**ARMS, **PLANNED)
    with pytest.raises(ValidationError, match=r"last of comparison.looks is 8, but there are 5 seeds"):
        spec(seeds=(0, 1, 2, 3, 4), comparison=comparison)
    with pytest.raises(ValidationError, match="list seeds in ascending order"):
        spec(seeds=(7, 0, 1, 2, 3, 4, 5, 6), comparison=comparison)


# ------------------------------------------------------------------------------------------------ the judge


def looked_at(seeds: int, real: float, *, planned: int | None = None, images: int = 400) -> Any:
    curves = {
        ("flags", "zero_shot", arm): Curve((10, 20), correct(share, seeds=seeds, images=images, seed=number))
        for number, (arm, share) in enumerate((("real", real), ("made", 0.5)))
    }
    comparison = Comparison(a="real", b="made", **PLANNED)
    return judge_evidence(evidence(curves, comparison=comparison, seeds_planned=planned))


def test_a_clear_difference_is_decided_at_the_first_look_and_stays_decided() -> None:
    early, late = looked_at(3, 0.95, planned=8), looked_at(8, 0.95)
    assert [(each.answer, each.primary.seeds) for each in (early, late)] == [("a_better", 3)] * 2
    assert early.may_stop == "Decided at the look with 3 of 8 seeds: you may stop."


def test_between_looks_it_says_when_the_next_one_is_and_how_likely_the_last_one_decides() -> None:
    verdict = looked_at(5, 0.51, planned=8)
    assert verdict.may_stop == "Not decided at the look with 5 of 8 seeds: go on to the next, with 8."
    assert "interval for the declared looks" in verdict.headline
    assert [(entry.seeds, entry.test_images) for entry in verdict.chances] == [(8, None)]
    assert verdict.would_decide.startswith("With 8 seeds per arm instead of 5 the chance of a decision is ")
    assert "at the look that was declared" in verdict.warnings[0]


def test_the_spread_is_borrowed_at_a_look_too_unless_the_spec_says_otherwise() -> None:
    curves = {
        ("flags", "zero_shot", arm): Curve((10, 20), correct(share, seeds=5, seed=number))
        for number, (arm, share) in enumerate((("real", 0.51), ("made", 0.5)))
    }
    for spread in ("own", "borrowed"):
        comparison = Comparison(a="real", b="made", spread=spread, **PLANNED)
        verdict = judge_evidence(evidence(curves, comparison=comparison, seeds_planned=8))
        own, borrowed = verdict.primary.own, verdict.primary.borrowed
        assert own is not None
        assert borrowed is not None
        assert verdict.decided_by == spread
        decided = own if spread == "own" else borrowed
        assert (decided.low, decided.p_value) == (verdict.primary.low, verdict.primary.p_value)
        assert own.low != borrowed.low
        level = 1 - levels(LOOKS, 0.05, "obrien_fleming")[1]
        real, made = (curves["flags", "zero_shot", arm].averaged((10, 20)) for arm in ("real", "made"))
        once = components(real, made)
        assert own.low == pytest.approx(once.estimate().interval(level)[0])


def test_what_is_decided_at_a_look_stays_decided_when_a_later_run_fails_and_is_left_out() -> None:
    def judged_with(seeds: int, planned: int | None) -> Any:
        curves = {
            ("flags", "zero_shot", arm): Curve((10, 20), correct(share, seeds=8, seed=number)[:, :seeds])
            for number, (arm, share) in enumerate((("real", 0.95), ("made", 0.5)))
        }
        accuracy = np.tile([0.9] * 5 + [0.2] + [0.9] * 2, (2, 1))[:, :seeds]
        validation = {("flags", arm): Validation((10, 20), tuple(range(seeds)), accuracy) for arm in ("real", "made")}
        comparison = Comparison(a="real", b="made", failed_runs="leave_out", **PLANNED)
        return judge_evidence(evidence(curves, comparison=comparison, seeds_planned=planned, validation=validation))

    early, late = judged_with(3, 8), judged_with(8, None)
    assert [run.seed for run in late.failed_runs.runs] == [5, 5, 5, 5]
    assert late.may_stop == early.may_stop == "Decided at the look with 3 of 8 seeds: you may stop."
    assert late.primary == early.primary


def test_after_the_last_look_a_failed_run_that_is_left_out_does_not_ask_for_another_look() -> None:
    curves = {
        ("flags", "zero_shot", arm): Curve((10, 20), correct(share, seeds=8, images=100, seed=number))
        for number, (arm, share) in enumerate((("real", 0.51), ("made", 0.5)))
    }
    accuracy = np.tile([0.9] * 7 + [0.2], (2, 1))
    validation = {("flags", arm): Validation((10, 20), tuple(range(8)), accuracy) for arm in ("real", "made")}
    comparison = Comparison(a="real", b="made", failed_runs="leave_out", **PLANNED)
    verdict = judge_evidence(evidence(curves, comparison=comparison, validation=validation))
    assert verdict.primary.seeds == 7
    assert verdict.may_stop == "Not decided at the last look, with 8 seeds."


def test_after_the_last_look_no_more_seeds_decide() -> None:
    verdict = looked_at(8, 0.51, images=100)
    assert verdict.answer == "undecided"
    assert verdict.may_stop == "Not decided at the last look, with 8 seeds."
    assert "plan a new one" in verdict.would_decide
    assert verdict.chances == ()


def table(seeds: dict[str, int]) -> dict[str, list[Any]]:
    runs = [(arm, seed) for arm, count in seeds.items() for seed in range(count)]
    rng = np.random.default_rng(0)
    rows = [
        (arm, "flags", "test", 10, seed, image, bool(rng.random() < 0.6)) for arm, seed in runs for image in range(50)
    ]
    columns = ("arm", "target", "test_set", "size", "seed", "image", "correct")
    return {name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)}


def test_predictions_made_elsewhere_are_judged_at_a_declared_look() -> None:
    comparison = Comparison(a="real", b="made", **PLANNED)
    found = {seeds: judge(table({"real": seeds, "made": seeds}), comparison) for seeds in (3, 8)}
    assert found[3].primary.seeds == 3
    assert found[3].secondary == ()
    assert "3 of 8 seeds" in (found[3].may_stop or "")
    assert found[8].warnings[0].startswith("Only the primary comparison allows for the declared looks")


@pytest.mark.parametrize("seeds", [2, 4, 9])
def test_predictions_between_the_looks_are_refused(seeds: int) -> None:
    with pytest.raises(Invalid, match=rf"have {seeds} seeds per arm, but the declared looks are at 3, 5, 8") as caught:
        judge(table({"real": seeds, "made": seeds}), Comparison(a="real", b="made", **PLANNED))
    assert caught.value.code == "no_declared_look"


def test_predictions_whose_arms_have_other_seeds_are_refused() -> None:
    with pytest.raises(Unfair, match="'planned' needs the same of both"):
        judge(table({"real": 5, "made": 3}), Comparison(a="real", b="made", **PLANNED))


# ------------------------------------------------------------------------------------------------ over HTTP


def post(services: Services) -> Told:
    return post_experiment(services, spec(seeds=tuple(range(8)), comparison=Comparison(**ARMS, **PLANNED)))


def truth(cell: Cell, metric: str) -> float:
    return {"none": 0.4, "retrieved": 0.52, "synthetic": 0.5}[cell.arm]


def finish_seeds(services: Services, told: Told, seeds: int) -> None:
    waiting = {step for cell, step in told.plan.evaluations.items() if cell.seed >= seeds}
    results = made_up_results(services.artifacts, told, truth)
    finish_only(services, told, {step: result for step, result in results.items() if step not in waiting})


def test_only_declared_looks_are_planned(services: Services) -> None:
    roles = [step.role for step in post(services).plan.steps if step.kind == "judge_experiment"]
    assert roles == ["judge after 3 seeds", "judge after 5 seeds", "judge"]


def test_before_the_first_look_there_is_no_verdict(services: Services) -> None:
    told = post(services)
    finish_seeds(services, told, 2)
    answer = api_client(services).get(f"/v1/experiments/{told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    assert "2 of 8 seeds are in; the first look needs 3" in answer.json()["detail"]


def test_between_two_looks_the_earlier_one_is_shown(services: Services) -> None:
    told = post(services)
    finish_seeds(services, told, 4)
    api = api_client(services)
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert (verdict["stopping"], verdict["primary"]["seeds"], verdict["secondary"]) == ("planned", 3, [])
    assert "3 of 8 seeds: go on to the next, with 5" in verdict["may_stop"]
    assert "go on to the next" in api.get(f"/experiments/{told.id}").text


def test_with_every_seed_in_the_rest_is_shown(services: Services) -> None:
    told = post(services)
    finish_experiment(services, told, truth=truth)
    verdict = api_client(services).get(f"/v1/experiments/{told.id}/verdict").json()
    assert verdict["secondary"]
    assert verdict["baseline_by_size"]
    assert any("declared looks" in warning for warning in verdict["warnings"])
