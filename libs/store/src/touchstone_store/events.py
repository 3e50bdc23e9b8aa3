"""The history of each plan: appended by the api and the conductor, streamed over SSE."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Event

from touchstone_store.tables import EventRow, PlanRow, PlanStepRow, StepRow

PHASE_CHANGED = "experiment.phase"
STEP_STARTED = "step.started"
STEP_PROGRESSED = "step.progress"
STEP_SUCCEEDED = "step.succeeded"
STEP_FAILED = "step.failed"


def append_event(session: Session, plan: str, event: str, data: dict[str, Any], at: datetime) -> None:
    session.add(EventRow(plan_id=plan, event=event, data=data, at=at))


def append_step_event(session: Session, step: StepId, event: str, data: dict[str, Any], at: datetime) -> None:
    """To the history of every plan that still runs and owns the step."""
    query = (
        select(PlanStepRow.plan_id, PlanStepRow.role, StepRow.kind)
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanStepRow.step_id == step, PlanRow.finished_at.is_(None), PlanRow.cancelled_at.is_(None))
        .order_by(PlanStepRow.plan_id)
        # Ids of one plan's events become visible in order, so that a reader who asks "after id n" misses none.
        .with_for_update(of=PlanRow)
    )
    for plan, role, kind in session.execute(query).all():
        append_event(session, plan, event, {"step": step, "kind": kind, "role": role, **data}, at)


def events_after(session: Session, plan: str, after: int, limit: int = 500) -> list[Event]:
    query = select(EventRow).where(EventRow.plan_id == plan, EventRow.id > after).order_by(EventRow.id).limit(limit)
    return [Event(id=row.id, event=row.event, at=row.at, data=row.data) for row in session.scalars(query)]


def announced_phases(session: Session, plans: Collection[str]) -> dict[str, str]:
    """The phase each plan's history last told."""
    query = (
        select(EventRow.plan_id, EventRow.data)
        .where(EventRow.plan_id.in_(plans), EventRow.event == PHASE_CHANGED)
        .order_by(EventRow.id)
    )
    return {plan: data["phase"] for plan, data in session.execute(query).all()}
