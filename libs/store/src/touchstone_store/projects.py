"""Projects in SQL: whom things belong to, what others may read, and how much of its limits each uses."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.access import Limits, Use
from touchstone_contracts.problems import Invalid, NotFound
from touchstone_planning.state import ACTIVE

from touchstone_store.stored_bytes import bytes_of_project
from touchstone_store.tables import CatalogueRow, PlanRow, PlanStepRow, ProjectRow, StepRow

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_EXPERIMENTS = PlanRow.id.startswith("exp_", autoescape=True)


class ProjectExists(Invalid):
    code = "name_taken"
    status = 409
    title = "Name taken"


def create_project(session: Session, name: str, limits: Limits, now: datetime) -> str:
    """The id. Raises ProjectExists."""
    if session.scalar(select(ProjectRow.id).where(ProjectRow.name == name)) is not None:
        raise ProjectExists(f"there is a project named {name!r} already")
    project = "".join(secrets.choice(_ID_LETTERS) for _ in range(6))
    session.add(ProjectRow(id=project, name=name, limits=_stored(limits), created_at=now))
    session.flush()
    return project


def project_named(session: Session, name: str) -> ProjectRow:
    """Raises NotFound."""
    row = session.scalar(select(ProjectRow).where(ProjectRow.name == name))
    if row is None:
        raise NotFound(f"no project is named {name!r}")
    return row


def list_projects(session: Session) -> Sequence[ProjectRow]:
    return session.scalars(select(ProjectRow).order_by(ProjectRow.name)).all()


def limits_of(session: Session, project: str) -> Limits:
    return Limits.model_validate(session.get_one(ProjectRow, project).limits)


def set_limits(session: Session, project: str, limits: Limits) -> None:
    session.get_one(ProjectRow, project).limits = _stored(limits)


def _stored(limits: Limits) -> dict[str, Any]:
    return limits.model_dump(mode="json", exclude_none=True)


def readable(row: type[PlanRow] | type[CatalogueRow], project: str) -> ColumnElement[bool]:
    """What belongs to the project, and what others share."""
    return or_(row.project_id == project, row.shared)


def require_plan(session: Session, plan: str, project: str, *, write: bool, missing: str) -> None:
    """That the project may read the plan, or change it. Raises NotFound with `missing` where it may not know of it,
    SharedReadOnly where another project shares it."""
    row = session.execute(select(PlanRow.project_id, PlanRow.shared).where(PlanRow.id == plan)).one_or_none()
    if row is None or not (row.project_id == project or row.shared):
        raise NotFound(missing)
    if write and row.project_id != project:
        raise SharedReadOnly("another project shares this; only that project may change it")


class SharedReadOnly(Invalid):
    code = "shared_read_only"
    status = 403
    title = "Shared for reading only"


def share_plan(session: Session, plan: str, shared: bool) -> None:
    session.execute(update(PlanRow).where(PlanRow.id == plan).values(shared=shared))


def active_experiments(session: Session, project: str) -> int:
    query = select(func.count()).where(PlanRow.project_id == project, PlanRow.phase.in_(sorted(ACTIVE)), _EXPERIMENTS)
    return session.scalar(query) or 0


def gpu_seconds_since(session: Session, project: str, since: datetime) -> float:
    """Of steps that plans of the project had computed and that finished since then; a shared step counts once."""
    steps = (
        select(StepRow.id, StepRow.gpu_seconds)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanRow.project_id == project, PlanStepRow.reused.is_(False), StepRow.finished_at >= since)
        .distinct()
        .subquery()
    )
    return float(session.scalar(select(func.coalesce(func.sum(steps.c.gpu_seconds), 0.0))) or 0.0)


def use_of(session: Session, project: str, now: datetime) -> Use:
    largest = select(func.max(PlanRow.total)).where(PlanRow.project_id == project, PlanRow.phase.in_(sorted(ACTIVE)))
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Use(
        steps_in_a_plan=session.scalar(largest) or 0,
        active_experiments=active_experiments(session, project),
        bytes_stored=bytes_of_project(session, project),
        gpu_seconds_this_month=gpu_seconds_since(session, project, month),
    )
