"""The steps of one plan, page by page and one by one, for people who look into it."""

from collections.abc import Collection

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer
from touchstone_contracts.facts import references_in
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import StepDetail, StepState, StepView

from touchstone_store.steps import OwnedStep, inputs_of, to_step
from touchstone_store.tables import PlanStepRow, StepRow


def list_steps(
    session: Session, plan: str, *, after: int, limit: int, state: StepState | None = None, prefix: str = ""
) -> list[tuple[int, StepView]]:
    """(position, step) in topological order; `after` is the position the page starts after, -1 for the first.

    `prefix`: what the steps' ids begin with."""
    query = _steps_of(plan).where(PlanStepRow.position > after, StepRow.id.startswith(prefix, autoescape=True))
    if state is not None:
        query = query.where(StepRow.state == state)
    found = session.execute(query.order_by(PlanStepRow.position).limit(limit)).all()
    return [(owned.position, _owned(row, owned).view()) for row, owned in found]


def find_step(session: Session, plan: str, step: StepId) -> StepDetail | None:
    """None where the plan has no such step."""
    found = session.execute(_steps_of(plan).where(StepRow.id == step)).one_or_none()
    if found is None:
        return None
    row, owned = found
    return StepDetail(
        **dict(_owned(row, owned).view()),
        version=row.version,
        queue=row.queue,
        inputs=tuple(inputs_of(session, step)),
        worker=row.worker,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cpu_seconds=row.cpu_seconds,
        gpu_seconds=row.gpu_seconds,
        log_tail=row.log_tail,
    )


def facts_of_failed_steps(session: Session, plan: str) -> dict[StepId, Collection[Digest]]:
    """The facts that the stored requests of the plan's failed steps name."""
    query = (
        select(StepRow.id, StepRow.request)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, StepRow.state == "failed")
    )
    return {step: references_in(request).values() for step, request in session.execute(query).all()}


def _steps_of(plan: str) -> Select[StepRow, PlanStepRow]:
    return (
        select(StepRow, PlanStepRow)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan)
        .options(defer(StepRow.request))
    )


def _owned(row: StepRow, owned: PlanStepRow) -> OwnedStep:
    return OwnedStep(row.kind, owned.role, owned.reused, to_step(row))
