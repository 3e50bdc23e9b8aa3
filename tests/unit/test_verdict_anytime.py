"""Looking after every seed: the sequence's own rules, and what the api shows while seeds are still to come."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import t as student_t
from support.finished_experiments import Told, finish_experiment, finish_only, made_up_results, post_experiment
from support.memory_services import api_client
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.layout import Cell
from touchstone_verdict.anytime import EFFECT, SeedSequence, seed_sequence


def sequence(difference: float = 0.05, seeds: int = 5, seed_sd: float = 0.01, images: int = 10_000) -> SeedSequence:
    return SeedSequence(difference, seed_sd**2, seeds, image_variance=1e-6, images=images)


def likelihood_ratio(values: np.ndarray, mean: float) -> float:
    """Of the mixture over effect sizes against `mean`, the spread integrated out (right Haar); by quadrature."""
    count, precision = len(values), 1 + len(values) * EFFECT**2
    t_squared = count * (values.mean() - mean) ** 2 / values.var(ddof=1)
    ratio = (1 + t_squared / (count - 1)) / (1 + t_squared / (count - 1) / precision)
    return float(ratio ** (count / 2) / math.sqrt(precision))


def test_the_interval_ends_where_the_likelihood_ratio_reaches_one_over_alpha() -> None:
    values = np.array([0.04, 0.05, 0.07, 0.05, 0.03, 0.06])
    found = SeedSequence(values.mean(), values.var(ddof=1), 6, image_variance=0.0, images=10**9)
    low, high = found.interval(0.95)
    alpha = 0.05 * 0.8  # the rest is for the test images
    assert likelihood_ratio(values, low) == pytest.approx(1 / alpha)
    assert likelihood_ratio(values, high) == pytest.approx(1 / alpha)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_ratio_is_a_fair_bet_when_there_is_no_difference(seeds: int) -> None:
    """Its mean over experiments without a difference is 1 at every number of seeds, as a martingale's must be."""
    shape = np.arange(seeds) - (seeds - 1) / 2
    shape /= shape.std(ddof=1)

    def stake(t: float) -> float:
        return likelihood_ratio(shape + t / math.sqrt(seeds), 0.0) * student_t(seeds - 1).pdf(t)

    assert 2 * quad(stake, 0, np.inf, limit=200)[0] == pytest.approx(1.0, abs=1e-3)


def test_two_seeds_say_nothing_and_more_say_more() -> None:
    assert sequence(seeds=2).interval(0.95) == (-1.0, 1.0)
    widths = [sequence(seeds=seeds).half_width(0.05) for seeds in (4, 6, 10, 20)]
    assert widths == sorted(widths, reverse=True)
    assert all(math.isfinite(width) for width in widths)


def test_it_is_wider_than_the_interval_for_one_look() -> None:
    from scipy.special import stdtrit

    once = stdtrit(9, 0.975) * 0.01 / math.sqrt(10)
    assert once < sequence(seeds=10).half_width(0.05) < 3 * once


def test_p_values_say_the_same_as_the_interval() -> None:
    for difference in (0.0, 0.02, 0.05):
        found = sequence(difference=difference)
        low, _ = found.interval(0.95)
        assert (found.p_value <= 0.05) == (low > 0)
    same = sequence(difference=0.0, seeds=40, seed_sd=0.002)
    assert same.equivalence_p_value(0.01) <= 0.05 < same.equivalence_p_value(0.001)


def test_seeds_that_agree_exactly_do_not_prove_a_difference_of_one_image() -> None:
    parts = np.zeros((6, 50))
    parts[:, 0] = 1.0
    low, high = seed_sequence([parts]).interval(0.95)
    assert low < 0 < high


def test_one_seed_is_no_sequence() -> None:
    assert seed_sequence([np.zeros((1, 50))]).interval(0.95) == (-1.0, 1.0)
    assert seed_sequence([np.zeros((1, 50))]).p_value == 1.0


def test_another_variance_between_seeds_can_be_supposed() -> None:
    found = sequence()
    assert found.half_width(0.05, seed_variance=found.seed_variance) == found.half_width(0.05)
    assert found.half_width(0.05, seed_variance=0.0) < found.half_width(0.05)


# ------------------------------------------------------------------------------------------------ over HTTP

SEEDS = tuple(range(8))


def post(services: Services, **changes: object) -> Told:
    comparison = Comparison(a="retrieved", b="synthetic", **changes)  # type: ignore[arg-type]  # the test names them
    return post_experiment(services, spec(seeds=SEEDS, comparison=comparison))


def clear_truth(cell: Cell, metric: str) -> float:
    return {"none": 0.4, "retrieved": 0.8, "synthetic": 0.5}[cell.arm]


def finish_seeds(services: Services, told: Told, seeds: set[int]) -> None:
    """Everything of the first seeds; the others' evaluations are still to come."""
    waiting = {step for cell, step in told.plan.evaluations.items() if cell.seed not in seeds}
    results = made_up_results(services.artifacts, told, clear_truth)
    finish_only(services, told, {step: result for step, result in results.items() if step not in waiting})


def test_before_all_seeds_are_in_only_the_anytime_comparison_is_shown(services: Services) -> None:
    told = post(services, stopping="anytime")
    finish_seeds(services, told, {0, 1, 2, 3, 4})
    api = api_client(services)
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert (verdict["stopping"], verdict["answer"]) == ("anytime", "a_better")
    assert verdict["may_stop"] == "Enough seeds: 5 of 8 seeds decide, you may stop."
    assert "anytime-valid interval" in verdict["headline"]
    assert verdict["primary"]["low"] <= 0.3 <= verdict["primary"]["high"]
    supposing_all = ("secondary", "classes", "baseline", "exchange_rates", "scaling", "costs")
    assert [verdict[name] for name in supposing_all] == [[]] * len(supposing_all)
    assert "Some seeds are still to come" in verdict["warnings"][0]
    assert "you may stop" in api.get(f"/experiments/{told.id}").text


def test_too_few_seeds_say_go_on_and_how_many_would_do(services: Services) -> None:
    told = post(services, stopping="anytime")
    finish_seeds(services, told, {0, 1})
    verdict = api_client(services).get(f"/v1/experiments/{told.id}/verdict").json()
    assert verdict["may_stop"] == "Not decided after 2 of 8 seeds: go on."
    assert verdict["would_decide"].startswith("With 4 seeds per arm instead of 2 the chance of a decision is ")
    assert [entry["test_images"] for entry in verdict["chances"]] == [None] * len(verdict["chances"])


def test_a_single_seed_is_too_few_to_look_at(services: Services) -> None:
    told = post(services, stopping="anytime")
    finish_seeds(services, told, {3})
    answer = api_client(services).get(f"/v1/experiments/{told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    assert "0 of 8 seeds are in" in answer.json()["detail"]


def test_a_fixed_comparison_is_not_shown_before_every_run_is_in(services: Services) -> None:
    told = post(services)
    finish_seeds(services, told, set(SEEDS[:-1]))
    answer = api_client(services).get(f"/v1/experiments/{told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


def test_with_every_seed_in_the_rest_is_shown_with_a_warning(services: Services) -> None:
    told = post(services, stopping="anytime")
    finish_experiment(services, told, truth=clear_truth)
    verdict = api_client(services).get(f"/v1/experiments/{told.id}/verdict").json()
    assert verdict["may_stop"] == "Enough seeds: 8 seeds decide, you may stop."
    assert verdict["secondary"]
    assert verdict["baseline"]
    assert any("Only the primary comparison" in warning for warning in verdict["warnings"])
