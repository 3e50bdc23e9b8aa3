"""Plans in SQL: creating one, sharing its steps with others, and bringing it to its end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Phase
from touchstone_planning import transitions
from touchstone_planning.dag import PlannedStep
from touchstone_planning.state import TERMINAL, Step, phase_of

from touchstone_store.events import PHASE_CHANGED, announced_phases, append_event
from touchstone_store.steps import batches, find_rows, save_step, tallies, to_step
from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow


@dataclass(frozen=True)
class Survey:
    """What the object store says about a plan's steps before the plan is created."""

    verified: Mapping[StepId, StepManifest] = field(default_factory=dict)
    lost: Collection[StepId] = ()
    """Steps that SQL holds for succeeded, but whose results are gone or damaged."""


def create_plan(
    session: Session,
    plan: str,
    steps: Collection[PlannedStep],
    survey: Survey,
    now: datetime,
    traceparent: str | None = None,
    *,
    needs: str | None = None,
    layout: BaseModel | None = None,
) -> None:
    """Adds the plan, its new steps and its share in known ones. Raises IntegrityError if another process was first.

    `needs`: the plan whose steps are inputs here, which are not repeated; `layout`: what its results are read by."""
    stored = None if layout is None else layout.model_dump(mode="json")
    session.add(PlanRow(id=plan, created_at=now, traceparent=traceparent, needs=needs, layout=stored))
    session.flush()
    known = find_rows(session, [step.id for step in steps], lock=True)
    revived = [step.id for step in steps if step.id in known and _share(known[step.id], step, survey, now)]
    fresh = [step for step in steps if step.id not in known]
    session.add_all(_new_row(step, survey, now) for step in fresh)
    session.flush()
    session.add_all(StepInputRow(step_id=step.id, input_id=needed) for step in fresh for needed in step.inputs)
    session.add_all(
        PlanStepRow(plan_id=plan, step_id=step.id, position=position, role=step.role, reused=step.id in survey.verified)
        for position, step in enumerate(steps)
    )
    session.flush()
    reopen_owners(session, revived, now)
    settle(session, [plan], now)


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
    save_step(row, step if manifest is None else transitions.succeed(step, now, manifest))
    return row


def _share(row: StepRow, planned: PlannedStep, survey: Survey, now: datetime) -> bool:
    """Brings a known step up to date. Whether it has to run again although it had ended."""
    step = to_step(row)
    if row.id in survey.verified:
        save_step(row, transitions.succeed(step, now, survey.verified[row.id]))
        return False
    if row.id in survey.lost and step.state == "succeeded":
        save_step(row, transitions.forget_result(step))
        return True
    if step.state in {"waiting", "failed"}:
        # Same identity, but the bytes may lie in a better place by now.
        row.request = planned.stored
        save_step(row, transitions.retry(step))
    return step.state == "failed"


def reopen_owners(session: Session, steps: Collection[StepId], now: datetime) -> None:
    """Plans that had ended with these steps go on: their steps run again."""
    if not steps:
        return
    owners: set[str] = set()
    for batch in batches(steps):
        owners |= set(session.scalars(select(PlanStepRow.plan_id).where(PlanStepRow.step_id.in_(batch))))
    session.execute(
        update(PlanRow).where(PlanRow.id.in_(owners), PlanRow.cancelled_at.is_(None)).values(finished_at=None)
    )
    settle(session, owners, now)


def settle(session: Session, plans: Collection[str], now: datetime) -> dict[str, Phase]:
    """Derives each plan's phase, tells its history when it changed and marks plans that came to their end."""
    session.flush()
    rows = session.scalars(select(PlanRow).where(PlanRow.id.in_(plans)).order_by(PlanRow.id).with_for_update()).all()
    tally_of, announced = tallies(session, plans), announced_phases(session, plans)
    phases: dict[str, Phase] = {}
    for row in rows:
        phase = phase_of(tally_of[row.id].states(), cancelled=row.cancelled_at is not None)
        phases[row.id] = phase
        if phase in TERMINAL and row.finished_at is None:
            row.finished_at = now
        if phase != announced.get(row.id):
            counts = tally_of[row.id].counts().model_dump()
            append_event(session, row.id, PHASE_CHANGED, {"phase": phase, "steps": counts}, now)
    return phases


def unfinished_plans(session: Session) -> list[str]:
    return list(session.scalars(select(PlanRow.id).where(PlanRow.finished_at.is_(None))))


def cancel_plan(session: Session, plan: str, now: datetime) -> Phase:
    """No effect on a plan that has ended. Returns the phase it is in now."""
    row = session.get_one(PlanRow, plan, with_for_update=True)
    if row.finished_at is None:
        row.cancelled_at = now
    return settle(session, [plan], now)[plan]


def retry_plan(session: Session, plan: str, now: datetime) -> None:
    """Failed steps get all their attempts again, and a cancelled plan goes on."""
    row = session.get_one(PlanRow, plan, with_for_update=True)
    row.cancelled_at = row.finished_at = None
    reopen_owners(session, _retry_failed_steps(session, plan), now)
    settle(session, [plan], now)


def retry_step(session: Session, step: StepId, now: datetime) -> None:
    """A failed step gets all its attempts again, and plans that had ended with it go on; any other stays as it is."""
    reopen_owners(session, _retried(find_rows(session, [step], lock=True).values()), now)


def _retry_failed_steps(session: Session, plan: str) -> list[StepId]:
    query = (
        select(StepRow)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, StepRow.state == "failed")
        .order_by(StepRow.id)
        .with_for_update(of=StepRow)
    )
    return _retried(session.scalars(query))


def _retried(rows: Iterable[StepRow]) -> list[StepId]:
    failed = [row for row in rows if row.state == "failed"]
    for row in failed:
        save_step(row, transitions.retry(to_step(row)))
    return [row.id for row in failed]
