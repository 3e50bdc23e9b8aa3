"""The history of each plan, streamed over SSE: phases, and what happened to its steps.

While a plan is active its history holds every event: `experiment.phase`, and of its steps `step.started`,
`step.succeeded` and `step.failed` (of each attempt that failed). A minute after the plan ended it is compacted.
`step.started` and `step.succeeded` go, because the rows of the steps tell each step's state, its last attempt with the
worker, and when that started and ended. Phases and failures stay, under their ids. What is lost is who worked on
earlier attempts that did not fail. A reader who connects later, from the beginning or after any id, gets the phases and
failures that follow. A plan that goes on (a retry, a lost result) is told in full again and compacted after its next
end.

Progress is in no history: it is a column of leased steps (`steps.progress_of`), and a stream tells it while it lasts.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, false, or_, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.views import Event

from touchstone_store.steps import batches
from touchstone_store.tables import EventRow, PlanRow

PHASE_CHANGED = "experiment.phase"
STEP_STARTED = "step.started"
STEP_PROGRESSED = "step.progress"
STEP_SUCCEEDED = "step.succeeded"
STEP_FAILED = "step.failed"

COMPACTED_AFTER = timedelta(minutes=1)
"""After the end: streams that are open have read everything by then."""
COMPACTED_AT_ONCE = 50
_COMPACTED_AWAY = (STEP_STARTED, STEP_SUCCEEDED)


def append_event(session: Session, plan: str, event: str, data: dict[str, Any], at: datetime) -> None:
    """The caller has locked the plan's row: ids of one plan's events become visible in order, so that a reader who asks
    "after id n" misses none."""
    session.add(EventRow(plan_id=plan, event=event, data=data, at=at))


def events_after(session: Session, plan: str, after: int, limit: int = 500) -> list[Event]:
    query = select(EventRow).where(EventRow.plan_id == plan, EventRow.id > after).order_by(EventRow.id).limit(limit)
    return [Event(id=row.id, event=row.event, at=row.at, data=row.data) for row in session.scalars(query)]


def events_of_plans(session: Session, after: Mapping[str, int], limit: int) -> dict[str, list[Event]]:
    """By plan, those after the id that is given for it; up to `limit` of all together, the rest comes next time."""
    found: dict[str, list[Event]] = {}
    for batch in batches(list(after)):
        of_each = [and_(EventRow.plan_id == plan, EventRow.id > after[plan]) for plan in batch]
        query = select(EventRow).where(or_(*of_each)).order_by(EventRow.id).limit(limit)
        for row in session.scalars(query):
            event = Event(id=row.id, event=row.event, at=row.at, data=row.data)
            found.setdefault(row.plan_id, []).append(event)
    return found


def unfinished_plans(session: Session, plans: Collection[str]) -> set[str]:
    """Those of `plans` that exist and have not ended."""
    found: set[str] = set()
    for batch in batches(list(plans)):
        found |= set(session.scalars(select(PlanRow.id).where(PlanRow.id.in_(batch), PlanRow.finished_at.is_(None))))
    return found


def plans_to_compact(session: Session, now: datetime) -> list[str]:
    query = (
        select(PlanRow.id)
        .where(PlanRow.history_compacted == false(), PlanRow.finished_at <= now - COMPACTED_AFTER)
        .order_by(PlanRow.finished_at)
        .limit(COMPACTED_AT_ONCE)
    )
    return list(session.scalars(query))


def compact_history(session: Session, plan: str, now: datetime) -> bool:
    """Whether it was done: not of a plan that has gone on meanwhile."""
    ended = PlanRow.finished_at <= now - COMPACTED_AFTER
    mark = update(PlanRow).where(PlanRow.id == plan, ended).values(history_compacted=True).returning(PlanRow.id)
    if session.scalar(mark) is None:
        return False
    session.execute(delete(EventRow).where(EventRow.plan_id == plan, EventRow.event.in_(_COMPACTED_AWAY)))
    return True
