"""Experiments in SQL."""

import secrets
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row, Select, Text, cast, func, select
from sqlalchemy.orm import Session
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import NotFound, Problem
from touchstone_contracts.values import STORED
from touchstone_contracts.views import Phase, StepCounts
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.state import ACTIVE

from touchstone_store.plans import counts_in
from touchstone_store.tables import ExperimentRow, PlanRow
from touchstone_store.unreadable import UnreadableRow

_ID_PREFIX = "exp_"
_COUNT_COLUMNS = [getattr(PlanRow, name) for name in StepCounts.model_fields]
_REUSED_BY_KIND: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])


@dataclass(frozen=True)
class PlanState:
    """How far a plan is, from its row alone."""

    phase: Phase = "succeeded"
    counts: StepCounts = field(default_factory=StepCounts)


@dataclass(frozen=True)
class Experiment:
    """An experiment as stored, less what its names were resolved to: see `resolved_of`."""

    id: str
    identity: str
    name: str
    spec: ExperimentSpec | None
    """None: it cannot be read, and `problem` says why."""
    created_at: datetime
    archived_at: datetime | None
    finished_at: datetime | None
    phase: Phase
    counts: StepCounts
    reused_by_kind: dict[str, int]
    needs: str | None
    """The plan that it waits for."""
    problem: Problem | None = None

    @property
    def readable_spec(self) -> ExperimentSpec:
        """Raises UnreadableRow."""
        if self.spec is None:
            raise _unreadable(self.id, self.problem.detail if self.problem else "")
        return self.spec


def new_experiment_id() -> str:
    """`exp_` and 24 hexadecimal digits that sort by time of creation."""
    return f"{_ID_PREFIX}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def experiment_query() -> Select[Any]:
    """JSON is read as text, so that one that cannot be read spoils its own experiment alone."""
    columns: list[Any] = [
        ExperimentRow.id,
        ExperimentRow.identity,
        ExperimentRow.name,
        cast(ExperimentRow.spec, Text).label("spec"),
        ExperimentRow.created_at,
        ExperimentRow.archived_at,
        PlanRow.finished_at,
        PlanRow.phase,
        PlanRow.needs,
        cast(PlanRow.reused_by_kind, Text).label("reused_by_kind"),
        *_COUNT_COLUMNS,
    ]
    return select(*columns).join(PlanRow, PlanRow.id == ExperimentRow.id)


def to_experiment(row: Row[Any]) -> Experiment:
    """Of `experiment_query`."""
    spec, reused_by_kind, problem = None, {}, None
    try:
        spec = ExperimentSpec.model_validate_json(row.spec, context=STORED)
        reused_by_kind = _REUSED_BY_KIND.validate_json(row.reused_by_kind)
    except ValidationError as error:
        problem = _unreadable(row.id, error).problem()
    return Experiment(
        id=row.id,
        identity=row.identity,
        name=row.name,
        spec=spec,
        created_at=row.created_at,
        archived_at=row.archived_at,
        finished_at=row.finished_at,
        phase=row.phase if problem is None else "failed",
        counts=counts_in(row),
        reused_by_kind=reused_by_kind,
        needs=row.needs,
        problem=problem,
    )


def _unreadable(experiment: str, reason: object) -> UnreadableRow:
    return UnreadableRow(ExperimentRow.__tablename__, experiment, reason)


def require_experiment(session: Session, experiment: str) -> Experiment:
    """Raises NotFound."""
    row = session.execute(experiment_query().where(ExperimentRow.id == experiment)).one_or_none()
    if row is None:
        raise NotFound(f"no experiment {experiment!r}")
    return to_experiment(row)


def require_presence(session: Session, experiment: str) -> None:
    """Raises NotFound."""
    if session.scalar(select(ExperimentRow.id).where(ExperimentRow.id == experiment)) is None:
        raise NotFound(f"no experiment {experiment!r}")


def experiment_with_identity(session: Session, identity: str) -> Experiment | None:
    row = session.execute(experiment_query().where(ExperimentRow.identity == identity)).one_or_none()
    return None if row is None else to_experiment(row)


def resolved_of(session: Session, experiment: str) -> ResolvedExperiment:
    """The spec with everything its names stood for, which may be long. Raises NotFound, UnreadableRow."""
    query = select(cast(ExperimentRow.resolved, Text)).where(ExperimentRow.id == experiment)
    document = session.scalar(query)
    if document is None:
        raise NotFound(f"no experiment {experiment!r}")
    try:
        return ResolvedExperiment.model_validate_json(document, context=STORED)
    except ValidationError as error:
        raise _unreadable(experiment, error) from error


def registration_of(session: Session, experiment: str) -> str | None:
    """The text; None where the release that stored the experiment kept none."""
    return session.scalar(select(ExperimentRow.registration).where(ExperimentRow.id == experiment))


def experiment_names(session: Session) -> dict[str, str]:
    """By id, of every project."""
    return dict(session.execute(select(ExperimentRow.id, ExperimentRow.name)).all())


def plan_states(session: Session, plans: Collection[str]) -> dict[str, PlanState]:
    """Of those of `plans` that exist."""
    query = select(PlanRow.id, PlanRow.phase, *_COUNT_COLUMNS).where(PlanRow.id.in_(plans))
    return {row.id: PlanState(row.phase, counts_in(row)) for row in session.execute(query).all()}


def phases_by_count(session: Session) -> Counter[str]:
    """Phase -> number of experiments in it; from an index alone."""
    query = select(PlanRow.phase, func.count()).where(PlanRow.id.startswith(_ID_PREFIX, autoescape=True))
    return Counter(dict(session.execute(query.group_by(PlanRow.phase)).all()))


def active_steps_by_state(session: Session) -> dict[str, int]:
    """Steps of active plans; one that several of them need counts for each."""
    states = [column for column in _COUNT_COLUMNS if column.key in ("waiting", "leased", "succeeded", "failed")]
    query = select(*(func.coalesce(func.sum(column), 0).label(column.key) for column in states))
    row = session.execute(query.where(PlanRow.phase.in_(sorted(ACTIVE)))).one()
    return {state: int(count) for state, count in row._mapping.items()}
