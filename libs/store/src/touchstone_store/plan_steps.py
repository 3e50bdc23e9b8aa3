"""The steps of one plan, page by page and one by one, for people who look into it."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.facts import references_in
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import StepDetail, StepState

from touchstone_store.steps import OwnedStep, inputs_of, owned_steps
from touchstone_store.tables import PlanStepRow, StepRow


def list_steps(
    session: Session, plan: str, *, after: int, limit: int, state: StepState | None = None, prefix: str = ""
) -> Sequence[OwnedStep]:
    """In topological order; `after` is the position the page starts after, -1 for the first.

    `prefix`: what the steps' ids begin with."""
    conditions = [PlanStepRow.position > after, StepRow.id.startswith(prefix, autoescape=True)]
    if state is not None:
        conditions.append(StepRow.state == state)
    return owned_steps(session, plan, *conditions, limit=limit)


def find_step(session: Session, plan: str, step: StepId) -> StepDetail | None:
    """None where the plan has no such step."""
    for owned in owned_steps(session, plan, StepRow.id == step):
        now = owned.step
        return StepDetail(
            **dict(owned.view()),
            version=owned.version,
            queue=owned.queue,
            inputs=tuple(sorted(inputs_of(session, [step]))),
            worker=now.worker,
            created_at=owned.created_at,
            started_at=now.started_at,
            finished_at=now.finished_at,
            cpu_seconds=now.cpu_seconds,
            gpu_seconds=now.gpu_seconds,
            log_tail=now.log_tail,
        )
    return None


def facts_of_failed_steps(session: Session, plan: str) -> dict[StepId, Collection[Digest]]:
    """The facts that the stored requests of the plan's failed steps name."""
    query = (
        select(StepRow.id, StepRow.request)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, StepRow.state == "failed")
    )
    return {step: references_in(request).values() for step, request in session.execute(query).all()}


def facts_of_steps(session: Session, steps: Collection[StepId]) -> set[Digest]:
    """The facts that the stored requests of any of `steps` name."""
    query = select(StepRow.request).where(StepRow.id.in_(steps))
    return {digest for request in session.scalars(query) for digest in references_in(request).values()}
