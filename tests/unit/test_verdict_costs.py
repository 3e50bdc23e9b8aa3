"""What a point costs: who pays for which step, per point gained, in seconds and in money."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import api_client
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.settings import ApiSettings
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval, TextMatch
from touchstone_contracts.views import BaselineCheck, Cost, Prices
from touchstone_verdict.costs import Spent, arm_costs, with_money

STEP_CPU = 0.5
"""Of every step that support.finished_experiments makes up."""


def told_costs(services: Services, told: Told, query: str = "") -> dict[str, dict[str, Any]]:
    finish_experiment(services, told)
    answer = api_client(services).get(f"/v1/experiments/{told.id}/verdict{query}")
    assert answer.status_code == 200
    return {entry["arm"]: entry for entry in answer.json()["costs"]}


def near(cpu: float, gpu: float) -> dict[str, object]:
    return {"cpu_seconds": pytest.approx(cpu), "gpu_seconds": pytest.approx(gpu), "money": None}


def spent(cpu: float, gpu: float = 0.0) -> Spent:
    return Spent(Cost(cpu_seconds=cpu, gpu_seconds=gpu), Cost(cpu_seconds=0, gpu_seconds=0))


def check(difference: float, low: float, high: float) -> BaselineCheck:
    return BaselineCheck(arm="real", metric="zero_shot", difference=difference, low=low, high=high, below=high < 0)


def test_seconds_are_divided_by_points_and_the_interval_turns_round() -> None:
    (cost,) = arm_costs({"real": spent(60, 12)}, "zero_shot", [check(0.03, 0.01, 0.06)])
    assert dict(cost.per_point or {}) == near(20, 4)
    assert dict(cost.per_point_at_least or {}) == near(10, 2)
    assert dict(cost.per_point_at_most or {}) == near(60, 12)


def test_a_gain_that_may_be_nothing_has_no_upper_limit_of_cost() -> None:
    (cost,) = arm_costs({"real": spent(60)}, "zero_shot", [check(0.01, -0.01, 0.03)])
    assert cost.per_point is not None
    assert cost.per_point_at_most is None


def test_an_arm_that_gained_nothing_has_no_cost_per_point() -> None:
    (cost,) = arm_costs({"real": spent(60)}, "zero_shot", [check(-0.02, -0.03, -0.01)])
    assert (cost.gain, cost.per_point, cost.per_point_at_least) == (-0.02, None, None)


def test_without_the_untouched_encoder_only_seconds_are_known() -> None:
    (cost,) = arm_costs({"real": spent(60)}, "zero_shot", [])
    assert (cost.gain, cost.per_point, cost.sourcing.cpu_seconds) == (None, None, 60)


def test_each_arm_pays_for_the_steps_that_lead_to_its_pool_and_one_run_of_the_grid(services: Services) -> None:
    told = post_experiment(services, spec(recipe={"kind": "cross_entropy", "learning_rates": [1e-4, 1e-5]}))
    costs = told_costs(services, told)
    assert list(costs) == ["retrieved", "synthetic"]
    for arm in costs:
        # Two learning rates, whatever the number of sizes and seeds.
        assert costs[arm]["adapting"] == {"cpu_seconds": pytest.approx(2 * STEP_CPU), "gpu_seconds": 0, "money": None}
    # Each of two targets has its own curation. Its test split (ingest, embed) serves both arms. The targets name the
    # same classes, so they share what finds the images: retrieve, embed, and the index over two shards (ingest and
    # embed each); or prompts, and three chunks of at most 128 of 300 images (generate and embed each).
    assert costs["retrieved"]["sourcing"]["cpu_seconds"] == pytest.approx(STEP_CPU * (1 + 2 / 2 + (2 + 5) / 2))
    assert costs["synthetic"]["sourcing"]["cpu_seconds"] == pytest.approx(STEP_CPU * (1 + 2 / 2 + (1 + 6) / 2))


def test_the_index_is_divided_among_the_pools_that_need_it_and_nothing_is_lost(services: Services) -> None:
    arms = (
        NoTraining(),
        Retrieval(name="union"),
        Retrieval(name="text", strategy=TextMatch()),
        Generation(name="synthetic", generator="diffusion", images=300),
    )
    told = post_experiment(services, spec(arms=arms))

    def truth(cell: object, metric: str) -> float:
        return 0.5

    finish_experiment(services, told, truth=truth)
    verdict = api_client(services).get(f"/v1/experiments/{told.id}/verdict").json()
    paid = sum(entry["sourcing"]["cpu_seconds"] for entry in verdict["costs"]) * len(told.spec.targets)
    kinds = [step.kind for step in told.plan.steps]
    measuring = sum(
        kinds.count(kind)
        for kind in (
            "audit_pool",
            "adapt_encoder",
            "evaluate_encoder",
            "probe_sources",
            "check_target",
            "compare_splits",
            "judge_experiment",
        )
    )
    upstream = 2 + 2 + 1  # of its own plan: ingest and embed two shards, index them
    splits = 4  # each target's validation split, ingested and embedded, serves measuring alone
    assert paid == pytest.approx(STEP_CPU * (upstream + len(kinds) - measuring - splits))


def test_prices_turn_seconds_into_money(services: Services) -> None:
    told = post_experiment(services)
    cost = told_costs(services, told, "?cpu_hour=3600&gpu_hour=7200")["retrieved"]
    assert cost["sourcing"]["money"] == pytest.approx(cost["sourcing"]["cpu_seconds"])
    assert cost["per_point"]["money"] == pytest.approx(cost["per_point"]["cpu_seconds"])


def test_a_request_may_bring_other_prices_than_the_settings(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHSTONE_CPU_HOUR_PRICE", "7200")
    services = replace(services, settings=ApiSettings(operator_key=services.settings.operator_key))
    told = post_experiment(services)
    finish_experiment(services, told)
    api, path = api_client(services), f"/v1/experiments/{told.id}/verdict"
    verdicts = [api.get(path + query).json() for query in ("", "?cpu_hour=3600&gpu_hour=1")]
    assert [verdict["prices"] for verdict in verdicts] == [
        {"cpu_hour": 7200, "gpu_hour": None},
        {"cpu_hour": 3600, "gpu_hour": 1},
    ]
    money, asked = (verdict["costs"][0]["adapting"]["money"] for verdict in verdicts)
    assert money == pytest.approx(2 * asked) == pytest.approx(2 * STEP_CPU)


@pytest.mark.parametrize(
    ("prices", "money"),
    [
        (Prices(), None),
        (Prices(cpu_hour=3600), None),
        (Prices(gpu_hour=3600), None),
        (Prices(cpu_hour=0, gpu_hour=3600), 12),
        (Prices(cpu_hour=3600, gpu_hour=7200), 60 + 2 * 12),
    ],
)
def test_a_sum_is_told_only_when_all_that_was_used_has_a_price(prices: Prices, money: float | None) -> None:
    assert with_money(Cost(cpu_seconds=60, gpu_seconds=12), prices).money == money


def test_what_was_not_used_needs_no_price() -> None:
    assert with_money(Cost(cpu_seconds=60, gpu_seconds=0), Prices(cpu_hour=3600)).money == 60


@pytest.mark.parametrize("price", ["-1", "inf", "nan", "cheap"])
def test_a_price_in_the_settings_that_is_none_stops_the_start(price: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_GPU_HOUR_PRICE", price)
    with pytest.raises(ValidationError, match="gpu_hour_price"):
        ApiSettings()


@pytest.mark.parametrize("query", ["cpu_hour=-1", "gpu_hour=nan", "cpu_hour=cheap"])
def test_a_price_that_is_none_is_refused(services: Services, query: str) -> None:
    told = post_experiment(services)
    answer = api_client(services).get(f"/v1/experiments/{told.id}/verdict?{query}")
    assert answer.status_code == 422
