"""Deleting experiments, and then the steps that nobody wants any more."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, delete, exists, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from touchstone_contracts.problems import Invalid
from touchstone_contracts.values import StepId
from touchstone_planning.state import ACTIVE

from touchstone_store.database import Store, note_transition
from touchstone_store.experiments import require_experiment
from touchstone_store.plans import lock_plans
from touchstone_store.steps import batches
from touchstone_store.stored_bytes import forget_blobs
from touchstone_store.tables import (
    EventRow,
    ExperimentFacetRow,
    ExperimentRow,
    IdempotencyKeyRow,
    PlanRow,
    PlanStepRow,
    StepInputRow,
    StepRow,
)
from touchstone_store.takedowns import forget_marks


class StillActive(Invalid):
    """Its steps are wanted."""

    code = "still_active"
    status = 409
    title = "The experiment is still active"


def delete_experiment(session: Session, experiment: str) -> None:
    """The experiment with its history. Its steps stay until they are collected, and whoever wants them before reuses
    them. Raises NotFound or StillActive."""
    found = require_experiment(session, experiment)
    phase = lock_plans(session, [experiment])[experiment].phase
    if phase in ACTIVE:
        raise StillActive(
            f"experiment {experiment} ({found.name!r}) is {phase}; cancel it first (POST "
            f"/v1/experiments/{experiment}/cancel)"
        )
    session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.experiment_id == experiment))
    session.execute(delete(ExperimentFacetRow).where(ExperimentFacetRow.experiment_id == experiment))
    session.execute(delete(ExperimentRow).where(ExperimentRow.id == experiment))
    delete_plan(session, experiment)


def delete_plan(session: Session, plan: str) -> None:
    """A plan that nothing else refers to, with its history; its steps stay."""
    for rows in (EventRow, PlanStepRow):
        session.execute(delete(rows).where(rows.plan_id == plan))
    session.execute(delete(PlanRow).where(PlanRow.id == plan))
    note_transition(session, "plan.deleted")


def unowned_steps(session: Session, without: Select[str] | None = None) -> list[StepId]:
    """Steps that no plan needs and nobody works on; `without`: plans that count as if they were gone."""
    of_others = None if without is None else PlanStepRow.plan_id.not_in(without)
    query = select(StepRow.id).where(StepRow.state != "leased", ~_owned(of_others))
    return list(session.scalars(query.order_by(StepRow.id)))


def delete_steps(store: Store, steps: Collection[StepId]) -> int:
    """Of unowned `steps` those that are unowned still; how many. Where a plan came to need some of a batch meanwhile,
    all of that batch stay."""
    deleted = 0
    for batch in batches(steps):
        try:
            with store.write() as session:
                deleted += _delete_unowned(session, batch)
        except IntegrityError:
            continue
    return deleted


def _delete_unowned(session: Session, batch: Collection[StepId]) -> int:
    unowned = select(StepRow.id).where(StepRow.id.in_(batch), StepRow.state != "leased", ~_owned())
    ids = list(session.scalars(unowned.order_by(StepRow.id).with_for_update()))
    forget_marks(session, ids)
    forget_blobs(session, ids)
    session.execute(delete(StepInputRow).where(StepInputRow.step_id.in_(ids) | StepInputRow.input_id.in_(ids)))
    session.execute(delete(StepRow).where(StepRow.id.in_(ids)))
    note_transition(session, "steps.deleted")
    return len(ids)


def _owned(by: ColumnElement[bool] | None = None) -> ColumnElement[bool]:
    """`by`: which plans count; None: all."""
    return exists(select(1).where(PlanStepRow.step_id == StepRow.id, true() if by is None else by))
