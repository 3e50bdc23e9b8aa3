"""Plans keep their phase and counts; they name the plan they wait for and where their results come from.

Existing rows are filled by statements over whole tables. Histories of ended plans are compacted as events.py describes,
and progress leaves the histories."""

from datetime import UTC, datetime
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ENDED = ("succeeded", "failed", "cancelled")
COUNTS = ("waiting", "leased", "succeeded", "failed", "total", "reused")

plans = sa.table(
    "plans",
    sa.column("id", sa.String),
    sa.column("finished_at", sa.DateTime(timezone=True)),
    sa.column("phase", sa.String),
    sa.column("reused_by_kind", sa.JSON),
    sa.column("history_compacted", sa.Boolean),
    *(sa.column(name, sa.Integer) for name in COUNTS),
)
plan_steps = sa.table(
    "plan_steps", sa.column("plan_id", sa.String), sa.column("step_id", sa.String), sa.column("reused", sa.Boolean)
)
steps = sa.table("steps", sa.column("id", sa.String), sa.column("kind", sa.String), sa.column("state", sa.String))
events = sa.table(
    "events",
    sa.column("id", sa.Integer),
    sa.column("plan_id", sa.String),
    sa.column("event", sa.String),
    sa.column("data", sa.JSON),
    sa.column("at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    _add_columns()
    _exchange_indices()
    _forget_lost_reuse()
    _fill_counts()
    _fill_reused_by_kind()
    _fill_phases()
    _tell_missed_phases()
    _compact_histories()


def _add_columns() -> None:
    for name in COUNTS:
        op.add_column("plans", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.add_column("plans", sa.Column("phase", sa.String(12), nullable=False, server_default="queued"))
    op.add_column("plans", sa.Column("reused_by_kind", sa.JSON, nullable=False, server_default="{}"))
    # Alembic adds no column with a foreign key to a table of SQLite, which itself does.
    op.execute("ALTER TABLE plans ADD COLUMN needs VARCHAR(80) REFERENCES plans (id)")
    op.add_column("plans", sa.Column("layout", sa.JSON))
    op.add_column("plans", sa.Column("history_compacted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("steps", sa.Column("gpu_seconds", sa.Double))


def _exchange_indices() -> None:
    op.drop_index("steps_by_state", "steps")
    leased = sa.text("state = 'leased'")
    op.create_index(
        "steps_leased", "steps", ["queue", "lease_expires_at"], sqlite_where=leased, postgresql_where=leased
    )
    op.create_index("plans_by_phase", "plans", ["phase", "id"])
    op.create_index("plans_by_needs", "plans", ["needs", "phase"])
    op.create_index("plans_by_history", "plans", ["history_compacted", "finished_at"])


def _forget_lost_reuse() -> None:
    """A result that was lost and is computed again is the plan's own work."""
    unfinished = sa.select(steps.c.id).where(steps.c.id == plan_steps.c.step_id, steps.c.state != "succeeded")
    op.execute(plan_steps.update().where(plan_steps.c.reused, sa.exists(unfinished)).values(reused=False))


def _fill_counts() -> None:
    def of_state(state: str) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((steps.c.state == state, 1), else_=0))

    counted = (
        sa.select(
            plan_steps.c.plan_id,
            *(of_state(state).label(state) for state in COUNTS[:4]),
            sa.func.count().label("total"),
            sa.func.sum(sa.case((plan_steps.c.reused, 1), else_=0)).label("reused"),
        )
        .select_from(plan_steps.join(steps, steps.c.id == plan_steps.c.step_id))
        .group_by(plan_steps.c.plan_id)
        .subquery()
    )
    filled = {name: counted.c[name] for name in COUNTS}
    op.execute(plans.update().where(plans.c.id == counted.c.plan_id).values(filled))


def _fill_reused_by_kind() -> None:
    query = (
        sa.select(plan_steps.c.plan_id, steps.c.kind, sa.func.count())
        .select_from(plan_steps.join(steps, steps.c.id == plan_steps.c.step_id))
        .where(plan_steps.c.reused)
        .group_by(plan_steps.c.plan_id, steps.c.kind)
        .order_by(plan_steps.c.plan_id, steps.c.kind)
    )
    found = op.get_bind().execute(query).all()
    filled = [
        {"plan": plan, "found": {kind: count for _, kind, count in kinds}}
        for plan, kinds in groupby(found, key=lambda row: row[0])
    ]
    if filled:
        statement = plans.update().where(plans.c.id == sa.bindparam("plan"))
        op.get_bind().execute(statement.values(reused_by_kind=sa.bindparam("found", type_=sa.JSON)), filled)


def _fill_phases() -> None:
    op.execute(
        """
        UPDATE plans SET phase = CASE
            WHEN cancelled_at IS NOT NULL THEN 'cancelled'
            WHEN failed > 0 THEN 'failed'
            WHEN waiting + leased = 0 THEN 'succeeded'
            WHEN leased > 0 OR succeeded > reused THEN 'running'
            ELSE 'queued'
        END
        """
    )


def _tell_missed_phases() -> None:
    """Of plans that no conductor settled after their last step changed: few, so one by one."""
    connection, now = op.get_bind(), datetime.now(UTC)
    missed = [
        {"plan_id": row.id, "event": "experiment.phase", "data": {"phase": row.phase, "steps": _counts(row)}, "at": now}
        for row in connection.execute(sa.select(plans).where(plans.c.finished_at.is_(None))).all()
        if row.phase != _last_told(row.id)
    ]
    if missed:
        connection.execute(events.insert(), missed)
    op.execute(plans.update().where(plans.c.finished_at.is_(None), plans.c.phase.in_(ENDED)).values(finished_at=now))


def _counts(row: sa.Row[tuple[object, ...]]) -> dict[str, int]:
    return {name: getattr(row, name) for name in COUNTS}


def _last_told(plan: str) -> str | None:
    query = (
        sa.select(events.c.data)
        .where(events.c.plan_id == plan, events.c.event == "experiment.phase")
        .order_by(events.c.id.desc())
        .limit(1)
    )
    data = op.get_bind().execute(query).scalar()
    return None if data is None else data["phase"]


def _compact_histories() -> None:
    ended = sa.select(plans.c.id).where(plans.c.finished_at.is_not(None))
    op.execute(events.delete().where(events.c.event == "step.progress"))
    op.execute(
        events.delete().where(events.c.event.in_(["step.started", "step.succeeded"]), events.c.plan_id.in_(ended))
    )
    op.execute(plans.update().where(plans.c.finished_at.is_not(None)).values(history_compacted=True))
