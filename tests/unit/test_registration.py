"""What is frozen when an experiment is posted, and what is marked as known or added later."""

import hashlib
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from support.finished_experiments import finish_experiment, finish_only, made_up_results, post, post_experiment
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.identity import identity
from touchstone_contracts.registration import RegisteredFacts, Registration
from touchstone_store.tables import ExperimentRow

EXCLUSIONS = [
    {"kind": "target", "target": "food", "reason": "too few upstream images"},
    {"kind": "class", "target": "fine", "class_name": "Nepal", "reason": "its flag is no rectangle"},
    {"kind": "size", "size": 24, "reason": "larger than the smallest pool"},
]
DECLARED = spec(seeds=(0, 1, 2), exclusions=EXCLUSIONS)
CHANGED: dict[str, Any] = {
    "spec": "0" * 64,
    "experiment": "0" * 64,
    "registered_at": "2026-01-01T00:00:00Z",
    "primary": {"a": "retrieved", "b": "synthetic", "metric": "zero_shot", "delta": 0.02},
    "targets": ["fine"],
    "sizes": [6],
    "seeds": [0, 1],
    "exclusions": EXCLUSIONS[:2],
    "exclusion_rules": [],
    "parent": {"experiment": "exp_1", "measured": 0, "judged": False},
    "runs_planned": 1,
    "runs_known": 1,
}


def registration(api: TestClient, experiment: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/experiments/{experiment}").json()["registration"]
    return found


def test_everything_that_was_declared_is_in_it(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    found, posted = registration(api, told.id), api.get(f"/v1/experiments/{told.id}").json()
    assert (found["spec"], found["experiment"]) == (identity(DECLARED), posted["identity"])
    assert found["registered_at"] == posted["created_at"]
    assert (found["targets"], found["sizes"], found["seeds"]) == (["fine", "broad"], [6, 12], [0, 1, 2])
    # The comparison was left out of the spec: it is the first two arms that train.
    assert (found["primary"]["a"], found["primary"]["b"], found["primary"]["stopping"]) == (
        "retrieved",
        "synthetic",
        "fixed",
    )
    # It does not say where the spread between seeds comes from: what this release judges by is declared.
    assert found["primary"]["spread"] == "borrowed"
    assert found["exclusions"] == EXCLUSIONS
    # 2 targets x 2 arms x 2 sizes x 3 seeds
    assert (found["parent"], found["runs_planned"], found["runs_known"]) == (None, 24, 0)


def test_the_digest_is_the_sha256_of_what_the_registration_answers(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    text = api.get(f"/v1/experiments/{told.id}/registration")
    found = registration(api, told.id)
    assert text.headers["content-type"] == "application/json"
    assert hashlib.sha256(text.content).hexdigest() == found.pop("digest")
    assert RegisteredFacts.model_validate(found) == RegisteredFacts.model_validate_json(text.content)


@pytest.mark.parametrize("fact", RegisteredFacts.model_fields)
def test_changing_any_fact_changes_the_digest(api: TestClient, services: Services, fact: str) -> None:
    told = post_experiment(services, DECLARED)
    text = api.get(f"/v1/experiments/{told.id}/registration").text
    facts = RegisteredFacts.model_validate_json(text)
    assert facts.text() == text
    changed = RegisteredFacts.model_validate(facts.model_dump(mode="json") | {fact: CHANGED[fact]})
    assert changed != facts
    assert Registration.read(changed.text()).digest != Registration.read(text).digest


def test_every_field_of_the_declared_comparison_counts(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    text = api.get(f"/v1/experiments/{told.id}/registration").text
    facts = json.loads(text)
    changes = {"a": "x", "b": "x", "metric": "linear_probe", "test_set": "x", "delta": 0.5, "confidence": 0.9}
    changes |= {"stopping": "anytime", "spread": "own", "failed_runs": "leave_out"}
    assert set(changes) <= set(facts["primary"])
    digests = {Registration.read(text).digest}
    for field, value in changes.items():
        changed = RegisteredFacts.model_validate(facts | {"primary": facts["primary"] | {field: value}})
        digests.add(Registration.read(changed.text()).digest)
    assert len(digests) == 1 + len(changes)


def test_declared_looks_are_part_of_the_stopping_rule(api: TestClient, services: Services) -> None:
    looks = {"stopping": "planned", "looks": (2, 3), "spending": "pocock"}
    told = post_experiment(services, spec(seeds=(0, 1, 2), comparison={"a": "retrieved", "b": "synthetic", **looks}))
    found = Registration.read(api.get(f"/v1/experiments/{told.id}/registration").text)
    assert dict(found.lines)["Stopping rule"] == (
        "judged at declared looks and never between, may be stopped at each (2, 3 seeds; looks share alpha about alike)"
    )


def test_posting_the_same_spec_again_leaves_the_registration_as_it_was(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    before = api.get(f"/v1/experiments/{told.id}/registration").content
    finish_experiment(services, told)
    again = api.post("/v1/experiments", json=DECLARED.model_dump(mode="json"))
    assert (again.status_code, again.json()["id"]) == (200, told.id)
    assert api.get(f"/v1/experiments/{told.id}/registration").content == before


def test_the_verdict_and_the_page_print_it(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    finish_experiment(services, told)
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert verdict["registration"] == registration(api, told.id)
    assert verdict["added_later"] == []
    html = api.get(f"/experiments/{told.id}").text
    assert verdict["registration"]["digest"] in html
    assert "retrieved minus synthetic in zero-shot accuracy, mean over targets (fine, broad) and sizes (6, 12)" in html
    assert "judged once, when every run of both arms is in" in html
    assert "class Nepal of fine (its flag is no rectangle)" in html


def test_the_page_prints_it_before_there_is_a_verdict(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    assert registration(api, told.id)["digest"] in api.get(f"/experiments/{told.id}").text


# ------------------------------------------------------------------------------------------------ added later


def clone(api: TestClient, experiment: str, **changes: Any) -> dict[str, Any]:
    answer = api.post(f"/v1/experiments/{experiment}/clone", json=changes)
    assert answer.status_code == 201, answer.text
    return registration(api, answer.json()["id"])


def test_a_clone_of_a_judged_experiment_is_marked_as_declared_after_it(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    finish_experiment(services, told)
    found = clone(api, told.id, name="with more seeds", seeds=[0, 1, 2, 3])
    # 2 targets x (2 arms x 2 sizes + none) x 3 seeds
    parent = {"experiment": told.id, "measured": 30, "judged": True}
    assert found["parent"] == parent
    assert (found["runs_planned"], found["runs_known"]) == (32, 24)
    later = Registration.model_validate(found).added_later
    assert later == (
        f"Added later: cloned from {told.id} when the verdict of that experiment was ready, so it may have "
        "been declared because of it.",
        "24 of the 32 runs of the compared arms were done before this experiment was registered, so their results may "
        "have been seen.",
    )


def test_what_was_added_later_stands_in_verdict_and_page(api: TestClient, services: Services) -> None:
    first = post_experiment(services, DECLARED)
    finish_experiment(services, first)
    second = post(services, DECLARED.model_copy(update={"name": "the same again"}), DictLookup())
    finish_experiment(services, second)
    verdict = api.get(f"/v1/experiments/{second.id}/verdict").json()
    [later] = verdict["added_later"]
    assert later.startswith("All 24 runs of the compared arms were done before this experiment was registered")
    assert later in api.get(f"/experiments/{second.id}").text


def test_a_clone_of_a_half_finished_experiment_tells_how_much_could_be_seen(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services, DECLARED)
    results = made_up_results(services.artifacts, told)
    seen = [step for cell, step in told.plan.evaluations.items() if cell.seed == 0 and cell.arm == "retrieved"]
    finish_only(services, told, {step: results[step] for step in seen})
    found = Registration.model_validate(clone(api, told.id, name="renamed"))
    assert found.parent is not None
    assert (found.parent.measured, found.parent.judged) == (4, False)
    assert found.added_later[0] == f"Added later: cloned from {told.id} when 4 of its results were in."


def test_a_clone_before_any_result_is_not_marked_as_later(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    found = Registration.model_validate(clone(api, told.id, name="renamed"))
    assert found.added_later == ()
    assert ("Cloned from", f"{told.id}, before any of its results were in") in found.lines


def test_prices_that_come_with_the_request_are_marked(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    finish_experiment(services, told)
    asked = api.get(f"/v1/experiments/{told.id}/verdict", params={"cpu_hour": 0.04}).json()
    assert asked["added_later"] == ["Added later: the prices of computing came with the request for this verdict."]


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("exclusion", "code", "pointer"),
    [
        ({"kind": "target", "target": "fine", "reason": "x"}, "invalid_request", ""),
        ({"kind": "size", "size": 12, "reason": "x"}, "invalid_request", ""),
        ({"kind": "class", "target": "food", "class_name": "x", "reason": "x"}, "invalid_request", ""),
        (
            {"kind": "class", "target": "fine", "class_name": "thing 1", "reason": "x"},
            "exclusion_contradicted",
            "/exclusions/0",
        ),
        ({"kind": "size", "size": 48, "reason": ""}, "invalid_request", "/exclusions/0/size/reason"),
    ],
)
def test_what_is_part_of_the_experiment_cannot_be_said_to_be_left_out(
    api: TestClient, services: Services, exclusion: dict[str, Any], code: str, pointer: str
) -> None:
    post_experiment(services)
    body = spec(seeds=(7,)).model_dump(mode="json") | {"exclusions": [exclusion]}
    answer = api.post("/v1/experiments", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_a_spec_without_exclusions_keeps_its_identity() -> None:
    plain = spec()
    assert identity(plain) == identity(plain.model_copy(update={"exclusions": ()}))
    assert identity(plain) != identity(spec(exclusions=EXCLUSIONS))


def test_an_experiment_of_before_registrations_says_that_it_has_none(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    finish_experiment(services, told)
    with services.store.write() as session:
        session.execute(update(ExperimentRow).values(registration=None))
    assert registration(api, told.id) is None
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert (verdict["registration"], verdict["added_later"]) == (None, [])
    answer = api.get(f"/v1/experiments/{told.id}/registration")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_registration")
    assert "kept no registration" in api.get(f"/experiments/{told.id}").text


def test_a_registration_that_cannot_be_read_hides_nothing_else(api: TestClient, services: Services) -> None:
    told = post_experiment(services, DECLARED)
    finish_experiment(services, told)
    with services.store.write() as session:
        session.execute(update(ExperimentRow).values(registration='{"written": "by a later release"}'))
    assert registration(api, told.id) is None
    assert api.get(f"/v1/experiments/{told.id}/verdict").status_code == 200
    assert api.get(f"/experiments/{told.id}").status_code == 200


def test_an_unknown_experiment_has_no_registration(api: TestClient) -> None:
    answer = api.get("/v1/experiments/exp_none/registration")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
