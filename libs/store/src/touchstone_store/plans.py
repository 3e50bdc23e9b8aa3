"""Plans in SQL: creating one, sharing its steps with others, and what a step's change means to the plans that need it.

The counts and the phase of a plan are columns, kept in the transaction that changes a step: whoever changes steps does
it by `save_steps`. Locks are taken in one order, so that two transactions do not wait for each other: steps by id, then
plans that wait for no other, then those that do, each by id. Where the order cannot be kept, Postgres ends one of the
two transactions and the caller tries again."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

from pydantic import BaseModel
from sqlalchemy import Row, Select, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.problems import Problem
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Phase, StepCounts, StepState
from touchstone_planning import transitions
from touchstone_planning.dag import PlannedStep
from touchstone_planning.state import ACTIVE, Step, phase_of

from touchstone_store.contention import insert_into
from touchstone_store.database import note_transition
from touchstone_store.events import PHASE_CHANGED, STEP_FAILED, append_event
from touchstone_store.steps import batches, copy_step, find_rows, to_step
from touchstone_store.stored_bytes import forget_blobs, note_blobs
from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow
from touchstone_store.takedowns import forget_marks
from touchstone_store.webhooks import tell_end

BROKEN: frozenset[Phase] = frozenset({"failed", "cancelled"})
"""A plan that waits for one in such a phase fails, unless it has nothing left to do."""
_STATES: tuple[StepState, ...] = get_args(StepState)
_PHASES: tuple[Phase, ...] = get_args(Phase)
_COUNTED = tuple(StepCounts.model_fields)

AnyRow = Row[*tuple[Any, ...]]
Require = Callable[[Session], None]
"""Raises where something must not be changed, as it is now."""
StepEvent = tuple[str, dict[str, Any]]
"""An event's name and its data, less what names the step."""


def nothing(_: Session) -> None:
    """Requires nothing."""


@dataclass(frozen=True)
class Survey:
    """What the object store says about a plan's steps before the plan is created."""

    verified: Mapping[StepId, StepManifest] = field(default_factory=dict)
    lost: Collection[StepId] = ()
    """Steps that SQL holds for succeeded, but whose results are gone or damaged."""


@dataclass(frozen=True)
class StepChange:
    row: StepRow
    """Locked, as it was before."""
    after: Step
    event: StepEvent | None = None
    """What the histories of active plans that need the step tell about it."""


def save_steps(session: Session, changes: Collection[StepChange], now: datetime) -> None:
    """Saves steps, and brings every plan that needs them up to date. At most one change per step."""
    moves = {change.row.id: _Move(change.row.state, change.after.state, change.event) for change in changes}
    for change in changes:
        note_transition(session, f"step.{change.row.state}.{change.after.state}")
        copy_step(change.row, change.after)
    session.flush()
    _follow(session, {step: move for step, move in moves.items() if move.concerns_plans}, now)


@dataclass(frozen=True)
class _Move:
    before: str
    after: StepState
    event: StepEvent | None

    @property
    def concerns_plans(self) -> bool:
        return self.before != self.after or self.event is not None

    @property
    def loses_result(self) -> bool:
        return self.before == "succeeded" and self.after != "succeeded"


def _follow(session: Session, moves: Mapping[StepId, _Move], now: datetime) -> None:
    if not moves:
        return
    owners = _owners_of(session, moves)
    ends = any("failed" in (move.before, move.after) for move in moves.values())
    locked = lock_plans(session, {*owners, *(_waiting_for(session, owners, _PHASES) if ends else ())})
    plans = {plan: row for plan, row in locked.items() if plan in owners}
    for plan, row in plans.items():
        for owned in owners[plan]:
            _count_move(row, owned, moves[owned.step_id])
    lost = [step for step, move in moves.items() if move.loses_result]
    _forget_reuse(session, lost)
    forget_marks(session, lost)
    forget_blobs(session, lost)
    phases = _phases(session, plans.values())
    for plan, row in plans.items():
        if row.phase in ACTIVE or phases[plan] in ACTIVE:
            _tell_steps(session, row, owners[plan], moves, now)
    _enter(session, plans.values(), phases, now)


def _owners_of(session: Session, steps: Collection[StepId]) -> dict[str, list[AnyRow]]:
    """By plan: (plan_id, step_id, role, reused, kind) of those of `steps` that it needs."""
    owners: dict[str, list[AnyRow]] = {}
    for batch in batches(steps):
        query: Select[*tuple[Any, ...]] = (
            select(PlanStepRow.plan_id, PlanStepRow.step_id, PlanStepRow.role, PlanStepRow.reused, StepRow.kind)
            .join(StepRow, StepRow.id == PlanStepRow.step_id)
            .where(PlanStepRow.step_id.in_(batch))
        )
        for row in session.execute(query).all():
            owners.setdefault(row.plan_id, []).append(row)
    return owners


def lock_plans(session: Session, ids: Collection[str]) -> dict[str, PlanRow]:
    """Those of `ids` that exist, as they are now, locked until the transaction ends."""
    found: dict[str, PlanRow] = {}
    for batch in batches(sorted(ids)):
        query = (
            select(PlanRow)
            .where(PlanRow.id.in_(batch))
            .order_by(PlanRow.needs.is_not(None), PlanRow.id)
            # Rows that refer to plans by key may be added meanwhile: FOR NO KEY UPDATE.
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        found |= {row.id: row for row in session.scalars(query)}
    return found


def lock_owners(session: Session, steps: Collection[StepId], others: Collection[str] = ()) -> dict[str, PlanRow]:
    """Locks all plans that need one of `steps`, and `others`; see `lock_plans`."""
    return lock_plans(session, {*others, *_owners_of(session, steps)})


def _count_move(plan: PlanRow, owned: AnyRow, move: _Move) -> None:
    if move.before in _STATES:
        setattr(plan, move.before, getattr(plan, move.before) - 1)
    setattr(plan, move.after, getattr(plan, move.after) + 1)
    if owned.reused and move.loses_result:
        plan.reused -= 1
        plan.reused_by_kind = dict(Counter(plan.reused_by_kind) - Counter({owned.kind: 1}))


def _forget_reuse(session: Session, lost: Collection[StepId]) -> None:
    """What is computed again is a plan's own work."""
    for batch in batches(lost):
        reused = update(PlanStepRow).where(PlanStepRow.step_id.in_(batch), PlanStepRow.reused)
        session.execute(reused.values(reused=False), execution_options={"synchronize_session": False})


def _tell_steps(
    session: Session, plan: PlanRow, owned: Iterable[AnyRow], moves: Mapping[StepId, _Move], now: datetime
) -> None:
    for each in owned:
        if (told := moves[each.step_id].event) is not None:
            event, data = told
            append_event(
                session, plan.id, event, {"step": each.step_id, "kind": each.kind, "role": each.role, **data}, now
            )


def _phases(session: Session, plans: Iterable[PlanRow]) -> dict[str, Phase]:
    """Of each plan by its counts."""
    plans = list(plans)
    broken = _broken(session, {plan.needs for plan in plans if plan.needs is not None})
    return {
        plan.id: phase_of(counts_in(plan), cancelled=plan.cancelled_at is not None, blocked=plan.needs in broken)
        for plan in plans
    }


def _broken(session: Session, needed: Collection[str]) -> set[str]:
    found: set[str] = set()
    for batch in batches(needed):
        query = select(PlanRow.id).where(PlanRow.id.in_(batch), PlanRow.phase.in_(sorted(BROKEN)))
        found |= set(session.scalars(query))
    return found


def _enter(session: Session, plans: Iterable[PlanRow], phases: Mapping[str, Phase], now: datetime) -> None:
    """Notes phases that changed; plans that wait for one of these follow."""
    broke: list[str] = []
    healed: list[str] = []
    for plan in plans:
        before, after = plan.phase, phases[plan.id]
        if before != after:
            plan.phase = after
            note_transition(session, f"plan.{before}.{after}")
            _tell_phase(session, plan, now)
        if (before in BROKEN) != (after in BROKEN):
            (broke if after in BROKEN else healed).append(plan.id)
    session.flush()
    waiting = _waiting_for(session, broke, sorted(ACTIVE)) | _waiting_for(session, healed, ["failed"])
    if waiting:
        dependents = lock_plans(session, waiting)
        _enter(session, dependents.values(), _phases(session, dependents.values()), now)


def _tell_phase(session: Session, plan: PlanRow, now: datetime) -> None:
    if plan.phase in ACTIVE:
        plan.finished_at, plan.history_compacted = None, False
    else:
        plan.finished_at = now
    counts = counts_in(plan).model_dump()
    append_event(session, plan.id, PHASE_CHANGED, {"phase": plan.phase, "steps": counts}, now)
    if plan.phase not in ACTIVE:
        tell_end(session, plan, counts, now)


def _waiting_for(session: Session, needed: Collection[str], phases: Sequence[Phase]) -> set[str]:
    """Plans in `phases` that wait for one of `needed`."""
    found: set[str] = set()
    for batch in batches(needed):
        query = select(PlanRow.id).where(PlanRow.needs.in_(batch), PlanRow.phase.in_(phases))
        found |= set(session.scalars(query))
    return found


def counts_in(plan: PlanRow | AnyRow) -> StepCounts:
    return StepCounts(**{name: getattr(plan, name) for name in _COUNTED})


def create_plan(
    session: Session,
    plan: str,
    steps: Collection[PlannedStep],
    survey: Survey,
    now: datetime,
    traceparent: str | None = None,
    *,
    project: str = DEFAULT_PROJECT,
    needs: str | None = None,
    layout: BaseModel | None = None,
) -> None:
    """Adds the plan, its new steps and its share in known ones.

    `needs`: the plan whose steps are inputs here, which are not repeated; `layout`: what its results are read by.
    Raises IntegrityError if another process was first, UnreadableRow when a known step cannot be read."""
    stored = None if layout is None else layout.model_dump(mode="json")
    row = PlanRow(id=plan, created_at=now, traceparent=traceparent, project_id=project, needs=needs, layout=stored)
    session.add(row)
    session.flush()
    fresh = _insert_new(session, steps, survey, now)
    rows = find_rows(session, [step.id for step in steps], lock=True)
    if needs is not None:
        lock_plans(session, [needs])  # else it could fail without a word to this one
    save_steps(session, [_share(rows[step.id], step, survey, now) for step in steps if step.id not in fresh], now)
    session.add_all(
        StepInputRow(step_id=step.id, input_id=needed) for step in steps if step.id in fresh for needed in step.inputs
    )
    session.add_all(
        PlanStepRow(plan_id=plan, step_id=step.id, position=position, role=step.role, reused=step.id in survey.verified)
        for position, step in enumerate(steps)
    )
    note_blobs(session, [survey.verified[step.id] for step in steps if step.id in survey.verified])
    _count_from_rows(row, steps, rows, survey)
    row.phase = _phases(session, [row])[plan]
    note_transition(session, "plan.created")
    _tell_phase(session, row, now)
    session.flush()


def _count_from_rows(
    plan: PlanRow, steps: Collection[PlannedStep], rows: Mapping[StepId, StepRow], survey: Survey
) -> None:
    states = Counter(rows[step.id].state for step in steps)
    plan.waiting, plan.leased, plan.succeeded, plan.failed = (states[state] for state in _STATES)
    kinds = Counter(step.kind for step in steps if step.id in survey.verified)
    plan.total, plan.reused, plan.reused_by_kind = len(steps), kinds.total(), dict(sorted(kinds.items()))


def _insert_new(session: Session, steps: Collection[PlannedStep], survey: Survey, now: datetime) -> set[StepId]:
    """Adds those that nobody has added, always in the same order; their ids. One that another transaction is adding is
    waited for, and is known then."""
    planned, new = {step.id: step for step in steps}, set[StepId]()
    known = {step for batch in batches(planned) for step in session.scalars(_ids_among(batch))}
    statement = insert_into(session, StepRow).on_conflict_do_nothing().returning(StepRow.id)
    for batch in batches(sorted(planned.keys() - known)):
        new |= set(session.scalars(statement, [_new_values(planned[step], survey, now) for step in batch]))
    return new


def _ids_among(ids: Collection[StepId]) -> Select[str]:
    return select(StepRow.id).where(StepRow.id.in_(ids))


def _new_values(planned: PlannedStep, survey: Survey, now: datetime) -> dict[str, Any]:
    row = _new_row(planned, survey, now)
    return {name: getattr(row, name) for name in StepRow.__table__.columns.keys()}  # noqa: SIM118  # iterating gives columns


def _new_row(planned: PlannedStep, survey: Survey, now: datetime) -> StepRow:
    row = StepRow(
        id=planned.id,
        kind=planned.kind,
        version=planned.contract.version,
        queue=planned.contract.queue,
        request=planned.stored,
        created_at=now,
    )
    manifest = survey.verified.get(planned.id)
    step = Step(id=planned.id)
    copy_step(row, step if manifest is None else transitions.succeed(step, now, manifest))
    return row


def _share(row: StepRow, planned: PlannedStep, survey: Survey, now: datetime) -> StepChange:
    """A known step, up to date."""
    step = to_step(row)
    if row.id in survey.verified:
        return StepChange(row, transitions.succeed(step, now, survey.verified[row.id]))
    if row.id in survey.lost and step.state == "succeeded":
        return StepChange(row, transitions.forget_result(step))
    if step.state in {"waiting", "failed"}:
        # Same identity, but the bytes may lie at a better location by now.
        row.request = planned.stored
        return StepChange(row, transitions.retry(step))
    return StepChange(row, step)


def cancel_plan(session: Session, plan: str, now: datetime) -> Phase:
    """No effect on a plan that has ended. Returns the phase it is in now."""
    row = lock_plans(session, [plan])[plan]
    if row.phase in ACTIVE:
        row.cancelled_at = now
        _enter(session, [row], _phases(session, [row]), now)
    return row.phase  # type: ignore[return-value]  # the column holds nothing else


def retry_plan(session: Session, plan: str, now: datetime, require: Require = nothing) -> None:
    """Failed steps get all their attempts again, and a cancelled plan goes on; so does a plan that it waits for.
    `require` is asked once all that changes is locked."""
    chain = _with_broken_needs(session, plan)
    changes = _retried_steps(session, chain)
    rows = _lock_all_that_follow(session, [change.row.id for change in changes], chain)
    require(session)
    save_steps(session, changes, now)
    for row in (rows[each] for each in reversed(chain)):
        row.cancelled_at = None
        _enter(session, [row], _phases(session, [row]), now)


def _lock_all_that_follow(session: Session, steps: Collection[StepId], chain: Collection[str]) -> dict[str, PlanRow]:
    """The plans of `chain`, those that need one of `steps`, and those that wait for any of these: at once, because
    plans that are locked later would be out of order."""
    changed = {*chain, *_owners_of(session, steps)}
    return lock_plans(session, {*changed, *_waiting_for(session, changed, _PHASES)})


def retry_step(session: Session, step: StepId, now: datetime) -> None:
    """A failed step gets all its attempts again, and plans that had ended with it go on; any other stays as it is."""
    save_steps(session, _retried(session, [step]), now)


def _with_broken_needs(session: Session, plan: str) -> list[str]:
    chain, needs = [plan], session.scalar(select(PlanRow.needs).where(PlanRow.id == plan))
    while needs is not None and _broken(session, [needs]):
        chain.append(needs)
        needs = session.scalar(select(PlanRow.needs).where(PlanRow.id == needs))
    return chain


def _retried_steps(session: Session, plans: Collection[str]) -> list[StepChange]:
    query = (
        select(StepRow.id)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id.in_(plans), StepRow.state == "failed")
    )
    return _retried(session, set(session.scalars(query)))


def _retried(session: Session, steps: Collection[StepId]) -> list[StepChange]:
    rows = find_rows(session, steps, lock=True)
    return [StepChange(row, transitions.retry(to_step(row))) for row in rows.values()]


def fail_unreadable(session: Session, step: StepId, problem: Problem, now: datetime) -> None:
    """Fails a step whose row cannot be read, without reading it; the plans that need it fail with it."""
    locked = select(StepRow.state).where(StepRow.id == step).with_for_update(key_share=True)
    state = session.scalar(locked)
    if state is None or state == "succeeded":
        return
    failed = {
        "state": "failed",
        "problem": problem.model_dump(mode="json"),
        "finished_at": now,
        "lease_expires_at": None,
        "not_before": None,
        "started_at": None,
        "worker": None,
    }
    statement = update(StepRow).where(StepRow.id == step).values(failed)
    session.execute(statement, execution_options={"synchronize_session": False})
    attempt = session.scalar(select(StepRow.attempt).where(StepRow.id == step))
    told = {"attempt": attempt, "final": True, "problem": failed["problem"]}
    _follow(session, {step: _Move(state, "failed", (STEP_FAILED, told))}, now)
