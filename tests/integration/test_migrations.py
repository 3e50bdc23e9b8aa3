"""The newest migration on a database that an earlier release has filled, on SQLite and on Postgres."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select
from support.plan_columns import check_plan_columns, told_phases
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_planning.state import ACTIVE
from touchstone_store.database import Store, open_store
from touchstone_store.events import events_after
from touchstone_store.experiments import plan_states
from touchstone_store.listing import list_experiments
from touchstone_store.migrate import is_current, migrate
from touchstone_store.tables import ExperimentRow, PlanRow, StepRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NO_SPEC = {"written": "before specs had names"}

# Plan -> its steps as (state, reused), the phase its history last told, and whether it had been finished or cancelled.
PLANS: dict[str, tuple[list[tuple[str, bool]], str, str]] = {
    "upstream/world": ([("succeeded", False), ("succeeded", False)], "succeeded", "finished"),
    "exp_done": ([("succeeded", True), ("succeeded", False)], "succeeded", "finished"),
    "exp_all_reused": ([("succeeded", True), ("succeeded", True)], "succeeded", "finished"),
    "exp_queued": ([("succeeded", True), ("waiting", False)], "queued", ""),
    "exp_running": ([("succeeded", False), ("leased", False), ("waiting", False)], "running", ""),
    "exp_failed": ([("failed", False), ("waiting", False)], "failed", "finished"),
    "exp_cancelled": ([("waiting", False), ("waiting", False)], "cancelled", "cancelled"),
    "exp_lost_a_result": ([("waiting", True), ("succeeded", False)], "running", ""),
    "exp_never_settled": ([("succeeded", False), ("succeeded", False)], "running", ""),
    "exp_of_nothing": ([], "succeeded", "finished"),
}
PHASES = {plan: told for plan, (_, told, _) in PLANS.items()} | {"exp_never_settled": "succeeded"}


@pytest.fixture(params=["sqlite", "postgres"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """At revision 0003, with rows."""
    url = f"sqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url)
    migrate(store, "0003")
    _fill(store)
    yield store
    store.close()


def _fill(store: Store) -> None:
    tables = MetaData()
    tables.reflect(store.engine)
    with store.writer.begin() as connection:
        for plan, (states, told, ended) in PLANS.items():
            finished = NOON if ended else None
            cancelled = NOON if ended == "cancelled" else None
            row = {"id": plan, "created_at": NOON, "finished_at": finished, "cancelled_at": cancelled}
            connection.execute(tables.tables["plans"].insert(), row)
            experiment = {"id": plan, "identity": plan, "name": plan, "spec": NO_SPEC, "resolved": {}}
            if plan.startswith("exp_"):
                connection.execute(tables.tables["experiments"].insert(), experiment | {"created_at": NOON})
            for position, (state, reused) in enumerate(states):
                step = f"{plan}/{position}"
                connection.execute(tables.tables["steps"].insert(), _step(step, position, state))
                owned = {"plan_id": plan, "step_id": step, "position": position, "role": "r", "reused": reused}
                connection.execute(tables.tables["plan_steps"].insert(), owned)
            for event, data in (
                ("experiment.phase", {"phase": "queued"}),
                ("step.started", {"step": "s"}),
                ("step.progress", {"done": 1}),
                ("step.failed", {"final": False}),
                ("step.succeeded", {"step": "s"}),
                ("experiment.phase", {"phase": told}),
            ):
                row = {"plan_id": plan, "event": event, "data": data, "at": NOON}
                connection.execute(tables.tables["events"].insert(), row)


def _step(step: str, position: int, state: str) -> dict[str, object]:
    return {
        "id": step,
        "kind": ("ingest_images", "embed_images", "adapt_encoder")[position],
        "version": 1,
        "queue": "retrieval",
        "request": {"long": "x" * 9000},
        "state": state,
        "attempt": 1,
        "failures": 0,
        "done": 0,
        "created_at": NOON,
    }


def test_every_plan_gets_the_phase_and_the_counts_of_its_steps(earlier: Store) -> None:
    migrate(earlier)
    assert is_current(earlier)
    assert check_plan_columns(earlier) == len(PLANS)
    with earlier.read() as session:
        found = plan_states(session, PLANS)
        assert {plan: state.phase for plan, state in found.items()} == PHASES
        assert session.get_one(PlanRow, "exp_all_reused").reused_by_kind == {"ingest_images": 1, "embed_images": 1}
        assert found["exp_lost_a_result"].counts.reused == 0, "what is computed again is no longer reused"
        assert set(session.scalars(select(StepRow.gpu_seconds))) == {None}
        assert set(session.scalars(select(PlanRow.needs))) == {None}
        assert set(session.scalars(select(ExperimentRow.registration))) == {None}
        # They were written by something that this release does not read: listed all the same.
        assert {
            each.problem.code
            for each in list_experiments(session, DEFAULT_PROJECT, after=None, limit=50)
            if each.problem
        } == {"unreadable_row"}


def test_histories_lose_progress_and_those_of_ended_plans_are_compacted(earlier: Store) -> None:
    with earlier.read() as session:
        failures = {plan: [e.id for e in events_after(session, plan, 0) if e.event == "step.failed"] for plan in PLANS}
    migrate(earlier)
    with earlier.read() as session:
        for plan, phase in PHASES.items():
            events = events_after(session, plan, 0)
            steps = {"step.started", "step.succeeded"} if phase in ACTIVE else set()
            kept = {"experiment.phase", "step.failed"} | steps
            assert {event.event for event in events} == kept
            assert [event.id for event in events if event.event == "step.failed"] == failures[plan]
        # A plan that no conductor had settled is settled by the migration, and its history says so.
        assert told_phases(session, "exp_never_settled") == ["queued", "running", "succeeded"]
        assert told_phases(session, "exp_running") == ["queued", "running"]
