"""What /estimate says of power: from earlier verdicts, from the request, or assumed."""

import math
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post, post_experiment
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.keys import blob_key
from touchstone_contracts.power import Spread
from touchstone_verdict.power import assumed_spread

NEXT = spec(name="planned after it", seeds=(5, 6, 7))


def power_of(api: TestClient, planned: ExperimentSpec = NEXT, **declared: float) -> Any:
    answer = api.post("/v1/experiments/estimate", json=planned.model_dump(mode="json"), params=declared)
    assert answer.status_code == 200, answer.text
    return answer.json()["power"]


def spreads(power: Any) -> list[dict[str, float]]:
    return [{name: entry[name] for name in Spread.model_fields} for entry in power["expected"]]


def test_without_earlier_experiments_the_stated_default_is_assumed(api: TestClient, services: Services) -> None:
    post_experiment(services)  # posted, and not finished
    power = power_of(api)
    assert [entry["source"] for entry in power["expected"]] == ["assumed", "assumed"]
    assert spreads(power) == [assumed_spread("zero_shot").model_dump()] * 2
    # As many test images as the two targets registered.
    assert (power["seeds"], power["test_images"], power["share"]) == (3, 20, 0.8)
    assert "assumed, because no earlier experiment" in power["basis"]
    assert power["warning"].startswith("The smallest difference that matters, 1.0 points, is smaller than that")


def test_the_spread_of_an_earlier_verdict_is_taken_and_named(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert [(entry["target"], entry["seeds"], entry["test_images"]) for entry in verdict["spread"]] == [
        ("fine", 3, 200),
        ("broad", 3, 200),
    ]
    power = power_of(api)
    assert spreads(power) == [
        pytest.approx({name: entry[name] for name in Spread.model_fields}) for entry in verdict["spread"]
    ]
    for entry in power["expected"]:
        assert (entry["source"], entry["same_kinds"], entry["experiments"]) == ("earlier", True, [told.id])
    assert "as in 1 earlier experiment with this target and metric and these kinds of arms" in power["basis"]


def test_kinds_of_arms_that_were_compared_before_go_first(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    of_other_kinds = post(services, random_control(), DictLookup())
    finish_experiment(services, of_other_kinds, truth=lambda *_: 0.6)
    assert [entry["experiments"] for entry in power_of(api)["expected"]] == [[told.id], [told.id]]
    other = power_of(api, random_control(seeds=(5, 6, 7)))
    assert [entry["experiments"] for entry in other["expected"]] == [[of_other_kinds.id]] * 2
    mixed = random_control(comparison={"a": "synthetic", "b": "diffused"})
    unseen = power_of(api, mixed)["expected"]
    assert [(entry["same_kinds"], len(entry["experiments"])) for entry in unseen] == [(False, 2)] * 2


def random_control(**changes: object) -> ExperimentSpec:
    """Two ways of retrieving against each other, unless `comparison` says otherwise."""
    arms = [
        {"kind": "retrieval", "name": "retrieved"},
        {"kind": "retrieval", "name": "random", "strategy": {"kind": "random"}},
        {"kind": "generation", "name": "synthetic", "generator": "diffusion", "images": 300},
        {"kind": "generation", "name": "diffused", "generator": "diffusion", "images": 301},
    ]
    return spec(**{"name": "control", "arms": arms, "seeds": (0, 1, 2), **changes})


def test_only_the_same_metric_counts(api: TestClient, services: Services) -> None:
    finish_experiment(services, post_experiment(services))
    probed = spec(comparison={"a": "retrieved", "b": "synthetic", "metric": "linear_probe"})
    assert {entry["source"] for entry in power_of(api, probed)["expected"]} == {"assumed"}


def test_what_the_request_declares_replaces_what_was_found(api: TestClient, services: Services) -> None:
    finish_experiment(services, post_experiment(services))
    found = power_of(api)
    part = power_of(api, seed_sd=0.05)
    assert {entry["source"] for entry in part["expected"]} == {"earlier"}
    assert spreads(part) == [entry | {"seed_sd": 0.05} for entry in spreads(found)]
    whole = power_of(api, seed_sd=0.01, image_sd=0.1, interaction_sd=0.2)
    assert {(entry["source"], tuple(entry["experiments"])) for entry in whole["expected"]} == {("declared", ())}
    assert whole["basis"] == "Spread between seeds and test images: as declared in the request."


@pytest.mark.parametrize(
    ("declared", "field"), [({"seed_sd": -0.1}, "seed_sd"), ({"image_sd": 1.3}, "image_sd"), ({"sd": 0.1}, "sd")]
)
def test_a_spread_that_cannot_be_is_refused_by_name(
    api: TestClient, services: Services, declared: dict[str, float], field: str
) -> None:
    post_experiment(services)
    answer = api.post("/v1/experiments/estimate", json=NEXT.model_dump(mode="json"), params=declared)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert any(field in error["pointer"] for error in answer.json()["errors"])


def test_a_single_arm_has_no_power(api: TestClient, services: Services) -> None:
    post_experiment(services)
    assert power_of(api, spec(arms=[{"kind": "none"}, {"kind": "retrieval", "name": "retrieved"}])) is None


def test_a_lost_verdict_is_passed_over(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    for judgement in (step for step in told.plan.steps if step.kind == "judge_experiment"):
        manifest = services.artifacts.manifest(judgement.id)
        assert manifest is not None
        for blob in manifest.blobs:
            services.artifacts._objects.remove(blob_key(blob.digest))  # type: ignore[attr-defined]
    assert {entry["source"] for entry in power_of(api)["expected"]} == {"assumed"}


def test_the_answer_is_the_same_every_time(api: TestClient, services: Services) -> None:
    finish_experiment(services, post_experiment(services))
    first, second = power_of(api), power_of(api)
    assert first == second
    assert math.isfinite(first["smallest_difference"])
