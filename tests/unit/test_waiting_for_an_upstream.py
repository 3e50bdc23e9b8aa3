"""An experiment that waits for its upstream's own plan: what its view says when that failed, and how it goes on."""

from datetime import UTC, datetime

from support.many_steps import independent_plan
from support.memory_services import api_client
from support.specs import resolved
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Problem
from touchstone_planning import transitions
from touchstone_planning.transitions import Limits
from touchstone_store.catalogue import register
from touchstone_store.plans import StepChange, Survey, create_plan, save_steps
from touchstone_store.steps import find_rows, to_step
from touchstone_store.tables import ExperimentRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INGEST_PLAN, OWN_PLAN = independent_plan(1, "ingest"), independent_plan(2, "own")
INGEST, OWN = INGEST_PLAN.steps, OWN_PLAN.steps


def create(services: Services) -> None:
    body = resolved()
    for plan in (INGEST_PLAN, OWN_PLAN):
        services.artifacts.put_facts(plan.facts.blobs)
    with services.store.write() as session:
        register(session, body.upstream, DEFAULT_PROJECT, NOW)
        create_plan(session, "upstream/world", INGEST, Survey(), NOW)
        create_plan(session, "exp_a", OWN, Survey(), NOW, needs="upstream/world")
        experiment = {"spec": body.spec.model_dump(mode="json"), "resolved": body.model_dump(mode="json")}
        session.add(ExperimentRow(id="exp_a", identity=identity(body), name="a", created_at=NOW, **experiment))


def fail_ingest(services: Services) -> None:
    problem = Problem(title="Place missing", code="place_missing", detail="no file s0.parquet in the library")
    with services.store.write() as session:
        [row] = find_rows(session, [INGEST[0].id], lock=True).values()
        failed = transitions.fail(to_step(row), problem, NOW, Limits(), retryable=False)
        save_steps(session, [StepChange(row, failed)], NOW)


def test_the_view_names_the_upstream_why_it_failed_and_how_to_go_on(services: Services) -> None:
    create(services)
    with api_client(services) as client:
        before = client.get("/v1/experiments/exp_a").json()
        assert before["phase"] == "queued"
        assert (before["waits_for"]["name"], before["waits_for"]["steps"]["waiting"]) == ("world", 1)
        fail_ingest(services)
        for view in (client.get("/v1/experiments/exp_a").json(), *client.get("/v1/experiments").json()["items"]):
            assert (view["phase"], view["steps"]["waiting"], view["steps"]["failed"]) == ("failed", 2, 0)
            assert [problem["code"] for problem in view["problems"]] == ["upstream_failed", "place_missing"]
            detail = view["problems"][0]["detail"]
            for part in ("upstream 'world'", "no file s0.parquet", "POST /v1/experiments/exp_a/retry"):
                assert part in detail
        assert "upstream &#39;world&#39;" in client.get("/").text
        retried = client.post("/v1/experiments/exp_a/retry").json()
        assert (retried["phase"], retried["problems"], retried["finished_at"]) == ("queued", [], None)
