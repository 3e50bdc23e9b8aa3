"""What a stream of events tells of progress, which no history holds."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi.testclient import TestClient
from sqlalchemy import select
from support.finished_experiments import finish_experiment, post_experiment
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.routes.events import PROGRESS_SECONDS, ProgressTeller, stream
from touchstone_contracts.messages import StepProgressed
from touchstone_planning import transitions
from touchstone_planning.state import Step
from touchstone_planning.transitions import Limits
from touchstone_store.events import COMPACTED_AFTER, compact_history, plans_to_compact
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.plans import StepChange, cancel_plan, save_steps
from touchstone_store.steps import Progress, find_rows, to_step
from touchstone_store.tables import EventRow, PlanRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits()


def change(services: Services, step: str, to: Callable[[Step], Step]) -> None:
    with services.store.write() as session:
        row = find_rows(session, [step], lock=True)[step]
        save_steps(session, [StepChange(row, to(to_step(row)))], NOW)


def progressed(done: int) -> Callable[[Step], Step]:
    def apply(step: Step) -> Step:
        report = StepProgressed(step_id=step.id, attempt=step.attempt, done=done, total=10)
        return transitions.apply_report(step, report, NOW, LIMITS)

    return apply


def test_progress_is_told_from_the_row_of_a_leased_step_and_kept_nowhere(services: Services) -> None:
    told = post_experiment(services)
    step = told.plan.steps[0]
    clock = [0.0]
    change(services, step.id, lambda before: transitions.lease(before, NOW, LIMITS))
    change(services, step.id, progressed(3))

    async def watch() -> list[tuple[str | None, str | None, dict[str, object]]]:
        seen = []
        async for message in stream(services.store, told.id, 0, 0.001, ProgressTeller(lambda: clock[0])):
            data = json.loads(str(message.data))
            seen.append((message.id, message.event, data))
            if message.event == "step.progress":
                clock[0] += PROGRESS_SECONDS
                if data["data"]["done"] == 3:
                    change(services, step.id, progressed(7))
                else:
                    with services.store.write() as session:
                        cancel_plan(session, told.id, NOW)
        return seen

    seen = asyncio.run(watch())
    assert [event for _, event, _ in seen] == [
        *("experiment.phase", "experiment.phase", "step.progress", "step.progress", "experiment.phase")
    ]
    first, second = (data for _, event, data in seen if event == "step.progress")
    assert first["data"] == {"step": step.id, "kind": step.kind, "role": step.role, "done": 3, "total": 10}
    assert second["data"] == {"step": step.id, "kind": step.kind, "role": step.role, "done": 7, "total": 10}
    # Without an id the reader's last id stays that of the history, where it resumes.
    assert [identity for identity, event, _ in seen if event == "step.progress"] == [None, None]
    assert [first["id"], second["id"]] == [seen[1][2]["id"]] * 2
    with services.store.read() as session:
        assert set(session.scalars(select(EventRow.event))) == {"experiment.phase"}


def test_only_what_changed_is_told_and_not_all_the_time() -> None:
    clock = [0.0]
    teller = ProgressTeller(lambda: clock[0])
    assert teller.is_due()
    begun, half = Progress("a", "kind", "role", 1, 0, None), Progress("b", "kind", "role", 1, 5, 10)
    assert list(teller.news([begun, half])) == [half]
    assert not teller.is_due()
    clock[0] = PROGRESS_SECONDS
    assert teller.is_due()
    assert list(teller.news([begun, half])) == []
    further = Progress("a", "kind", "role", 1, 0, 4)
    again = Progress("b", "kind", "role", 2, 5, 10)
    assert list(teller.news([further, again])) == [further, again]


def test_a_reader_who_comes_after_the_end_gets_phases_failures_and_the_end(services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    with services.store.write() as session:
        finished = session.get_one(PlanRow, told.id).finished_at
        assert finished is not None
        later = finished + COMPACTED_AFTER
        plans = plans_to_compact(session, later)
        assert sorted(plans) == [told.id, upstream_plan_id(told.spec.upstream)]
        assert all(compact_history(session, plan, later) for plan in plans)
    with TestClient(create_app(services)) as client:
        text = client.get(f"/v1/experiments/{told.id}/events").text
        data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
        assert [event["data"]["phase"] for event in data] == ["queued", "succeeded"]
        resumed = client.get(f"/v1/experiments/{told.id}/events", headers={"Last-Event-ID": str(data[-1]["id"])})
        assert resumed.status_code == 204
