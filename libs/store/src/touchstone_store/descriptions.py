"""What people asked to have registered by its location: a row each, until and after it is in the catalogue."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session
from touchstone_contracts.locations import Located, LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.problems import NotFound, Problem
from touchstone_contracts.values import StepId
from touchstone_contracts.views import DescribedKind

from touchstone_store.tables import DescriptionRow, PlanRow

LOCATED: Mapping[DescribedKind, type[Located]] = {
    "upstream": LocatedUpstream,
    "target": LocatedTarget,
    "dataset": LocatedDataset,
}


@dataclass(frozen=True)
class Description:
    kind: DescribedKind
    project: str
    located: Located
    plan: str
    step: StepId
    created_at: datetime
    registered: bool
    problem: Problem | None
    """Why it could not be registered."""
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.located.name


def kind_of(located: Located) -> DescribedKind:
    return next(kind for kind, model in LOCATED.items() if type(located) is model)


def new_description_plan() -> str:
    return f"describe/{secrets.token_hex(12)}"


def find_description(session: Session, kind: DescribedKind, project: str, name: str) -> Description | None:
    row = session.get(DescriptionRow, (kind, project, name), populate_existing=True)
    return None if row is None else _description(row)


def require_description(session: Session, kind: DescribedKind, project: str, name: str) -> Description:
    """Raises NotFound."""
    found = find_description(session, kind, project, name)
    if found is None:
        raise NotFound(f"no {kind} named {name!r} was asked for by its location")
    return found


def list_descriptions(session: Session, project: str, *, after: str | None, limit: int) -> list[Description]:
    """By kind and name; `after`: `kind.name` of the one that the page starts after."""
    query = select(DescriptionRow).where(DescriptionRow.project_id == project)
    if after is not None:
        kind, _, name = after.partition(".")
        query = query.where(tuple_(DescriptionRow.kind, DescriptionRow.name) > (kind, name))
    rows = session.scalars(query.order_by(DescriptionRow.kind, DescriptionRow.name).limit(limit))
    return [_description(row) for row in rows]


def put_description(session: Session, located: Located, project: str, plan: str, step: StepId, now: datetime) -> None:
    """Replaces an earlier one of that name, which came to nothing."""
    session.merge(
        DescriptionRow(
            kind=kind_of(located),
            project_id=project,
            name=located.name,
            body=located.model_dump(mode="json"),
            plan_id=plan,
            step_id=step,
            problem=None,
            notes=None,
            created_at=now,
            registered_at=None,
        )
    )
    session.flush()


def looked_at(session: Session) -> Sequence[Description]:
    """Those whose locations were looked at, and of which nothing has come yet."""
    query = (
        select(DescriptionRow)
        .join(PlanRow, PlanRow.id == DescriptionRow.plan_id)
        .where(DescriptionRow.registered_at.is_(None), DescriptionRow.problem.is_(None), PlanRow.phase == "succeeded")
        .order_by(DescriptionRow.created_at)
    )
    return [_description(row) for row in session.scalars(query)]


def note_registered(session: Session, description: Description, notes: Sequence[str], now: datetime) -> None:
    row = _same(session, description)
    if row is not None:
        row.registered_at, row.notes = now, {"notes": list(notes)}


def note_problem(session: Session, description: Description, problem: Problem) -> None:
    row = _same(session, description)
    if row is not None:
        row.problem = problem.model_dump(mode="json")


def _same(session: Session, description: Description) -> DescriptionRow | None:
    """None where another has replaced it meanwhile."""
    row = session.get(DescriptionRow, (description.kind, description.project, description.name))
    return row if row is not None and row.plan_id == description.plan else None


def _description(row: DescriptionRow) -> Description:
    kind: DescribedKind = row.kind  # type: ignore[assignment]  # the column holds nothing else
    return Description(
        kind=kind,
        project=row.project_id,
        located=LOCATED[kind].model_validate(row.body),
        plan=row.plan_id,
        step=row.step_id,
        created_at=row.created_at,
        registered=row.registered_at is not None,
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        notes=tuple((row.notes or {}).get("notes", ())),
    )
