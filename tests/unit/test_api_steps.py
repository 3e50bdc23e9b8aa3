"""Looking into single steps and trying failed work again, over HTTP in process."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.memory_services import OUT_OF_DISK, api_client, fail_step, finish_steps, register_everything
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.facts import references_in
from touchstone_contracts.keys import blob_key
from touchstone_contracts.views import ExperimentView, StepDetail, StepPage, StepView
from touchstone_store.tables import StepRow

UPSTREAM = DictLookup().upstreams["world"].model_dump(mode="json")
INGEST = "/v1/upstreams/world"


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with api_client(services, raise_server_exceptions=False) as client:
        register_everything(client)
        yield client


def posted(client: TestClient, **changes: Any) -> ExperimentView:
    answer = client.post("/v1/experiments", json=spec().model_dump(mode="json") | changes)
    return ExperimentView.model_validate_json(answer.content)


def base_of(experiment: ExperimentView) -> str:
    return f"/v1/experiments/{experiment.id}"


def steps_of(client: TestClient, base: str, **query: Any) -> list[StepView]:
    """All pages."""
    found: list[StepView] = []
    cursor = None
    while True:
        params = query | ({"cursor": cursor} if cursor else {})
        page = StepPage.model_validate_json(client.get(f"{base}/steps", params=params).content)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def step_of_kind(client: TestClient, base: str, kind: str) -> str:
    return next(step.id for step in steps_of(client, base) if step.kind == kind)


def remove_facts(services: Services, step: str) -> int:
    with services.store.read() as session:
        named = references_in(session.get_one(StepRow, step).request).values()
    for digest in named:
        services.artifacts._objects.remove(blob_key(digest))  # type: ignore[attr-defined]
    return len(named)


def test_the_steps_are_listed_once_each_in_the_order_of_the_plan(client: TestClient) -> None:
    experiment = posted(client)
    listed = steps_of(client, base_of(experiment), limit=7)
    detail = client.get(base_of(experiment)).json()
    assert experiment.links["steps"] == f"{base_of(experiment)}/steps"
    assert [step.id for step in listed] == [step["id"] for step in detail["step_list"]]
    assert len(listed) > 20
    assert [step.kind for step in steps_of(client, INGEST, limit=2)][-1] == "index_upstream"


def test_the_list_is_narrowed_by_state_and_by_the_beginning_of_the_id(client: TestClient, services: Services) -> None:
    experiment = posted(client)
    base = base_of(experiment)
    broken = step_of_kind(client, base, "generate_images")
    fail_step(services, broken)
    assert [step.id for step in steps_of(client, base, state="failed")] == [broken]
    assert steps_of(client, base, state="succeeded") == []
    assert [step.id for step in steps_of(client, base, prefix=broken[:16])] == [broken]
    assert steps_of(client, base, prefix="%") == []
    assert len(steps_of(client, base, state="waiting")) == experiment.steps.total - 1


@pytest.mark.parametrize(
    ("query", "code"),
    [({"state": "tired"}, "invalid_request"), ({"cursor": "%%%"}, "bad_cursor"), ({"cursor": "YWJj"}, "bad_cursor")],
)
def test_a_list_of_steps_refuses_what_it_does_not_know(client: TestClient, query: dict[str, str], code: str) -> None:
    answer = client.get(f"{INGEST}/steps", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("base", ["/v1/experiments/exp_none", "/v1/upstreams/nowhere"])
@pytest.mark.parametrize(("method", "path"), [("GET", "steps"), ("GET", "steps/ab"), ("POST", "steps/ab/retry")])
def test_steps_of_nobody_are_not_found(client: TestClient, base: str, method: str, path: str) -> None:
    answer = client.request(method, f"{base}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_failed_step_tells_its_problem_its_worker_and_the_end_of_the_log(
    client: TestClient, services: Services
) -> None:
    index = step_of_kind(client, INGEST, "index_upstream")
    waiting = StepDetail.model_validate_json(client.get(f"{INGEST}/steps/{index}").content)
    embeddings = {step.id for step in steps_of(client, INGEST) if step.kind == "embed_images"}
    assert (waiting.state, waiting.queue, waiting.worker, waiting.log_tail) == ("waiting", "retrieval", None, None)
    assert embeddings <= set(waiting.inputs)
    fail_step(services, index)
    failed = StepDetail.model_validate_json(client.get(f"{INGEST}/steps/{index}").content)
    assert (failed.state, failed.attempt, failed.worker) == ("failed", 1, "w1")
    assert (failed.problem, failed.log_tail) == (OUT_OF_DISK, "writing shard 3\nOSError: 28")
    assert failed.started_at is not None
    assert failed.finished_at is not None
    assert failed.created_at <= failed.started_at <= failed.finished_at


def test_a_step_of_another_experiment_is_not_found(client: TestClient) -> None:
    mine, other = posted(client), posted(client, seeds=[7])
    theirs = {step.id for step in steps_of(client, base_of(other))}
    [step, *_] = theirs - {step.id for step in steps_of(client, base_of(mine))}
    for method, path in (("GET", ""), ("POST", "/retry")):
        answer = client.request(method, f"{base_of(mine)}/steps/{step}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert f"GET {base_of(mine)}/steps" in answer.json()["detail"]


def test_one_failed_step_is_retried_and_every_experiment_that_ended_with_it_goes_on(
    client: TestClient, services: Services
) -> None:
    experiments = [posted(client), posted(client, name="the same work under another name")]
    base = base_of(experiments[0])
    pair = [step.id for step in steps_of(client, base) if step.kind == "generate_images"][:2]
    for step in pair:
        fail_step(services, step)
    again = StepDetail.model_validate_json(client.post(f"{base}/steps/{pair[0]}/retry").content)
    assert (again.state, again.attempt, again.problem, again.log_tail) == ("waiting", 1, None, None)
    assert [step.id for step in steps_of(client, base, state="failed")] == pair[1:]
    assert client.post(f"{base}/steps/{pair[1]}/retry").json()["state"] == "waiting"
    phases = [client.get(base_of(each)).json() for each in experiments]
    assert [(each["phase"], each["finished_at"]) for each in phases] == [("queued", None)] * 2


def test_a_step_that_has_not_failed_is_not_retried(client: TestClient, services: Services) -> None:
    experiment = posted(client)
    base = base_of(experiment)
    step = step_of_kind(client, base, "generate_images")
    for state in ("waiting", "succeeded"):
        answer = client.post(f"{base}/steps/{step}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
        assert f"is {state}" in answer.json()["detail"]
        finish_steps(services, experiment.id)


def test_a_step_of_a_cancelled_experiment_waits_for_the_experiments_own_retry(
    client: TestClient, services: Services
) -> None:
    experiment = posted(client)
    base = base_of(experiment)
    step = step_of_kind(client, base, "generate_images")
    client.post(f"{base}/cancel")
    fail_step(services, step)
    answer = client.post(f"{base}/steps/{step}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
    assert f"POST {base}/retry" in answer.json()["detail"]
    assert client.post(f"{base}/retry").json()["phase"] == "queued"


def test_a_failed_ingest_is_retried(client: TestClient, services: Services) -> None:
    refused = client.post(f"{INGEST}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_retryable")
    assert "upstream 'world' is queued" in refused.json()["detail"]
    for kind in ("ingest_images", "index_upstream"):
        fail_step(services, step_of_kind(client, INGEST, kind))
    assert client.get(INGEST).json()["phase"] == "failed"
    answer = client.post(f"{INGEST}/retry")
    assert (answer.status_code, answer.json()["phase"], answer.json()["problems"]) == (200, "queued", [])
    assert client.post("/v1/upstreams/nowhere/retry").status_code == 404


def test_an_ingest_is_cancelled_with_what_waits_for_it_and_goes_on(client: TestClient, services: Services) -> None:
    waiting = client.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["links"]["self"]
    assert client.post(f"{INGEST}/cancel").json()["phase"] == "cancelled"
    assert client.post(f"{INGEST}/cancel").json()["phase"] == "cancelled"
    failed = client.get(waiting).json()
    assert failed["phase"] == "failed"
    assert (
        "the ingest of upstream 'world', which this experiment needs, was cancelled" in failed["problems"][0]["detail"]
    )
    assert client.post(f"{INGEST}/retry").json()["phase"] == "queued"
    assert client.get(waiting).json()["phase"] == "queued"
    assert client.post("/v1/upstreams/nowhere/cancel").status_code == 404


def test_one_failed_step_of_an_ingest_is_retried(client: TestClient, services: Services) -> None:
    step = step_of_kind(client, INGEST, "ingest_images")
    fail_step(services, step)
    assert client.post(f"{INGEST}/steps/{step}/retry").json()["state"] == "waiting"
    assert client.get(INGEST).json()["phase"] == "queued"


def test_an_ingest_whose_facts_are_gone_is_registered_again_before_it_is_retried(
    client: TestClient, services: Services
) -> None:
    index = step_of_kind(client, INGEST, "index_upstream")
    fail_step(services, index)
    assert remove_facts(services, index) == 1
    for path in ("retry", f"steps/{index}/retry"):
        answer = client.post(f"{INGEST}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "facts_missing")
        assert "POST /v1/upstreams" in answer.json()["detail"]
    assert client.get(INGEST).json()["phase"] == "failed"
    assert client.post("/v1/upstreams", json=UPSTREAM).status_code == 200
    assert client.post(f"{INGEST}/retry").json()["phase"] == "queued"


def test_an_experiment_whose_facts_are_gone_is_posted_again_before_it_is_retried(
    client: TestClient, services: Services
) -> None:
    experiment = posted(client)
    base = base_of(experiment)
    step, whole = step_of_kind(client, base, "curate_images"), step_of_kind(client, base, "generate_images")
    for each in (step, whole):
        fail_step(services, each)
    assert remove_facts(services, step) >= 2
    for path in ("retry", f"steps/{step}/retry"):
        answer = client.post(f"{base}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "facts_missing")
        assert "POST /v1/experiments" in answer.json()["detail"]
    assert client.post(f"{base}/steps/{whole}/retry").json()["state"] == "waiting"
    assert posted(client).id == experiment.id
    assert client.post(f"{base}/retry").json()["phase"] == "queued"


def test_an_experiment_that_waits_for_a_failed_ingest_is_retried_with_it(
    client: TestClient, services: Services
) -> None:
    base = base_of(posted(client))
    index = step_of_kind(client, INGEST, "index_upstream")
    fail_step(services, index)
    assert client.get(base).json()["phase"] == "failed"
    remove_facts(services, index)
    refused = client.post(f"{base}/retry").json()
    assert (refused["code"], "POST /v1/upstreams" in refused["detail"]) == ("facts_missing", True)
    client.post("/v1/upstreams", json=UPSTREAM)
    assert client.post(f"{base}/retry").json()["phase"] == "queued"
    assert client.get(INGEST).json()["phase"] == "queued"
