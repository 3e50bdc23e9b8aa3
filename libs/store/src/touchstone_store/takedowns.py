"""Takedowns in SQL: what was taken down, and which results were computed with it."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.takedowns import Takedown
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import Dependant, TakedownView

from touchstone_store.steps import batches
from touchstone_store.tables import (
    ExperimentRow,
    PlanRow,
    PlanStepRow,
    StepInputRow,
    StepRow,
    TakedownRow,
    TakedownStepRow,
)


class Reader(NamedTuple):
    """A step that reads another."""

    of: StepId
    id: StepId
    kind: str


def readers_of(session: Session, steps: Collection[StepId]) -> list[Reader]:
    """The steps that any of `steps` is a direct input of."""
    found: list[Reader] = []
    for batch in batches(sorted(steps)):
        query = (
            select(StepInputRow.input_id, StepRow.id, StepRow.kind)
            .join(StepRow, StepRow.id == StepInputRow.step_id)
            .where(StepInputRow.input_id.in_(batch))
        )
        found += [Reader(*row) for row in session.execute(query)]
    return found


def save_takedown(session: Session, takedown: Takedown) -> None:
    session.merge(TakedownRow(id=takedown.id, body=takedown.model_dump(mode="json"), created_at=takedown.at))
    session.flush()


def note_applied(session: Session, takedown: Digest, now: datetime) -> None:
    session.execute(update(TakedownRow).where(TakedownRow.id == takedown).values(applied_at=now))


def last_applied(session: Session) -> datetime | None:
    """Changes whenever results of finished steps may have become others."""
    return session.scalar(select(func.max(TakedownRow.applied_at)))


def mark_steps(session: Session, takedown: Digest, steps: Collection[StepId]) -> int:
    """Those that have a result or are being computed, and are not marked yet; how many."""
    marked = 0
    for batch in batches(sorted(steps)):
        states = StepRow.state.in_(("succeeded", "leased"))
        known = select(TakedownStepRow.step_id).where(TakedownStepRow.takedown_id == takedown)
        fresh = session.scalars(select(StepRow.id).where(StepRow.id.in_(batch), states, StepRow.id.not_in(known)))
        rows = [TakedownStepRow(takedown_id=takedown, step_id=step) for step in fresh]
        session.add_all(rows)
        marked += len(rows)
    session.flush()
    return marked


def forget_marks(session: Session, steps: Collection[StepId]) -> None:
    """Of steps that lost their results, or are deleted."""
    for batch in batches(sorted(steps)):
        session.execute(delete(TakedownStepRow).where(TakedownStepRow.step_id.in_(batch)))


def takedowns_of(session: Session, experiments: Collection[str]) -> dict[str, tuple[Takedown, ...]]:
    """By experiment, of those whose results were computed with an image that was taken down; the first one first."""
    if session.scalar(select(TakedownStepRow.step_id).limit(1)) is None:
        return {}  # as nearly always: the steps of no experiment are looked at
    query = (
        select(PlanStepRow.plan_id, TakedownStepRow.takedown_id)
        .join(TakedownStepRow, TakedownStepRow.step_id == PlanStepRow.step_id)
        .where(PlanStepRow.plan_id.in_(experiments))
        .distinct()
    )
    pairs = session.execute(query).all()
    wanted = {takedown for _, takedown in pairs}
    rows = session.scalars(select(TakedownRow).where(TakedownRow.id.in_(wanted)).order_by(TakedownRow.created_at))
    known = {row.id: Takedown.model_validate(row.body) for row in rows}
    of = {plan: {takedown for each, takedown in pairs if each == plan} for plan, _ in pairs}
    return {plan: tuple(known[takedown] for takedown in known if takedown in of[plan]) for plan in of}


def experiments_with(session: Session, steps: Collection[StepId]) -> list[Dependant]:
    """Those that need any of `steps`, by id."""
    found: dict[str, Dependant] = {}
    for batch in batches(sorted(steps)):
        query = (
            select(ExperimentRow.id, ExperimentRow.name)
            .join(PlanStepRow, PlanStepRow.plan_id == ExperimentRow.id)
            .where(PlanStepRow.step_id.in_(batch))
            .distinct()
        )
        found |= {experiment: Dependant(id=experiment, name=name) for experiment, name in session.execute(query).all()}
    return [found[experiment] for experiment in sorted(found)]


def list_takedowns(session: Session, project: str, *, after: str | None, limit: int) -> list[TakedownView]:
    """By id; `after` is the one that the page starts after. The default project, which is the operators', sees all, any
    other those that concern its plans."""
    concerned = (
        select(TakedownStepRow.takedown_id)
        .join(PlanStepRow, PlanStepRow.step_id == TakedownStepRow.step_id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanRow.project_id == project)
    )
    query = select(TakedownRow).order_by(TakedownRow.id).limit(limit)
    if project != DEFAULT_PROJECT:
        query = query.where(TakedownRow.id.in_(concerned))
    if after is not None:
        query = query.where(TakedownRow.id > after)
    rows = list(session.scalars(query))
    dependants = dependants_of(session, [row.id for row in rows], project)
    return [TakedownView.model_validate({**row.body, "experiments": dependants.get(row.id, ())}) for row in rows]


def dependants_of(
    session: Session, takedowns: Iterable[Digest], project: str | None = None
) -> dict[Digest, list[Dependant]]:
    """Experiments by takedown; of every project, or of one."""
    query = (
        select(TakedownStepRow.takedown_id, ExperimentRow.id, ExperimentRow.name)
        .join(PlanStepRow, PlanStepRow.step_id == TakedownStepRow.step_id)
        .join(ExperimentRow, ExperimentRow.id == PlanStepRow.plan_id)
        .where(TakedownStepRow.takedown_id.in_(list(takedowns)))
        .order_by(ExperimentRow.id)
        .distinct()
    )
    if project is not None:
        query = query.join(PlanRow, PlanRow.id == ExperimentRow.id).where(PlanRow.project_id == project)
    found: dict[Digest, list[Dependant]] = {}
    for takedown, experiment, name in session.execute(query).all():
        found.setdefault(takedown, []).append(Dependant(id=experiment, name=name))
    return found
