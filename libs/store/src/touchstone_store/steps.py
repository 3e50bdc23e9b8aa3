"""Steps in SQL: rows to values of planning.state and back, and the questions the conductor asks.

No question looks at history: each starts from active plans or from the index of leased steps. Requests are read when a
step is handed out, and never otherwise."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    Select,
    SQLColumnExpression,
    String,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased, defer
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.problems import Problem
from touchstone_contracts.steps import EMBED_IMAGES, SEARCH_UPSTREAM, TAKE_EMBEDDINGS, channel_of
from touchstone_contracts.values import StepId
from touchstone_contracts.views import StepState, StepView
from touchstone_planning.state import ACTIVE, Step
from touchstone_planning.transitions import OUTAGES

from touchstone_store.database import Store
from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow
from touchstone_store.unreadable import UnreadableRow

ID_BATCH = 500
"""Ids per IN list; SQLite refuses very long ones."""
EMBEDDING = (EMBED_IMAGES.name, TAKE_EMBEDDINGS.name)

_CHANNEL = StepRow.kind.concat(".").concat(cast(StepRow.version, String))
"""contracts.steps.channel_of, in SQL."""
_PLAIN_FIELDS = tuple(field.name for field in fields(Step) if field.name not in {"id", "problem"})
_STATES = frozenset(get_args(StepState))
_IS_ACTIVE = PlanRow.phase.in_(sorted(ACTIVE))
# A literal, because a database can use the index of leased steps only where it sees which state is meant.
_IS_LEASED = StepRow.state == literal_column("'leased'")


@dataclass(frozen=True)
class OwnedStep:
    """A step as one plan sees it."""

    kind: str
    version: int
    queue: str
    created_at: datetime
    role: str
    reused: bool
    position: int
    """Topological order within the plan."""
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
    """Raises UnreadableRow."""
    try:
        problem = None if row.problem is None else Problem.model_validate(row.problem)
    except ValidationError as error:
        raise unreadable_step(row.id, error) from error
    if row.state not in _STATES:
        raise unreadable_step(row.id, f"no state {row.state!r} is known")
    return Step(id=row.id, problem=problem, **{name: getattr(row, name) for name in _PLAIN_FIELDS})


def unreadable_step(step: StepId, reason: object) -> UnreadableRow:
    return UnreadableRow(StepRow.__tablename__, step, reason)


def copy_step(row: StepRow, step: Step) -> None:
    """What follows for plans is up to plans.py."""
    for name in _PLAIN_FIELDS:
        setattr(row, name, getattr(step, name))
    row.problem = None if step.problem is None else step.problem.model_dump(mode="json")


def lock_step(session: Session, step: StepId) -> StepRow | None:
    """The row as it is now, locked until the transaction ends. Raises UnreadableRow."""
    return find_rows(session, [step], lock=True).get(step)


def batches(ids: Collection[str]) -> Iterable[Sequence[str]]:
    ordered = list(ids)
    return (ordered[first : first + ID_BATCH] for first in range(0, len(ordered), ID_BATCH))


def find_rows(session: Session, ids: Collection[StepId], *, lock: bool = False) -> dict[StepId, StepRow]:
    """Those of `ids` that exist; `lock` keeps them locked until the transaction ends, always in the same order.
    Raises UnreadableRow."""
    found: dict[StepId, StepRow] = {}
    for batch in batches(sorted(ids)):
        query = select(StepRow).where(StepRow.id.in_(batch)).order_by(StepRow.id).options(defer(StepRow.request))
        if lock:
            # Rows that refer to steps by key may be added meanwhile: FOR NO KEY UPDATE.
            query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
        try:
            found |= {row.id: row for row in session.scalars(query)}
        except ValueError as error:  # a column holds what its type cannot be made of
            if len(batch) == 1:
                raise unreadable_step(batch[0], error) from error
            for step in batch:
                found |= find_rows(session, [step], lock=lock)
    return found


def owned_steps(
    session: Session, plan: str, *conditions: ColumnElement[bool], limit: int | None = None
) -> tuple[OwnedStep, ...]:
    """The steps of a plan, or those that meet `conditions`, in topological order. A problem that cannot be read is
    replaced by one that says so."""
    columns = [getattr(StepRow, name) for name in _PLAIN_FIELDS]
    of_step = (StepRow.kind, StepRow.version, StepRow.queue, StepRow.created_at)
    of_plan = (PlanStepRow.role, PlanStepRow.reused, PlanStepRow.position)
    query: Select[*tuple[Any, ...]] = (
        select(StepRow.id, *columns, cast(StepRow.problem, Text), *of_step, *of_plan)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, *conditions)
        .order_by(PlanStepRow.position)
        .limit(limit)
    )
    return tuple(_owned_step(row) for row in session.execute(query).all())


def _owned_step(row: Row[*tuple[Any, ...]]) -> OwnedStep:
    step, *values, problem, kind, version, queue, created_at, role, reused, position = row
    known = dict(zip(_PLAIN_FIELDS, values, strict=True))
    state = Step(id=step, problem=_readable_problem(step, problem), **known)
    return OwnedStep(kind, version, queue, created_at, role, reused, position, state)


def _readable_problem(step: StepId, document: str | None) -> Problem | None:
    """Of a problem as JSON text."""
    if document in (None, "null"):
        return None
    try:
        return Problem.model_validate_json(document)
    except ValidationError as error:
        return unreadable_step(step, error).problem()


def problems_of(session: Session, plans: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """The problems of the failed steps of each plan, first failures first."""
    query = (
        select(PlanStepRow.plan_id, StepRow.id, cast(StepRow.problem, Text))
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(PlanStepRow.plan_id.in_(plans), StepRow.state == "failed")
        .order_by(StepRow.finished_at)
    )
    found: dict[str, tuple[Problem, ...]] = {}
    for plan, step, document in session.execute(query).all():
        if problem := _readable_problem(step, document):
            found[plan] = (*found.get(plan, ()), problem)
    return found


def outages_of(session: Session, plans: Collection[str]) -> dict[str, tuple[Problem, ...]]:
    """The servers that steps of each plan wait for, for another attempt or to have their result read, each once."""
    query = (
        select(PlanStepRow.plan_id, StepRow.id, cast(StepRow.problem, Text))
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(
            PlanStepRow.plan_id.in_(plans),
            StepRow.state.in_(("waiting", "leased")),
            StepRow.not_before.is_not(None),
        )
        .order_by(StepRow.not_before)
    )
    found: dict[str, dict[str, Problem]] = {}
    for plan, step, document in session.execute(query).all():
        problem = _readable_problem(step, document)
        if problem is not None and problem.code in OUTAGES:
            found.setdefault(plan, {})[problem.code] = problem
    return {plan: tuple(by_code.values()) for plan, by_code in found.items()}


@dataclass(frozen=True)
class Progress:
    """How far the current attempt at a leased step is."""

    step: StepId
    kind: str
    role: str
    attempt: int
    done: int
    total: int | None


def progress_of(session: Session, plan: str) -> list[Progress]:
    """Of the leased steps of a plan, in topological order."""
    query = (
        select(StepRow.id, StepRow.kind, PlanStepRow.role, StepRow.attempt, StepRow.done, StepRow.total)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, _IS_LEASED)
        .order_by(PlanStepRow.position)
    )
    return [Progress(*row) for row in session.execute(query).all()]


def _active_owner() -> Select[int]:
    return (
        select(1)
        .select_from(PlanStepRow)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanStepRow.step_id == StepRow.id, _IS_ACTIVE)
    )


def _ready(now: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ...]:
    """What state.ready_steps says of rows of StepRow joined with an active plan."""
    needed = aliased(StepRow)
    missing_input = exists(
        select(1)
        .select_from(StepInputRow)
        .join(needed, needed.id == StepInputRow.input_id)
        .where(StepInputRow.step_id == StepRow.id, needed.state != "succeeded")
    )
    return (
        _IS_ACTIVE,
        PlanRow.waiting > 0,
        StepRow.state == "waiting",
        or_(StepRow.not_before.is_(None), StepRow.not_before <= now),
        ~missing_input,
    )


class ReadyStep(NamedTuple):
    id: StepId
    queue: str
    channel: str


def first_ready(session: Session, now: datetime, channels: Collection[str], limit: int) -> list[ReadyStep]:
    """Ready steps of active plans in any of `channels`. Projects take turns: whose steps are least at work comes first.
    Within a project searches of upstreams come first, as somebody waits for them, then the steps of the oldest plan, in
    topological order. A step that several projects need comes when the first of them gets it."""
    if not channels:
        return []
    asked = {"now": now, "channels": list(channels), "limit": limit}
    return [ReadyStep(*row) for row in session.execute(_first_ready(), asked)]


@cache
def _first_ready() -> Select[StepId, str, str]:
    """Composed once, as the conductor asks twice a second and composing takes milliseconds."""
    wanted = (
        select(
            StepRow.id,
            StepRow.queue,
            _CHANNEL.label("channel"),
            PlanRow.project_id,
            func.min(PlanRow.created_at).label("created"),
            func.min(PlanStepRow.position).label("position"),
            case((StepRow.kind == SEARCH_UPSTREAM.name, 0), else_=1).label("patience"),
        )
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(_CHANNEL.in_(bindparam("channels", expanding=True)), *_ready(bindparam("now")))
        .group_by(StepRow.id, PlanRow.project_id)
        .subquery()
    )
    at_work = _leased_by_project()
    rank = func.row_number().over(
        partition_by=wanted.c.project_id, order_by=(wanted.c.patience, wanted.c.created, wanted.c.position)
    )
    turns = (
        select(wanted, (rank + func.coalesce(at_work.c.leased, 0)).label("turn"))
        .outerjoin(at_work, at_work.c.project_id == wanted.c.project_id)
        .subquery()
    )
    return (
        select(turns.c.id, turns.c.queue, turns.c.channel)
        .group_by(turns.c.id, turns.c.queue, turns.c.channel)
        .order_by(*(func.min(turns.c[name]) for name in ("turn", "patience", "created", "position")))
        .limit(bindparam("limit"))
    )


def _leased_by_project() -> Subquery:
    """`leased`: steps at work that active plans of the project need."""
    return (
        select(PlanRow.project_id, func.count(StepRow.id.distinct()).label("leased"))
        .join(PlanStepRow, PlanStepRow.plan_id == PlanRow.id)
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(_IS_LEASED, _IS_ACTIVE)
        .group_by(PlanRow.project_id)
        .subquery()
    )


class UnservedStep(NamedTuple):
    id: StepId
    kind: str
    version: int


def unserved_steps(session: Session, served: Collection[str]) -> list[UnservedStep]:
    """Steps that nobody works on and whose channels are not among `served`: of each active plan one per contract."""
    idle = or_(StepRow.state == "waiting", and_(_IS_LEASED, StepRow.started_at.is_(None)))
    query = (
        select(func.min(StepRow.id), StepRow.kind, StepRow.version)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(_IS_ACTIVE, idle, _CHANNEL.not_in(served))
        .group_by(PlanRow.id, StepRow.kind, StepRow.version)
    )
    return [UnservedStep(*row) for row in session.execute(query)]


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
    query = select(StepRow.queue, func.count()).where(_IS_LEASED).group_by(StepRow.queue)
    return dict(session.execute(query).all())


def leased_by_channel(session: Session) -> dict[tuple[str, str], int]:
    """By queue and channel."""
    contract = (StepRow.queue, StepRow.kind, StepRow.version)
    query = select(*contract, func.count()).where(_IS_LEASED).group_by(*contract)
    return {(queue, channel_of(kind, version)): count for queue, kind, version, count in session.execute(query)}


def unstarted_of(session: Session, kind: str, version: int) -> int:
    """Leased steps whose messages no worker has started on, as far as is known."""
    contract = (StepRow.kind == kind, StepRow.version == version)
    query = select(func.count()).where(_IS_LEASED, *contract, StepRow.started_at.is_(None))
    return session.scalar(query) or 0


def expired_ids(session: Session, now: datetime) -> list[StepId]:
    query = select(StepRow.id).where(_IS_LEASED, StepRow.lease_expires_at <= now)
    return list(session.scalars(query.order_by(StepRow.lease_expires_at)))


def renew_started(session: Session, until: datetime) -> None:
    """Whoever works on a step is taken for silent at `until`, no earlier and no later; no lease lasts longer."""
    changed = or_(StepRow.started_at.is_not(None), StepRow.lease_expires_at > until)
    _update_where(session, (_IS_LEASED, changed), lease_expires_at=until)


def shorten_pauses(session: Session, until: datetime) -> None:
    """No waiting step pauses beyond `until`."""
    _update_where(session, (StepRow.state == "waiting", StepRow.not_before > until), not_before=until)


def _update_where(session: Session, conditions: Collection[ColumnElement[bool]], **values: Any) -> None:
    """Locks the rows in the order of their ids, as everybody does."""
    locked = select(StepRow.id).where(*conditions).order_by(StepRow.id).with_for_update(key_share=True)
    for batch in batches(list(session.scalars(locked))):
        changed = update(StepRow).where(StepRow.id.in_(batch)).values(**values)
        session.execute(changed, execution_options={"synchronize_session": False})


def unwanted_ids(session: Session) -> list[StepId]:
    """Leased steps that no active plan needs any more."""
    return list(session.scalars(select(StepRow.id).where(_IS_LEASED, ~exists(_active_owner()))))


def traceparent_of(session: Session, step: StepId) -> str | None:
    """Of the oldest active plan that needs the step: it is the one that the step is handed out for."""
    query = (
        select(PlanRow.traceparent)
        .join(PlanStepRow, PlanStepRow.plan_id == PlanRow.id)
        .where(PlanStepRow.step_id == step, _IS_ACTIVE)
        .order_by(PlanRow.created_at, PlanRow.id)
        .limit(1)
    )
    return session.scalar(query)


def message_of(row: StepRow, traceparent: str | None = None) -> StepMessage:
    """Raises UnreadableRow."""
    try:
        return StepMessage(
            step_id=row.id,
            attempt=row.attempt,
            kind=row.kind,
            version=row.version,
            request=row.request,
            traceparent=traceparent,
        )
    except ValueError as error:
        raise unreadable_step(row.id, error) from error


def pages_of_steps(store: Store, size: int, *, state: StepState | None = None) -> Iterator[list[StepId]]:
    """The steps of this installation, or those in one state, in the order of their ids."""
    query = select(StepRow.id).order_by(StepRow.id).limit(size)
    if state is not None:
        query = query.where(StepRow.state == state)
    last = ""
    while True:
        with store.read() as session:
            page = list(session.scalars(query.where(StepRow.id > last)))
        if not page:
            return
        yield page
        last = page[-1]


class StoredRequest(NamedTuple):
    id: StepId
    kind: str
    state: StepState
    request: dict[str, Any]
    """As it is stored: facts are named, not held."""


def pages_of_requests(store: Store, kinds: Collection[str], size: int) -> Iterator[list[StoredRequest]]:
    """The steps of some kinds, in the order of their ids."""
    columns = (StepRow.id, StepRow.kind, StepRow.state, StepRow.request)
    query = select(*columns).where(StepRow.kind.in_(kinds)).order_by(StepRow.id).limit(size)
    last = ""
    while True:
        with store.read() as session:
            page = [StoredRequest(*row) for row in session.execute(query.where(StepRow.id > last))]
        if not page:
            return
        yield page
        last = page[-1].id


def finished_by(session: Session, kind: str, moment: datetime) -> set[StepId]:
    """The steps of a kind that had succeeded then."""
    query = select(StepRow.id).where(StepRow.kind == kind, StepRow.state == "succeeded", StepRow.finished_at <= moment)
    return set(session.scalars(query))


def succeeded_among(session: Session, ids: Collection[StepId]) -> set[StepId]:
    return _among(session, ids, StepRow.state == "succeeded")


def leased_among(session: Session, ids: Collection[StepId]) -> set[StepId]:
    return _among(session, ids, _IS_LEASED)


def _among(session: Session, ids: Collection[StepId], condition: ColumnElement[bool]) -> set[StepId]:
    found: set[StepId] = set()
    for batch in batches(ids):
        found |= set(session.scalars(select(StepRow.id).where(StepRow.id.in_(batch), condition)))
    return found


def embeddings_of(session: Session, image_sets: Collection[StepId]) -> dict[StepId, list[StepId]]:
    """By image set, the finished steps that embedded it or took its embeddings over."""
    found: dict[StepId, list[StepId]] = {}
    for batch in batches(sorted(image_sets)):
        query = (
            select(StepInputRow.input_id, StepRow.id)
            .join(StepRow, StepRow.id == StepInputRow.step_id)
            .where(StepInputRow.input_id.in_(batch), StepRow.kind.in_(EMBEDDING), StepRow.state == "succeeded")
            .order_by(StepInputRow.input_id, StepRow.id)
        )
        for image_set, step in session.execute(query).all():
            found.setdefault(image_set, []).append(step)
    return found


def inputs_of(session: Session, steps: Collection[StepId]) -> set[StepId]:
    """The direct inputs of any of `steps`."""
    found: set[StepId] = set()
    for batch in batches(steps):
        found |= set(session.scalars(select(StepInputRow.input_id).where(StepInputRow.step_id.in_(batch))))
    return found
