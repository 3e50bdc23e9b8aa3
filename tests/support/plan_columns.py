"""What the columns of plans should say, counted afresh from their steps."""

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.views import StepCounts
from touchstone_planning.state import ACTIVE, phase_of
from touchstone_store.database import Store
from touchstone_store.events import PHASE_CHANGED
from touchstone_store.plans import BROKEN, counts_in
from touchstone_store.tables import EventRow, PlanRow, PlanStepRow, StepRow


def check_plan_columns(store: Store) -> int:
    """How many plans were looked at."""
    with store.read() as session:
        plans = {row.id: row for row in session.scalars(select(PlanRow))}
        for row in plans.values():
            counts, kinds = _fresh_counts(session, row.id)
            assert (row.id, counts_in(row), row.reused_by_kind) == (row.id, counts, kinds)
            blocked = row.needs is not None and plans[row.needs].phase in BROKEN
            assert row.phase == phase_of(counts, cancelled=row.cancelled_at is not None, blocked=blocked), row.id
            assert (row.finished_at is None) == (row.phase in ACTIVE), row.id
            assert row.phase == told_phases(session, row.id)[-1], row.id
            assert counts.reused <= counts.succeeded
        return len(plans)


def _fresh_counts(session: Session, plan: str) -> tuple[StepCounts, dict[str, int]]:
    query = (
        select(StepRow.kind, StepRow.state, PlanStepRow.reused)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id == plan)
    )
    rows = session.execute(query).all()
    states, kinds = Counter(state for _, state, _ in rows), Counter(kind for kind, _, reused in rows if reused)
    return StepCounts(total=len(rows), reused=kinds.total(), **states), dict(kinds)


def told_phases(session: Session, plan: str) -> list[str]:
    query = select(EventRow.data).where(EventRow.plan_id == plan, EventRow.event == PHASE_CHANGED)
    return [data["phase"] for data in session.scalars(query.order_by(EventRow.id))]
