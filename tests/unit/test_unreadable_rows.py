"""A row that this release cannot read stops what it belongs to: not the conductor, not the list, not other work."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from support.finished_experiments import post_experiment
from support.many_steps import independent_steps
from support.memory_services import MemoryReports, api_client, empty_manifest, memory_services
from support.plan_columns import check_plan_columns
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import StepStarted, StepSucceeded
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.experiments import plan_states
from touchstone_store.plans import Survey, create_plan
from touchstone_store.steps import owned_steps

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BROKEN_STEP, HEALTHY_STEP = (independent_steps(1, name)[0] for name in ("broken", "healthy"))


class Bench:
    """Two plans of one step each, and a conductor."""

    def __init__(self, folder: Path) -> None:
        self.services = memory_services(folder)
        self.store, self.reports, self.broker = self.services.store, MemoryReports(), MemoryDispatcher()
        self.conductor = Conductor(
            store=self.store,
            artifacts=self.services.artifacts,
            reports=self.reports,
            dispatcher=self.broker,
            presence=MemoryPresence(NOW.timestamp),
            now=lambda: NOW,
        )
        with self.store.write() as session:
            create_plan(session, "exp_broken", [BROKEN_STEP], Survey(), NOW)
            create_plan(session, "exp_healthy", [HEALTHY_STEP], Survey(), NOW)

    def spoil(self, column: str, value: str) -> None:
        with self.store.write() as session:
            statement = text(f"UPDATE steps SET {column} = :value WHERE id = :step")
            session.execute(statement, {"value": value, "step": BROKEN_STEP.id})

    def finish_healthy(self) -> None:
        self.services.artifacts.write_manifest(empty_manifest(HEALTHY_STEP.id, HEALTHY_STEP.kind))
        self.reports.waiting.append(StepSucceeded(step_id=HEALTHY_STEP.id, attempt=1))

    def phases(self) -> list[str]:
        with self.store.read() as session:
            states = plan_states(session, ["exp_broken", "exp_healthy"])
        return [states["exp_broken"].phase, states["exp_healthy"].phase]

    def problem(self) -> str:
        with self.store.read() as session:
            [owned] = owned_steps(session, "exp_broken")
        assert owned.step.problem is not None
        assert owned.step.problem.code == "unreadable_row"
        return owned.step.problem.detail


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("request", "not JSON"),
        ("request", "[1, 2]"),
        ("problem", "not JSON"),
        ("problem", '{"title": "no code"}'),
        ("not_before", "2025-00-00"),
    ],
)
def test_a_waiting_step_that_cannot_be_read_fails_its_plans_alone(bench: Bench, column: str, value: str) -> None:
    bench.spoil(column, value)
    assert bench.conductor.cycle(0)
    bench.finish_healthy()
    assert bench.conductor.cycle(0)
    assert bench.phases() == ["failed", "succeeded"]
    assert f"row '{BROKEN_STEP.id}' of table 'steps' cannot be read" in bench.problem()
    assert {message.step_id for message in bench.broker.sent} == {HEALTHY_STEP.id}
    assert check_plan_columns(bench.store) == 2


@pytest.mark.parametrize("value", ["not JSON", '{"title": "no code"}'])
def test_a_leased_step_that_cannot_be_read_fails_when_it_is_reported(bench: Bench, value: str) -> None:
    assert bench.conductor.cycle(0)
    bench.spoil("problem", value)
    bench.reports.waiting.append(StepStarted(step_id=BROKEN_STEP.id, attempt=1, worker="w"))
    bench.finish_healthy()
    assert bench.conductor.cycle(0)
    assert bench.phases() == ["failed", "succeeded"]
    assert "table 'steps'" in bench.problem()
    assert check_plan_columns(bench.store) == 2


def test_an_experiment_that_cannot_be_read_is_listed_as_failed_beside_the_others(services: Services) -> None:
    healthy, broken = post_experiment(services).id, post_experiment(services, spec(name="other", seeds=(5,))).id
    with services.store.write() as session:
        statement = text("UPDATE experiments SET spec = :spec WHERE id = :id")
        session.execute(statement, {"spec": '{"name": 7}', "id": broken})
    with api_client(services, raise_server_exceptions=False) as client:
        first, second = client.get("/v1/experiments").json()["items"]
        assert (first["id"], first["phase"], first["name"], first["spec"]) == (broken, "failed", "other", None)
        assert first["problems"][0]["code"] == "unreadable_row"
        assert f"row '{broken}' of table 'experiments'" in first["problems"][0]["detail"]
        assert (second["id"], second["phase"], second["problems"]) == (healthy, "queued", [])
        assert client.get(f"/v1/experiments/{broken}").json()["steps"]["total"] > 20
        clone = client.post(f"/v1/experiments/{broken}/clone", json={})
        assert (clone.status_code, clone.json()["code"]) == (500, "unreadable_row")
        page = client.get("/")
        assert page.status_code == 200
        assert "cannot be read by this release" in page.text
        assert client.get(f"/experiments/{broken}").status_code == 500
        assert "cannot be read by this release" in client.get(f"/experiments/{broken}").text


def test_an_experiment_whose_resolved_body_cannot_be_read_says_so_where_it_is_needed(services: Services) -> None:
    broken = post_experiment(services).id
    with services.store.write() as session:
        session.execute(text("UPDATE experiments SET resolved = 'gone'"))
    with api_client(services, raise_server_exceptions=False) as client:
        assert client.get(f"/v1/experiments/{broken}").json()["phase"] == "queued"
        assert client.get(f"/v1/experiments/{broken}/results").status_code == 200
        answer = client.get(f"/v1/experiments/{broken}/manifest")
        assert (answer.status_code, answer.json()["code"]) == (500, "unreadable_row")


def test_a_problem_that_cannot_be_read_is_shown_as_one(services: Services) -> None:
    told = post_experiment(services)
    with services.store.write() as session:
        values = {"problem": '{"colour": "red"}', "step": told.plan.steps[0].id}
        session.execute(text("UPDATE steps SET state = 'failed', problem = :problem WHERE id = :step"), values)
        counts = "UPDATE plans SET phase = 'failed', failed = 1, waiting = waiting - 1 WHERE id = :plan"
        session.execute(text(counts), {"plan": told.id})
    with api_client(services, raise_server_exceptions=False) as client:
        [view] = client.get("/v1/experiments").json()["items"]
        assert [problem["code"] for problem in view["problems"]] == ["unreadable_row"]
        steps = client.get(f"/v1/experiments/{told.id}").json()["step_list"]
        assert [step["problem"]["code"] for step in steps if step["problem"]] == ["unreadable_row"]
