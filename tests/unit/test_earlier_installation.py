"""What an earlier release left behind opens with this code and says what it said."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from support.earlier_installation import STORED, EarlierInstallation, contradictions, open_earlier_installation
from support.finished_experiments import judge_stored
from support.memory_services import api_client
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.steps import CATALOGUE
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest, folder_digest
from touchstone_store.adoption import JUDGEMENTS


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> EarlierInstallation:
    return open_earlier_installation(tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="module")
def api(earlier: EarlierInstallation) -> TestClient:
    """After the judge has judged what had finished: that release stored no verdicts."""
    services = earlier.services()
    # All seeds, and the compared arms before the others are in.
    assert judge_stored(services, JUDGEMENTS + earlier.experiment("finished")) == 2
    return api_client(services, raise_server_exceptions=False)


def test_every_answer_of_the_earlier_release_is_given_again(earlier: EarlierInstallation, api: TestClient) -> None:
    answers = earlier.expected["answers"]
    assert len(answers) == 36
    for path, expected in answers.items():
        response = api.get(path)
        assert response.status_code == expected["status"], path
        assert contradictions(expected["body"], response.json(), path) == []


def test_its_experiments_are_in_the_phases_they_were_in(earlier: EarlierInstallation, api: TestClient) -> None:
    found = {each["id"]: each["phase"] for each in api.get("/v1/experiments").json()["items"]}
    phases = {"finished": "succeeded", "cancelled": "cancelled", "half_finished": "running"}
    assert found == {earlier.experiment(which): phase for which, phase in phases.items()}


def test_the_finished_results_have_the_same_digest_and_the_verdict_is_about_them(
    earlier: EarlierInstallation, api: TestClient
) -> None:
    path = f"/v1/experiments/{earlier.experiment('finished')}"
    results, verdict = (api.get(f"{path}/{part}").json() for part in ("results", "verdict"))
    assert results["digest"] == earlier.expected["answers"][f"{path}/results"]["body"]["digest"]
    assert results["complete"]
    # 2 targets with 3 test sets, 2 seeds, 2 metrics; none, and 6 arms at 3 sizes less the exhausted one
    assert len(results["rows"]) == 3 * 2 * 2 * (1 + 6 * 3 - 1)
    assert {(each["arm"], each["size"]) for each in results["exhausted"]} == {("scarce", 16)}
    assert (verdict["a"], verdict["b"], verdict["results_digest"]) == ("synthetic", "retrieved", results["digest"])


def test_the_half_finished_one_stopped_in_the_middle(earlier: EarlierInstallation, api: TestClient) -> None:
    steps = api.get(f"/v1/experiments/{earlier.experiment('half_finished')}").json()["step_list"]
    by_state = Counter(step["state"] for step in steps)
    assert by_state == {"succeeded": 23, "leased": 3, "waiting": 69}
    waiting = {step["kind"] for step in steps if step["state"] == "waiting"}
    computing = {"generate_images", "perturb_images", "curate_images", "mix_pools", "adapt_encoder", "evaluate_encoder"}
    assert computing <= waiting
    assert {step["kind"] for step in steps if step["state"] == "leased"} == {"adapt_encoder", "collect_captions"}
    own = {step["kind"] for step in steps if step["state"] == "succeeded" and not step["reused"]}
    assert own == {"adapt_encoder", "evaluate_encoder"}


def test_what_it_will_reach_is_known(earlier: EarlierInstallation) -> None:
    experiment = f"/v1/experiments/{earlier.experiment('half_finished')}"
    reached = {path: answer["body"] for path, answer in earlier.expected["reached"].items()}
    results, verdict = reached[f"{experiment}/results"], reached[f"{experiment}/verdict"]
    assert results["complete"]
    assert len(results["rows"]) == 2 * 2 * 2 * (1 + 5 * 3)  # test sets, seeds, metrics; none, and 5 arms at 3 sizes
    assert verdict["results_digest"] == results["digest"]


@pytest.mark.parametrize("which", ["finished", "half_finished"])
def test_arms_of_one_definition_share_their_steps_under_the_first_role(
    earlier: EarlierInstallation, api: TestClient, which: str
) -> None:
    path = f"/v1/experiments/{earlier.experiment(which)}"
    roles = [step["role"] for step in api.get(path).json()["step_list"]]
    assert any("/retrieved/adapt" in role for role in roles)
    assert not any("retrieved-again" in role for role in roles)
    rows = api.get(f"{path}/results").json()["rows"]
    values = {
        arm: [(row["size"], row["seed"], row["metric"], row["value"]) for row in rows if row["arm"] == arm]
        for arm in ("retrieved", "retrieved-again")
    }
    assert values["retrieved"]
    assert values["retrieved"] == values["retrieved-again"]


def test_every_finished_step_has_its_result_and_its_blobs(earlier: EarlierInstallation, api: TestClient) -> None:
    artifacts = Artifacts(earlier.objects)
    states: dict[str, str] = {}
    for experiment in earlier.expected["experiments"].values():
        steps = api.get(f"/v1/experiments/{experiment}").json()["step_list"]
        states |= {step["id"]: step["state"] for step in steps}
    assert Counter(states.values())["succeeded"] == 162
    for step, state in states.items():
        manifest = artifacts.verified(step)
        assert (manifest is not None) == (state == "succeeded")
        assert manifest is None or manifest.kind in CATALOGUE


def test_the_library_holds_what_is_registered(earlier: EarlierInstallation) -> None:
    catalogue = Catalogue.model_validate(yaml.safe_load((earlier.library / "catalogue.yaml").read_text()))
    sources: list[Any] = [shard for upstream in catalogue.upstreams for shard in upstream.shards]
    for target in catalogue.targets:
        sources += [target.splits.validation, *target.splits.tests.values()]
    for source in sources:
        assert file_digest(path_of(earlier.library, source.location)) == source.digest
    models = [*catalogue.encoders, *catalogue.generators]
    for model in models:
        assert folder_digest(path_of(earlier.library, model.model)) == model.digest
    assert (len(sources), len(models)) == (7, 3)


def path_of(library: Path, location: str) -> Path:
    return library / location.removeprefix("library:")


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        ({"rows": [{"value": 0.25}], "more": 1}, []),
        ({"rows": [{"value": 0.25 + 1e-12}]}, []),
        ({"rows": [{"value": 0.5}]}, ["/rows/0/value is 0.5, was 0.25"]),
        ({"rows": [{"value": 0.25}], "headline": "in other words"}, []),
        ({"rows": []}, ["/rows is [], was [{'value': 0.25}]"]),
        ({}, ["/rows is missing"]),
        ([], ["is [], was {'rows': [{'value': 0.25}]}"]),
    ],
)
def test_contradictions_are_told_by_their_pointer(answered: object, found: list[str]) -> None:
    assert [each.strip() for each in contradictions({"rows": [{"value": 0.25}]}, answered)] == found


def test_opening_it_changes_nothing_that_is_stored(tmp_path: Path) -> None:
    before = folder_digest(STORED)
    opened = open_earlier_installation(tmp_path)
    api = api_client(opened.services())
    assert api.post(f"/v1/experiments/{opened.experiment('half_finished')}/cancel").json()["phase"] == "cancelled"
    assert folder_digest(STORED) == before
