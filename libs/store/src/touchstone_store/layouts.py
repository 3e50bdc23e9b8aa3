"""The stored plan of an experiment and of an upstream: what later releases read instead of planning again."""

from collections.abc import Collection, Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.problems import NotFound
from touchstone_contracts.steps import DOWNLOAD_IMAGES
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ManifestStep
from touchstone_planning.dag import UpstreamLayout
from touchstone_planning.layout import StoredPlan

from touchstone_store.tables import PlanRow, PlanStepRow, StepInputRow, StepRow

UPSTREAM_PLANS = "upstream/"
"""Prefix of the ids of plans that ingest and index an upstream."""


def upstream_plan_id(name: str, project: str = DEFAULT_PROJECT) -> str:
    """`project`: the id of the one that registered it."""
    return UPSTREAM_PLANS + (name if project == DEFAULT_PROJECT else f"{project}/{name}")


def upstream_of(plan: str) -> str:
    """The name of the upstream whose plan this is."""
    return plan.rpartition("/")[2]


def upstream_layout(session: Session, plan: str) -> UpstreamLayout:
    """Raises NotFound where no such upstream has been registered."""
    row = session.get(PlanRow, plan)
    if row is None or row.layout is None:
        raise NotFound(f"upstream {upstream_of(plan)!r} has no plan; register it again")
    return UpstreamLayout.model_validate(row.layout)


def stored_plan_of(session: Session, experiment: str) -> StoredPlan:
    """Raises NotFound."""
    row = session.get(PlanRow, experiment)
    if row is None or row.layout is None:
        raise NotFound(f"experiment {experiment!r} has no stored plan")
    return StoredPlan.model_validate(row.layout)


def planned_steps(session: Session, plan: str) -> Iterator[ManifestStep]:
    """In an order in which they can be done."""
    inputs: dict[StepId, list[StepId]] = {}
    query = (
        select(StepInputRow.step_id, StepInputRow.input_id)
        .join(PlanStepRow, PlanStepRow.step_id == StepInputRow.step_id)
        .where(PlanStepRow.plan_id == plan)
        .order_by(StepInputRow.step_id, StepInputRow.input_id)
    )
    for step, needed in session.execute(query).all():
        inputs.setdefault(step, []).append(needed)
    steps = (
        select(StepRow.id, StepRow.kind, StepRow.version, PlanStepRow.role)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan)
        .order_by(PlanStepRow.position)
    )
    for step, kind, version, role in session.execute(steps).all():
        yield ManifestStep(id=step, kind=kind, version=version, role=role, inputs=tuple(inputs.get(step, ())))


def finished_of_kinds(session: Session, plan: str, kinds: Collection[str]) -> list[ManifestStep]:
    """The steps of a plan that have succeeded, without their inputs."""
    query = (
        select(StepRow.id, StepRow.kind, StepRow.version, PlanStepRow.role)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan, StepRow.kind.in_(kinds), StepRow.state == "succeeded")
        .order_by(PlanStepRow.position)
    )
    return [
        ManifestStep(id=step, kind=kind, version=version, role=role, inputs=())
        for step, kind, version, role in session.execute(query).all()
    ]


def downloads_of(session: Session, curation: StepId) -> dict[int, StepId]:
    """Class id -> the step that downloads its candidates for a pool; empty where they come from no links."""
    query = (
        select(StepRow.id, StepRow.request)
        .join(StepInputRow, StepInputRow.input_id == StepRow.id)
        .where(StepInputRow.step_id == curation, StepRow.kind == DOWNLOAD_IMAGES.name)
    )
    found = {request["class_id"]: step for step, request in session.execute(query).all()}
    return dict(sorted(found.items()))
