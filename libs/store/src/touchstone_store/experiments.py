"""Experiments in SQL."""

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session
from touchstone_contracts.problems import NotFound
from touchstone_contracts.views import Phase
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.state import phase_of

from touchstone_store.steps import Tally, tallies
from touchstone_store.tables import ExperimentRow, PlanRow


@dataclass(frozen=True)
class Experiment:
    """An experiment as stored, with the tally of its steps. `plan_experiment(resolved)` gives its plan again."""

    id: str
    identity: str
    resolved: ResolvedExperiment
    created_at: datetime
    cancelled_at: datetime | None
    finished_at: datetime | None
    tally: Tally

    @property
    def phase(self) -> Phase:
        return phase_of(self.tally.states(), cancelled=self.cancelled_at is not None)


def new_experiment_id() -> str:
    """`exp_` and 24 hexadecimal digits that sort by time of creation."""
    return f"exp_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def _joined(session: Session, rows: Sequence[Row[ExperimentRow, PlanRow]]) -> list[Experiment]:
    tally_of = tallies(session, [row.id for row, _ in rows])
    return [
        Experiment(
            id=row.id,
            identity=row.identity,
            resolved=ResolvedExperiment.model_validate(row.resolved),
            created_at=row.created_at,
            cancelled_at=plan.cancelled_at,
            finished_at=plan.finished_at,
            tally=tally_of[row.id],
        )
        for row, plan in rows
    ]


def _query() -> Select[ExperimentRow, PlanRow]:
    return select(ExperimentRow, PlanRow).join(PlanRow, PlanRow.id == ExperimentRow.id)


def require_experiment(session: Session, experiment: str) -> Experiment:
    """Raises NotFound."""
    rows = session.execute(_query().where(ExperimentRow.id == experiment)).all()
    if not rows:
        raise NotFound(f"no experiment {experiment!r}")
    return _joined(session, rows)[0]


def experiment_with_identity(session: Session, identity: str) -> Experiment | None:
    rows = session.execute(_query().where(ExperimentRow.identity == identity)).all()
    return _joined(session, rows)[0] if rows else None


def list_experiments(session: Session, *, before: str | None, limit: int) -> list[Experiment]:
    """Newest first; `before` is the id the page starts after."""
    query = _query().order_by(ExperimentRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ExperimentRow.id < before)
    return _joined(session, session.execute(query).all())


def phases_by_count(session: Session) -> Counter[str]:
    """Phase -> number of experiments in it."""
    cancelled_at = dict(session.execute(_query().with_only_columns(PlanRow.id, PlanRow.cancelled_at)).all())
    tally_of = tallies(session, list(cancelled_at))
    return Counter(
        phase_of(tally_of[plan].states(), cancelled=moment is not None) for plan, moment in cancelled_at.items()
    )
