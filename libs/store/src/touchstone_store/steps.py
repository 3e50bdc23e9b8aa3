"""Steps in SQL: rows to values of experiments.state and back, and the questions the conductor asks."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, String, and_, case, cast, exists, func, or_, select
from sqlalchemy.orm import Session, aliased
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.problems import Problem
from touchstone_contracts.steps import channel_of
from touchstone_contracts.values import StepId
from touchstone_contracts.views import StepCounts, StepState, StepView
from touchstone_planning.state import Step

from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow

ID_BATCH = 500
"""Ids per IN list; SQLite refuses very long ones."""

_CHANNEL = StepRow.kind.concat(".").concat(cast(StepRow.version, String))
"""contracts.steps.channel_of, in SQL."""

_PLAIN_FIELDS = tuple(field.name for field in fields(Step) if field.name not in {"id", "problem"})


@dataclass(frozen=True)
class OwnedStep:
    """A step as one plan sees it."""

    kind: str
    role: str
    reused: bool
    step: Step

    def view(self) -> StepView:
        step = self.step
        return StepView(
            id=step.id,
            kind=self.kind,
            role=self.role,
            state=step.state,
            attempt=step.attempt,
            done=step.done,
            total=step.total,
            reused=self.reused,
            seconds=step.seconds,
            problem=step.problem,
        )


def to_step(row: StepRow) -> Step:
    problem = None if row.problem is None else Problem.model_validate(row.problem)
    return Step(id=row.id, problem=problem, **{name: getattr(row, name) for name in _PLAIN_FIELDS})


def save_step(row: StepRow, step: Step) -> None:
    for name in _PLAIN_FIELDS:
        setattr(row, name, getattr(step, name))
    row.problem = None if step.problem is None else step.problem.model_dump(mode="json")


def lock_step(session: Session, step: StepId) -> StepRow | None:
    """The row, locked until the transaction ends."""
    return session.scalar(select(StepRow).where(StepRow.id == step).with_for_update())


def batches(ids: Collection[str]) -> Iterable[Sequence[str]]:
    ordered = list(ids)
    return (ordered[first : first + ID_BATCH] for first in range(0, len(ordered), ID_BATCH))


def find_rows(session: Session, ids: Collection[StepId], *, lock: bool = False) -> dict[StepId, StepRow]:
    """Those of `ids` that exist; `lock` keeps them locked until the transaction ends, always in the same order."""
    found: dict[StepId, StepRow] = {}
    for batch in batches(sorted(ids)):
        query = select(StepRow).where(StepRow.id.in_(batch)).order_by(StepRow.id)
        found |= {row.id: row for row in session.scalars(query.with_for_update() if lock else query)}
    return found


def owned_steps(session: Session, plan: str) -> tuple[OwnedStep, ...]:
    """The steps of a plan in topological order."""
    query = (
        select(StepRow, PlanStepRow)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan)
        .order_by(PlanStepRow.position)
    )
    return tuple(
        OwnedStep(row.kind, owned.role, owned.reused, to_step(row)) for row, owned in session.execute(query).all()
    )


@dataclass(frozen=True)
class Tally:
    """Steps of a plan by (kind, state, reused)."""

    by_group: dict[tuple[str, StepState, bool], int]

    def states(self) -> list[tuple[StepState, bool]]:
        return [(state, reused) for _, state, reused in self.by_group]

    def counts(self) -> StepCounts:
        by_state: dict[str, int] = {}
        for (_, state, _), count in self.by_group.items():
            by_state[state] = by_state.get(state, 0) + count
        total, reused = sum(self.by_group.values()), sum(self.reused_by_kind().values())
        return StepCounts(total=total, reused=reused, **by_state)

    def reused_by_kind(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (kind, _, reused), count in sorted(self.by_group.items()):
            if reused:
                found[kind] = found.get(kind, 0) + count
        return found


def tallies(session: Session, plans: Collection[str]) -> dict[str, Tally]:
    """A tally for each of `plans`."""
    query = (
        select(PlanStepRow.plan_id, StepRow.kind, StepRow.state, PlanStepRow.reused, func.count())
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(PlanStepRow.plan_id.in_(plans))
        .group_by(PlanStepRow.plan_id, StepRow.kind, StepRow.state, PlanStepRow.reused)
    )
    found: dict[str, dict[tuple[str, StepState, bool], int]] = {plan: {} for plan in plans}
    for plan, kind, state, reused, count in session.execute(query).all():
        found[plan][kind, state, reused] = count  # type: ignore[index]  # the column holds nothing else
    return {plan: Tally(groups) for plan, groups in found.items()}


def problems_of(session: Session, plans: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """The problems of the failed steps of each plan, first failures first."""
    query = (
        select(PlanStepRow.plan_id, StepRow.problem)
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(PlanStepRow.plan_id.in_(plans), StepRow.state == "failed")
        .order_by(StepRow.finished_at)
    )
    found: dict[str, tuple[Problem, ...]] = {}
    for plan, problem in session.execute(query).all():
        found[plan] = (*found.get(plan, ()), Problem.model_validate(problem))
    return found


def _active_owner() -> Select[int]:
    return (
        select(1)
        .select_from(PlanStepRow)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanStepRow.step_id == StepRow.id, PlanRow.finished_at.is_(None), PlanRow.cancelled_at.is_(None))
    )


def _ready(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """What state.ready_steps says of rows of StepRow joined with an active plan."""
    needed = aliased(StepRow)
    missing_input = exists(
        select(1)
        .select_from(StepInputRow)
        .join(needed, needed.id == StepInputRow.input_id)
        .where(StepInputRow.step_id == StepRow.id, needed.state != "succeeded")
    )
    return (
        StepRow.state == "waiting",
        or_(StepRow.not_before.is_(None), StepRow.not_before <= now),
        PlanRow.finished_at.is_(None),
        PlanRow.cancelled_at.is_(None),
        ~missing_input,
    )


class ReadyStep(NamedTuple):
    id: StepId
    queue: str
    channel: str


def first_ready(session: Session, now: datetime, channels: Collection[str], limit: int) -> list[ReadyStep]:
    """Ready steps of active plans in any of `channels`: the oldest plan first, then topological order."""
    query = (
        select(StepRow.id, StepRow.queue, _CHANNEL)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(_CHANNEL.in_(channels), *_ready(now))
        .group_by(StepRow.id)
        .order_by(func.min(PlanRow.created_at), func.min(PlanStepRow.position))
        .limit(limit)
    )
    return [ReadyStep(*row) for row in session.execute(query)]


def ready_by_queue(session: Session, now: datetime) -> dict[str, int]:
    query = (
        select(StepRow.queue, func.count(StepRow.id.distinct()))
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(*_ready(now))
        .group_by(StepRow.queue)
    )
    return dict(session.execute(query).all())


def ready_since_by_queue(session: Session, now: datetime) -> dict[str, datetime]:
    """By queue with ready steps: since when the one that has waited longest could have been handed out.

    That is when it and its plan were created, its last input finished and its pause ended. Earlier attempts are not
    subtracted."""
    needed = aliased(StepRow)
    inputs_done = (
        select(func.max(needed.finished_at))
        .join(StepInputRow, StepInputRow.input_id == needed.id)
        .where(StepInputRow.step_id == StepRow.id)
        .correlate(StepRow)
        .scalar_subquery()
    )
    created = _later(StepRow.created_at, PlanRow.created_at)
    since = func.min(_later(_later(created, inputs_done), StepRow.not_before))
    query = (
        select(StepRow.queue, since)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(*_ready(now))
        .group_by(StepRow.queue)
    )
    return dict(session.execute(query).all())


def _later(certain: SQLColumnExpression[Any], possible: SQLColumnExpression[Any]) -> ColumnElement[Any]:
    """The later of two moments, of which the second may be null."""
    return case((possible > certain, possible), else_=certain)


def leased_by_queue(session: Session) -> dict[str, int]:
    query = select(StepRow.queue, func.count()).where(StepRow.state == "leased").group_by(StepRow.queue)
    return dict(session.execute(query).all())


def leased_by_channel(session: Session) -> dict[tuple[str, str], int]:
    """By queue and channel."""
    contract = (StepRow.queue, StepRow.kind, StepRow.version)
    query = select(*contract, func.count()).where(StepRow.state == "leased").group_by(*contract)
    return {(queue, channel_of(kind, version)): count for queue, kind, version, count in session.execute(query)}


def unstarted_of(session: Session, kind: str, version: int) -> int:
    """Leased steps whose messages no worker has started on, as far as is known."""
    query = select(func.count()).where(
        StepRow.state == "leased", StepRow.kind == kind, StepRow.version == version, StepRow.started_at.is_(None)
    )
    return session.scalar(query) or 0


def _unstarted() -> tuple[ColumnElement[bool], ...]:
    """Steps of active plans that nobody works on."""
    sent = and_(StepRow.state == "leased", StepRow.started_at.is_(None))
    return (or_(StepRow.state == "waiting", sent), exists(_active_owner()))


def unserved_contracts(session: Session, served: Collection[str]) -> list[tuple[str, int]]:
    """Kinds and versions that steps of active plans wait for and whose channels are not among `served`."""
    query = select(StepRow.kind, StepRow.version).where(*_unstarted(), _CHANNEL.not_in(served)).distinct()
    return [(kind, version) for kind, version in session.execute(query)]


def unstarted_ids(session: Session, kind: str, version: int, limit: int) -> list[StepId]:
    query = select(StepRow.id).where(*_unstarted(), StepRow.kind == kind, StepRow.version == version).limit(limit)
    return list(session.scalars(query))


def expired_ids(session: Session, now: datetime) -> list[StepId]:
    query = select(StepRow.id).where(StepRow.state == "leased", StepRow.lease_expires_at <= now)
    return list(session.scalars(query.order_by(StepRow.lease_expires_at)))


def unwanted_ids(session: Session) -> list[StepId]:
    """Leased steps that no active plan needs any more."""
    return list(session.scalars(select(StepRow.id).where(StepRow.state == "leased", ~exists(_active_owner()))))


def traceparent_of(session: Session, step: StepId) -> str | None:
    """Of the oldest active plan that needs the step: it is the one that the step is handed out for."""
    query = (
        select(PlanRow.traceparent)
        .join(PlanStepRow, PlanStepRow.plan_id == PlanRow.id)
        .where(PlanStepRow.step_id == step, PlanRow.finished_at.is_(None), PlanRow.cancelled_at.is_(None))
        .order_by(PlanRow.created_at, PlanRow.id)
        .limit(1)
    )
    return session.scalar(query)


def message_of(row: StepRow, traceparent: str | None = None) -> StepMessage:
    return StepMessage(
        step_id=row.id,
        attempt=row.attempt,
        kind=row.kind,
        version=row.version,
        request=row.request,
        traceparent=traceparent,
    )


def inputs_of(session: Session, step: StepId) -> list[StepId]:
    return list(session.scalars(select(StepInputRow.input_id).where(StepInputRow.step_id == step)))


def count_by_state(session: Session) -> dict[str, int]:
    return dict(session.execute(select(StepRow.state, func.count()).group_by(StepRow.state)).all())
