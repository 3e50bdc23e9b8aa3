"""Since when a step could have been handed out, on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from touchstone_store.database import Store, open_store
from touchstone_store.migrate import migrate
from touchstone_store.steps import ready_since_by_queue
from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url)
    migrate(store)
    yield store
    store.close()


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def add_plan(session: Session, name: str, created: datetime, *, cancelled: bool = False) -> None:
    ended = created if cancelled else None
    phase = "cancelled" if cancelled else "queued"
    session.add(PlanRow(id=name, created_at=created, cancelled_at=ended, finished_at=ended, phase=phase))
    session.flush()


def add_step(
    session: Session,
    name: str,
    created: datetime,
    *,
    plan: str = "exp",
    queue: str = "trainer",
    finished: datetime | None = None,
    not_before: datetime | None = None,
    inputs: tuple[str, ...] = (),
) -> None:
    session.add(
        StepRow(
            id=name,
            kind="adapt_encoder",
            version=1,
            queue=queue,
            request={},
            state="waiting" if finished is None else "succeeded",
            created_at=created,
            finished_at=finished,
            not_before=not_before,
        )
    )
    session.flush()
    add_to_plan(session, plan, name, waiting=finished is None)
    session.add_all(StepInputRow(step_id=name, input_id=needed) for needed in inputs)
    session.flush()


def add_to_plan(session: Session, plan: str, step: str, *, waiting: bool = True) -> None:
    session.add(PlanStepRow(plan_id=plan, step_id=step, position=0, role="", reused=False))
    session.get_one(PlanRow, plan).waiting += waiting
    session.flush()


def test_a_step_waits_since_it_was_created_its_inputs_finished_or_its_pause_ended(store: Store) -> None:
    with store.write() as session:
        add_plan(session, "exp", after(0))
        add_step(session, "first", after(0), finished=after(3), queue="retrieval")
        add_step(session, "second", after(0), finished=after(5), queue="retrieval")
        add_step(session, "created last", after(2), queue="retrieval")
        add_step(session, "inputs last", after(0), inputs=("first", "second"), queue="trainer")
        add_step(session, "pause last", after(0), inputs=("first",), not_before=after(7), queue="generator")
    with store.read() as session:
        since = ready_since_by_queue(session, after(10))
    assert since == {"retrieval": after(2), "trainer": after(5), "generator": after(7)}


def test_what_is_not_ready_or_not_wanted_does_not_wait(store: Store) -> None:
    with store.write() as session:
        add_plan(session, "exp", after(0))
        add_plan(session, "cancelled", after(0), cancelled=True)
        add_step(session, "running", after(0), queue="retrieval")
        add_step(session, "needs it", after(0), inputs=("running",), queue="trainer")
        add_step(session, "paused", after(0), not_before=after(20), queue="generator")
        add_step(session, "unwanted", after(0), plan="cancelled", queue="generator")
    with store.read() as session:
        since = ready_since_by_queue(session, after(10))
    assert since == {"retrieval": after(0)}


def test_an_old_step_that_a_new_plan_wants_waits_since_that_plan(store: Store) -> None:
    with store.write() as session:
        add_plan(session, "exp", after(0), cancelled=True)
        add_step(session, "shared", after(0))
        add_plan(session, "again", after(8))
        add_to_plan(session, "again", "shared")
    with store.read() as session:
        assert ready_since_by_queue(session, after(10)) == {"trainer": after(8)}
