"""POST and everything else about experiments, over HTTP in process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from support.memory_services import api_client, finish_steps, memory_services, register_everything
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.keys import manifest_key
from touchstone_store.steps import owned_steps
from touchstone_store.tables import AuditRow, Base, StepRow

BODY = spec().model_dump(mode="json")


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with api_client(services, raise_server_exceptions=False) as client:
        register_everything(client)
        yield client


def post(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/experiments", json=BODY | changes)


def rows(services: Services) -> dict[str, int]:
    """Without the audit log, which knows of refused requests too."""
    with services.store.read() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
            if name != AuditRow.__tablename__
        }


def test_a_new_spec_answers_201_with_its_location(client: TestClient) -> None:
    answer = post(client)
    assert answer.status_code == 201
    view = answer.json()
    assert answer.headers["location"] == f"/v1/experiments/{view['id']}"
    assert view["phase"] == "queued"
    assert view["steps"]["total"] == view["steps"]["waiting"] > 20
    assert view["steps"]["reused"] == 0


def test_same_spec_twice_returns_the_first_experiment(client: TestClient, services: Services) -> None:
    first = post(client)
    before = rows(services)
    second = post(client)
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
    assert second.headers["location"] == first.headers["location"]
    assert rows(services) == before


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "probe without a training split": (
        {"evaluation": {"metrics": ["zero_shot", "regularised_probe"]}},
        422,
        "target_insufficient",
        "/evaluation/metrics/1",
    ),
    "unknown field": ({"colour": "red"}, 422, "invalid_request", "/colour"),
    "unknown arm kind": ({"arms": [{"kind": "telepathy", "name": "x"}]}, 422, "invalid_request", "/arms/0/kind"),
    "unknown field inside an arm": (
        {"arms": [{"kind": "none"}, {"kind": "retrieval", "name": "r", "strategy": {"kind": "union", "k": 1}}]},
        422,
        "invalid_request",
        "/arms/1/strategy/k",
    ),
    "missing field inside an arm": (
        {"arms": [{"kind": "generation", "name": "g", "generator": "diffusion"}]},
        422,
        "invalid_request",
        "/arms/0/images",
    ),
    "unknown target": ({"targets": ["fine", "nowhere"]}, 422, "unknown_name", "/targets/1"),
    "unknown generator": (
        {"arms": [{"kind": "generation", "name": "g", "generator": "nobody", "images": 27}]},
        422,
        "unknown_name",
        "/arms/0/generator",
    ),
    "size that cannot be had": ({"sizes": [6, 10_000_000]}, 422, "size_unreachable", "/sizes/1"),
    "size below one": ({"sizes": [0]}, 422, "invalid_request", "/sizes/0"),
    "generator of another upstream": (
        {"arms": [{"kind": "generation", "name": "g", "generator": "stranger", "images": 27}]},
        409,
        "generator_of_another_upstream",
        "/arms/0/generator",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("path", ["/v1/experiments", "/v1/experiments/validate"])
def test_a_bad_spec_is_refused_by_field_and_creates_nothing(
    client: TestClient, services: Services, case: str, path: str
) -> None:
    changes, status, code, pointer = REFUSED[case]
    before = rows(services)
    answer = client.post(path, json=BODY | changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert rows(services) == before


def test_an_experiment_of_known_results_is_finished_at_once(client: TestClient, services: Services) -> None:
    first = post(client).json()
    finish_steps(services, first["id"])
    renamed = post(client, name="the same work under another name")
    assert renamed.status_code == 201
    view = renamed.json()
    assert view["phase"] == "succeeded"
    assert view["steps"]["reused"] == view["steps"]["total"] == view["steps"]["succeeded"]
    assert sum(view["reused_by_kind"].values()) == view["steps"]["total"]
    assert view["finished_at"] is not None


def test_a_clone_with_other_sizes_repeats_only_what_a_size_decides(client: TestClient, services: Services) -> None:
    first = post(client).json()
    finish_steps(services, first["id"])
    answer = client.post(f"/v1/experiments/{first['id']}/clone", json={"sizes": [9]})
    assert answer.status_code == 201
    clone = answer.json()
    assert clone["spec"]["sizes"] == [9]
    detail = client.get(f"/v1/experiments/{clone['id']}").json()
    again = {step["kind"] for step in detail["step_list"] if not step["reused"]}
    assert again == {"audit_pool", "adapt_encoder", "evaluate_encoder", "probe_sources", "judge_experiment"}
    assert detail["steps"]["reused"] == sum(detail["reused_by_kind"].values()) > 10
    unchanged = client.post(f"/v1/experiments/{first['id']}/clone", json={})
    assert (unchanged.status_code, unchanged.json()["id"]) == (200, first["id"])


def test_a_clone_can_turn_a_rule_off(client: TestClient) -> None:
    first = post(client, curation={"leak_cosine": 0.9, "ranking": "score"}).json()
    changes = {"curation": {"leak_cosine": None}, "recipe": {"kind": "head_only"}}
    answer = client.post(f"/v1/experiments/{first['id']}/clone", json=changes)
    assert answer.status_code == 201
    spec = answer.json()["spec"]
    assert (spec["curation"]["leak_cosine"], spec["curation"]["ranking"]) == (None, "score")
    assert spec["recipe"]["kind"] == "head_only"


def test_a_clone_with_bad_changes_names_the_field(client: TestClient, services: Services) -> None:
    first = post(client).json()
    before = rows(services)
    answer = client.post(f"/v1/experiments/{first['id']}/clone", json={"sizes": ["many"], "encoder": None})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} >= {"/sizes/0", "/encoder"}
    assert rows(services) == before


def test_a_lost_result_is_computed_again_and_not_counted_as_reused(client: TestClient, services: Services) -> None:
    first = post(client).json()
    finish_steps(services, first["id"])
    with services.store.read() as session:
        lost = next(owned.step.id for owned in owned_steps(session, first["id"]) if owned.kind == "curate_images")
    services.artifacts._objects.remove(manifest_key(lost))  # type: ignore[attr-defined]
    other = post(client, name="after the loss").json()
    states = {
        step["id"]: (step["state"], step["reused"])
        for step in client.get(f"/v1/experiments/{other['id']}").json()["step_list"]
    }
    assert states[lost] == ("waiting", False)
    assert other["steps"]["reused"] == other["steps"]["total"] - 1
    # The first experiment is told the truth too: one of its results is missing.
    assert client.get(f"/v1/experiments/{first['id']}").json()["steps"]["waiting"] == 1


def test_results_in_the_object_store_count_though_sql_never_heard_of_them(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    first = post(client).json()
    finish_steps(services, first["id"])
    (tmp_path / "second").mkdir()
    rebuilt = memory_services(tmp_path / "second", services.artifacts)
    with api_client(rebuilt) as other:
        register_everything(other)
        view = post(other).json()
    assert (view["identity"], view["phase"]) == (first["identity"], "succeeded")
    assert view["steps"]["reused"] == view["steps"]["total"]


def test_validate_says_what_would_happen(client: TestClient, services: Services) -> None:
    before = rows(services)
    dry = client.post("/v1/experiments/validate", json=BODY).json()
    assert rows(services) == before
    assert dry["experiment"] is None
    view = post(client).json()
    assert (dry["identity"], dry["steps"]) == (view["identity"], view["steps"]["total"])
    assert client.post("/v1/experiments/validate", json=BODY).json()["experiment"] == view["id"]


def test_cancel_then_retry(client: TestClient) -> None:
    path = f"/v1/experiments/{post(client).json()['id']}"
    assert client.post(f"{path}/retry").json()["code"] == "not_retryable"
    for _ in range(2):  # cancelling twice is harmless
        cancelled = client.post(f"{path}/cancel").json()
        assert (cancelled["phase"], cancelled["finished_at"] is not None) == ("cancelled", True)
    assert client.post(f"{path}/retry").json()["phase"] == "queued"
    assert client.get(path).json()["finished_at"] is None


def test_pages_list_every_experiment_once_newest_first(client: TestClient) -> None:
    posted = [post(client, name=f"experiment {number}").json()["id"] for number in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page = client.get("/v1/experiments", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (posted[::-1], None)
    bad = client.get("/v1/experiments", params={"cursor": "%%%"})
    assert (bad.status_code, bad.json()["code"]) == (422, "bad_cursor")


def test_an_idempotency_key_belongs_to_one_body(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = client.post("/v1/experiments", json=BODY, headers=headers)
    again = client.post("/v1/experiments", json=BODY, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = client.post("/v1/experiments", json=BODY | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_the_history_is_streamed_and_resumes(client: TestClient, services: Services) -> None:
    first = post(client).json()
    finish_steps(services, first["id"])
    path = f"/v1/experiments/{first['id']}/events"
    whole = client.get(path)
    assert whole.headers["content-type"].startswith("text/event-stream")
    ids = [int(line.removeprefix("id: ")) for line in whole.text.splitlines() if line.startswith("id: ")]
    assert ids == sorted(set(ids))
    assert len(ids) >= 2
    rest = client.get(path, headers={"Last-Event-ID": str(ids[0])})
    assert [f"id: {number}" for number in ids[1:]] == [x for x in rest.text.splitlines() if x.startswith("id: ")]
    assert client.get(path, headers={"Last-Event-ID": str(ids[-1])}).status_code == 204
    assert client.get("/v1/experiments/exp_none/events").json()["code"] == "not_found"
    assert client.get(path, headers={"Last-Event-ID": "soon"}).status_code == 422


def test_steps_of_a_kind_that_this_release_does_not_know_are_shown(client: TestClient, services: Services) -> None:
    experiment = post(client).json()["id"]
    with services.store.write() as session:
        changed = {"kind": "paint_mural", "version": 4, "queue": "painter"}
        session.execute(update(StepRow).where(StepRow.kind == "ingest_images").values(changed))
    shown = client.get(f"/v1/experiments/{experiment}").json()["step_list"]
    assert sum(step["kind"] == "paint_mural" for step in shown) > 3
    for page in ("/", f"/experiments/{experiment}", "/metrics", "/v1/experiments"):
        assert client.get(page).status_code == 200
    assert "paint_mural" in client.get(f"/experiments/{experiment}").text


def test_an_outage_of_the_object_store_creates_nothing(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from touchstone_contracts.problems import Transient

    def away(step: str) -> None:
        raise Transient("object store unreachable", code="object_store")

    monkeypatch.setattr(services.artifacts, "manifest", away)
    before = rows(services)
    answer = post(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "object_store")
    assert "retry-after" in answer.headers
    assert rows(services) == before
